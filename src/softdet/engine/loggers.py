"""Numbers of a run: metrics.csv always, other loggers beside it."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from softdet.files import whole_file


class Logger(Protocol):
    """Anything that takes numbers; Lightning's loggers do."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Take the numbers of a step."""

    def finalize(self, status: str) -> None:
        """Write what is left."""


class CsvLogger:
    """One row per logged step; a column that comes later is empty in the rows before it. A state is a word.

    Args:
        path: the file. Rows that are there are kept up to `first_step`, but for what a power cut left without a step.
        first_step: rows at or after it are dropped, since a resumed run writes them again.
    """

    def __init__(self, path: Path, first_step: int = 0) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        if path.is_file() and first_step > 0:
            with path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if (row.get("step") or "").isdecimal()]
                self.rows = [row for row in rows if int(row["step"]) < first_step]
        self._write_all()

    def log_metrics(self, metrics: Mapping[str, float | str], step: int) -> None:
        """Add a row, or fill up the last one if it is of the same step."""
        row = {"step": str(step)} | {name: _written(value) for name, value in metrics.items()}
        known = self._columns()
        if self.rows and self.rows[-1]["step"] == row["step"]:
            self.rows[-1] |= row
            self._write_all()
            return
        self.rows.append(row)
        if set(row) <= set(known):
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, known, restval="").writerow(row)
        else:
            self._write_all()

    def finalize(self, status: str) -> None:
        """Nothing is left to write."""

    def _columns(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row)) or ["step"]

    def _write_all(self) -> None:
        with whole_file(self.path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns(), restval="")
            writer.writeheader()
            writer.writerows(self.rows)


class Loggers:
    """The CSV and any others; one that breaks is dropped with a warning, and the run goes on.

    Args:
        csv_logger: never dropped.
        others: tried at each row.
    """

    def __init__(self, csv_logger: CsvLogger, others: Sequence[Logger] = ()) -> None:
        self.csv_logger = csv_logger
        self.others = list(others)

    def log_metrics(self, metrics: Mapping[str, float | str], step: int) -> None:
        """Give a row to all; only the CSV takes words."""
        self.csv_logger.log_metrics(metrics, step)
        numbers = {name: value for name, value in metrics.items() if not isinstance(value, str)}
        self._ask_others(lambda logger: logger.log_metrics(dict(numbers), step))

    def finalize(self, status: str) -> None:
        """Close all."""
        self._ask_others(lambda logger: logger.finalize(status))

    def _ask_others(self, ask: Callable[[Logger], None]) -> None:
        for logger in list(self.others):
            try:
                ask(logger)
            except Exception as error:  # whatever a third party raises must not end a run of hours
                self.others.remove(logger)
                message = f"{type(logger).__name__} failed ({error}); going on with metrics.csv alone"
                warnings.warn(message, RuntimeWarning, stacklevel=3)


def _written(value: float | str) -> str:
    return str(value) if isinstance(value, int | str) else (f"{value:.6g}" if math.isfinite(value) else str(value))
