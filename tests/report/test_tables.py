"""Tables for the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from softdet.report.tables import comparison_table, files_table, metrics_table


def printed(table: Table) -> str:
    console = Console(width=60)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_metrics_are_percent_and_a_class_without_truth_has_a_dash() -> None:
    rows = [
        {"name": "cat", "num_boxes": 3, "AP": 0.1234, "AP50": 1.0},
        {"name": "[dog]", "num_boxes": 0, "AP": -1.0, "AP50": -1.0},
    ]
    lines = printed(metrics_table({"per_class": rows})).splitlines()
    assert [line.split() for line in lines if "cat" in line] == [["│", "cat", "│", "3", "│", "12.3", "│", "100.0", "│"]]
    assert [line.split() for line in lines if "dog" in line] == [["│", "[dog]", "│", "0", "│", "-", "│", "-", "│"]]


def test_runs_are_compared_in_their_order() -> None:
    metrics = {"AP": 0.2, "AP50": 0.4, "AP75": 0.1, "num_images": 7}
    text = printed(comparison_table([("runs/a", metrics), ("runs/b", metrics | {"AP": 0.3})]))
    assert "7 validation images" in text
    assert text.index("20.0") < text.index("30.0")


def test_a_long_path_is_shown_whole() -> None:
    path = "a_folder/" * 12 + "list.json"
    text = printed(files_table([(path, 3, 4, "a note")]))
    assert path in "".join(line.split("│")[1].strip() for line in text.splitlines() if line.count("│") == 5)
