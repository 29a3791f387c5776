"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Column, Table


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """AP and AP50 of each class, in percent; a dash where no true box says anything."""
    table = Table("class", "boxes", "AP", "AP50")
    for row in metrics["per_class"]:
        shown = [f"{100 * row[key]:.1f}" if row[key] >= 0 else "-" for key in ("AP", "AP50")]
        table.add_row(escape(str(row["name"])), str(row["num_boxes"]), *shown)
    return table


def comparison_table(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """mAP, AP50 and AP75 of each run, in percent, on the same images."""
    table = Table("run", "mAP", "AP50", "AP75", title=f"{rows[0][1]['num_images']} validation images")
    for name, metrics in rows:
        table.add_row(escape(name), *(f"{100 * metrics[key]:.1f}" for key in ("AP", "AP50", "AP75")))
    return table


def files_table(rows: Iterable[tuple[str, int, int, str]]) -> Table:
    """Files that were written: path, images, boxes, note."""
    table = Table(Column("file", overflow="fold"), "images", "boxes", Column("note", overflow="fold"))
    for path, num_images, num_boxes, note in rows:
        table.add_row(escape(path), str(num_images), str(num_boxes), escape(note))
    return table
