"""Numbers of a run: rows and columns that come and go, a resumed run, a logger that breaks."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from softdet.engine.loggers import CsvLogger, Loggers


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Notebook:
    """A logger of somebody else's."""

    def __init__(self) -> None:
        self.entries: list[tuple[dict[str, float], int]] = []
        self.statuses: list[str] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.entries.append((metrics, step))

    def finalize(self, status: str) -> None:
        self.statuses.append(status)


class Broken(Notebook):
    """One whose server is away."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        raise ConnectionError("server is away")


class BrokenAtTheEnd(Notebook):
    """One whose server goes away before the last word."""

    def finalize(self, status: str) -> None:
        raise ConnectionError("server went away")


def test_a_row_is_in_the_file_as_soon_as_it_is_logged(tmp_path: Path) -> None:
    logger = CsvLogger(tmp_path / "metrics.csv")
    assert (tmp_path / "metrics.csv").read_text() == "step\n"
    logger.log_metrics({"loss": 0.5, "skipped": 2}, 10)
    assert rows(tmp_path / "metrics.csv") == [{"step": "10", "loss": "0.5", "skipped": "2"}]


def test_a_column_that_comes_later_is_empty_before(tmp_path: Path) -> None:
    logger = CsvLogger(tmp_path / "metrics.csv")
    logger.log_metrics({"loss": 1.0}, 1)
    logger.log_metrics({"loss": 2.0, "pseudo_boxes": 3.0}, 2)
    logger.log_metrics({"loss": 3.0}, 3)
    assert rows(tmp_path / "metrics.csv") == [
        {"step": "1", "loss": "1", "pseudo_boxes": ""},
        {"step": "2", "loss": "2", "pseudo_boxes": "3"},
        {"step": "3", "loss": "3", "pseudo_boxes": ""},
    ]


def test_numbers_of_the_same_step_share_a_row(tmp_path: Path) -> None:
    logger = CsvLogger(tmp_path / "metrics.csv")
    logger.log_metrics({"loss": 1.0}, 1)
    logger.log_metrics({"valid_AP": 0.25}, 1)
    logger.log_metrics({"valid_AP": 0.5}, 2)
    assert rows(tmp_path / "metrics.csv") == [
        {"step": "1", "loss": "1", "valid_AP": "0.25"},
        {"step": "2", "loss": "", "valid_AP": "0.5"},
    ]


def test_a_number_that_is_not_finite_stays_readable(tmp_path: Path) -> None:
    logger = CsvLogger(tmp_path / "metrics.csv")
    logger.log_metrics({"a": math.nan, "b": math.inf, "c": 123456789, "d": 1 / 3}, 1)
    (row,) = rows(tmp_path / "metrics.csv")
    assert (row["a"], row["b"], row["c"], row["d"]) == ("nan", "inf", "123456789", "0.333333")


def test_a_new_run_starts_the_file_anew(tmp_path: Path) -> None:
    CsvLogger(tmp_path / "metrics.csv").log_metrics({"loss": 1.0}, 1)
    CsvLogger(tmp_path / "metrics.csv", first_step=1)
    assert rows(tmp_path / "metrics.csv") == []


def test_a_resumed_run_gives_the_file_of_one_that_was_never_stopped(tmp_path: Path) -> None:
    def log(logger: CsvLogger, steps: range) -> None:
        for step in steps:
            logger.log_metrics({"loss": step / 7} | ({"pseudo": 1.0} if step > 3 else {}), step)
            if step % 2 == 0:
                logger.log_metrics({"valid_AP": step / 100}, step)

    log(CsvLogger(tmp_path / "whole.csv"), range(1, 9))
    log(CsvLogger(tmp_path / "stopped.csv"), range(1, 7))
    # The checkpoint is of step 4: the rows of 5 and 6 come again.
    log(CsvLogger(tmp_path / "stopped.csv", first_step=5), range(5, 9))
    assert (tmp_path / "stopped.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_all_loggers_get_every_row_and_the_end(tmp_path: Path) -> None:
    notebook = Notebook()
    loggers = Loggers(CsvLogger(tmp_path / "metrics.csv"), [notebook])
    loggers.log_metrics({"loss": 1.0}, 1)
    loggers.finalize("finished")
    assert notebook.entries == [({"loss": 1.0}, 1)]
    assert notebook.statuses == ["finished"]


def log_and_close(loggers: Loggers, step: int) -> None:
    loggers.log_metrics({"loss": float(step)}, step)
    loggers.finalize("finished")


@pytest.mark.parametrize("broken", [Broken(), BrokenAtTheEnd()])
def test_a_logger_that_breaks_is_dropped_and_the_run_goes_on(tmp_path: Path, broken: Notebook) -> None:
    notebook = Notebook()
    loggers = Loggers(CsvLogger(tmp_path / "metrics.csv"), [broken, notebook])
    with pytest.warns(RuntimeWarning, match=rf"{type(broken).__name__} failed \(server .* away\); going on"):
        log_and_close(loggers, 1)
    log_and_close(loggers, 2)
    assert [step for _, step in notebook.entries] == [1, 2]
    assert [row["loss"] for row in rows(tmp_path / "metrics.csv")] == ["1", "2"]


@pytest.mark.parametrize("left", ["\0\0\0\0", "17 of", ",,,\n", "12", "1e3,2\n"])
def test_what_a_power_cut_left_is_no_row(tmp_path: Path, left: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(f"step,loss\n10,0.5\n11,0.25\n{left}")
    CsvLogger(path, first_step=12)
    assert rows(path) == [{"step": "10", "loss": "0.5"}, {"step": "11", "loss": "0.25"}]
