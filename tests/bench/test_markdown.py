"""The tables, the plot and the pages that they stand in."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from bench_tables import full_rows, make_row, make_table

from evidence.markdown import (
    ablation_table,
    accuracy_tables,
    changes_table,
    markdown_table,
    replace_between,
    update_markdown,
)
from evidence.plot import plot_gains
from evidence.results import collect, to_json
from evidence.rows import read_rows
from evidence.table import load_table
from softdet.errors import DataError

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_tables_show_the_numbers_in_percent() -> None:
    table = make_table()
    rows = [*full_rows(table), make_row(table, "threshold_0.7", 2, 0.40), make_row(table, "supervised_long", 1, 0.92)]
    results = collect(table, rows)
    text = accuracy_tables(results)
    assert "| drawn | Soft Teacher, tuned | 44.0 | 46.0 | 45.0 (1.4) | 75.0 | 55.0 | 90.0 |" in text
    assert "| drawn | +20.0 | -25% | 75% | 75% |" in text
    assert "| mean |  | **-25%** (drawn) | **75%** (drawn) | **75%** (drawn) |" in text
    assert "below its control" not in text
    assert "one set, fold and seed: +15.0 (standard error 0.0), ahead in 2 of 2." in text
    lines = changes_table(results, "control").splitlines()
    assert lines[2:] == [
        "| drawn | **supervised control** | 90.0 | 120.0 |  |",
        "| drawn | supervised long | 92.0 | 122.0 | +2.0 |",
    ]
    assert changes_table(results, "search") == "Not run yet.", "the table has no such group"
    assert "| threshold 0.5 (no change on drawn) | 44.0, 46.0 | 45.0 | +0.0 |" in ablation_table(results)
    assert "| threshold 0.7 | 40.0, - | - | - |" in ablation_table(results)
    level = [make_row(table, "threshold_0.7", fold, 0.44 + 0.02 * (fold - 2) - 1e-5) for fold in (2, 3)]
    assert "| threshold 0.7 | 44.0, 46.0 | 45.0 | +0.0 |" in ablation_table(collect(table, [*full_rows(table), *level]))
    worse = collect(table, [replace(row, AP=0.2) if row.arm == "soft_teacher" else row for row in rows])
    assert "Tuned Soft Teacher is below its control on drawn." in accuracy_tables(worse)
    again = collect(table, [*rows, make_row(table, "soft_teacher", 2, 0.50)])
    assert "| drawn | Soft Teacher, tuned | 47.0 (2 runs) | 46.0 | 46.5 (0.7) |" in accuracy_tables(again)
    assert "Not run yet" not in accuracy_tables(results)
    assert "| drawn | Soft Teacher, tuned | -" not in accuracy_tables(collect(table, rows[:1]))
    assert accuracy_tables(collect(table, [])) == "Not run yet: anything on drawn."
    assert markdown_table(["a"], []) == ablation_table(collect(table, [])) == "Not run yet."


def test_the_plot_says_what_each_change_gains_and_leaves_out_what_has_not_run() -> None:
    table = make_table()
    rows = [make_row(table, "threshold_0.7", 2, 0.40), make_row(table, "threshold_0.7", 3, 0.44)]
    plot = plot_gains(collect(table, [*full_rows(table), *rows]), "ablation")
    assert plot is not None
    assert plot.alt == "AP gained: threshold 0.7 on drawn -3.0"
    assert "threshold 0.5" not in plot.svg, "it is the tuned setting itself"
    assert plot_gains(collect(table, rows), "ablation") is None, "nothing to compare with"
    assert plot_gains(collect(table, rows), "search") is None, "the table has no such group"


def test_only_what_stands_between_the_markers_changes() -> None:
    text = "before\n<!-- begin: a -->\nold\n<!-- end: a -->\nafter <!-- begin: b --><!-- end: b -->\n"
    once = replace_between(text, "a", "new")
    assert once == text.replace("\nold\n", "\n\nnew\n\n")
    assert replace_between(once, "a", "new") == once
    for broken in (text.replace("<!-- end: a -->", ""), text + text, "<!-- end: a --><!-- begin: a -->"):
        with pytest.raises(DataError, match="must stand in it once each"):
            replace_between(broken, "a", "new")


def test_the_committed_tables_are_those_of_the_committed_rows(tmp_path: Path) -> None:
    results = collect(load_table(ROOT / "bench" / "accuracy.yaml"), read_rows(ROOT / "docs" / "results.csv"))
    remedy = "run python bench/accuracy.py --report-only; after a new config key, see `neutral` in bench/README.md"
    assert json.loads((ROOT / "docs" / "results.json").read_text()) == to_json(results), remedy
    pages = [ROOT / "docs" / name for name in ("results.md", "method.md")]
    copies = [Path(shutil.copy(page, tmp_path)) for page in pages]
    update_markdown(tmp_path, results)
    for copy, page in zip(copies, pages, strict=True):
        assert copy.read_text() == page.read_text(), remedy
