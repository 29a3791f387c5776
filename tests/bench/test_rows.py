"""Rows: written, read, and counted."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from bench_tables import make_row, make_table

from evidence.results import arms_served, digest_of, stale_rows
from evidence.rows import COLUMNS, append_row, find_row, read_rows
from evidence.table import Job
from softdet.errors import DataError


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    table, path = make_table(), tmp_path / "docs" / "results.csv"
    rows = [make_row(table, "supervised", 2, 0.25), make_row(table, "soft_teacher", 1, 0.5, seconds_semi=0.75)]
    assert read_rows(path) == []
    append_row(path, rows[0])
    path.write_text(path.read_text().rstrip("\n"))
    append_row(path, rows[1])
    assert read_rows(path) == rows
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("a,b,c", "line 3: 3 values where 15 belong"),
        ("<<<<<<< HEAD", "line 3: 1 values where 15 belong"),
        ("drawn,supervised,two,1,150,.3,.6,.2,.4,,,1,d,c,t", "line 3: fold is 'two'; it must be a whole number"),
        (
            "drawn,supervised,2,1,150,30,.6,.2,.4,,,1,d,c,t",
            "line 3: AP is '30'; it must be a finite number of at least 0",
        ),
        ("drawn,supervised,2,1,150,nan,.6,.2,.4,,,1,d,c,t", "line 3: AP is 'nan'"),
        ("drawn,supervised,2,1,150,.3,.6,.2,.4,,,,d,c,t", "line 3: wall_minutes is ''"),
        ("drawn,supervised,2,1,150,.3,.6,.2,.4,,,1,,c,t", "line 3: digest is ''"),
    ],
)
def test_a_malformed_line_is_named(bad: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    append_row(path, make_row(make_table(), "supervised", 2, 0.25))
    path.write_text(f"{path.read_text()}{bad}\n")
    with pytest.raises(DataError, match=re.escape(said)):
        read_rows(path)
    path.write_text("set,arm\n")
    with pytest.raises(DataError, match=f"its first line must be {','.join(COLUMNS)}"):
        read_rows(path)


def test_a_row_counts_while_its_config_is_the_tables_and_for_every_arm_that_has_it() -> None:
    table = make_table()
    rows = [make_row(table, "supervised", 2, 0.3), make_row(table, "soft_teacher", 2, 0.4)]
    tuned, control = (Job("drawn", arm, 2, 11) for arm in ("soft_teacher", "supervised"))
    assert arms_served(table, rows[1]) == ["soft_teacher", "threshold_0.5"]
    assert find_row(rows, tuned, digest_of(table, tuned)) is rows[1]
    assert find_row(rows, replace(tuned, seed=12), digest_of(table, tuned)) is None
    assert stale_rows(table, rows) == []

    retuned = make_table(every_tuned=table.every_tuned | {"soft_teacher.pseudo_cls_th": 0.6})
    assert find_row(rows, tuned, digest_of(retuned, tuned)) is None
    assert find_row(rows, control, digest_of(retuned, control)) is rows[0]
    # What was the tuned setting is a step of the ablation now, so it is not stale.
    assert arms_served(retuned, rows[1]) == ["threshold_0.5"]
    more_different = make_table(every_tuned=table.every_tuned | {"soft_teacher.erase": False})
    assert len(stale_rows(more_different, rows)) == 1
    assert f"config was {rows[1].digest}, the table now gives" in stale_rows(more_different, rows)[0]
    assert "no such run" in stale_rows(table, [replace(rows[0], arm="gone", digest="0")])[0]
    assert "no such run" in stale_rows(table, [replace(rows[0], set="gone")])[0]
