"""One row for each finished run, in `docs/results.csv`: read, checked, appended, and never changed."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from evidence.table import Job
from softdet.errors import DataError


@dataclass(frozen=True, slots=True)
class Row:
    """A finished run and its numbers.

    Attributes:
        set, arm, fold, seed: which run.
        steps: optimizer steps.
        AP, AP50, AP75: COCO's, of the last EMA weights on the validation images, in [0, 1].
        AP_agnostic: AP with all classes as one.
        seconds_supervised, seconds_semi: of a step of either kind, a quarter of them faster; None without such steps.
        wall_minutes: of the whole run with its evaluations, over all its sessions.
        digest: of the config.
        commit: of the code; `+` for changes that weren't committed.
        date: when it was finished, in UTC.
    """

    set: str
    arm: str
    fold: int
    seed: int
    steps: int
    AP: float
    AP50: float
    AP75: float
    AP_agnostic: float
    seconds_supervised: float | None
    seconds_semi: float | None
    wall_minutes: float
    digest: str
    commit: str
    date: str

    @property
    def job(self) -> Job:
        """The run of the table that it was made for."""
        return Job(self.set, self.arm, self.fold, self.seed)


COLUMNS = tuple(field.name for field in fields(Row))
_COUNTS = ("fold", "seed", "steps")
_SHARES = ("AP", "AP50", "AP75", "AP_agnostic")
_OPTIONAL = ("seconds_supervised", "seconds_semi")


def read_rows(path: Path) -> list[Row]:
    """Read all rows; none where there is no file yet.

    Raises:
        DataError: the columns aren't ours, or a line can't be read as a row: naming it.
    """
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        head = next(lines, None)
        if head != list(COLUMNS):
            raise DataError(
                f"{path}: its first line must be {','.join(COLUMNS)}; found {','.join(head or ['nothing'])}"
            )
        return [_parse(path, lines.line_num, line) for line in lines]


def append_row(path: Path, row: Row) -> None:
    """Add a row at the end of the file, which is made where missing."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not before:
        writer.writeheader()
    elif not before.endswith("\n"):
        # Edited by hand; without this the row would end up in the last line.
        text.write("\n")
    writer.writerow({name: _plain(value) for name, value in asdict(row).items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())


def find_row(rows: Sequence[Row], job: Job, digest: str) -> Row | None:
    """The last row that holds the result of a run: same set, fold, seed and config, whichever arm it was made for.

    Two arms may come to the same config, as an ablation's step that is the tuned setting; one run then serves both.
    """
    same = (
        row
        for row in reversed(rows)
        if (row.set, row.fold, row.seed, row.digest) == (job.set, job.fold, job.seed, digest)
    )
    return next(same, None)


def _parse(path: Path, number: int, line: list[str]) -> Row:
    where = f"{path}, line {number}"
    mend = "Each run of accuracy.py writes one whole line; delete the line, and its run is made again."
    if len(line) != len(COLUMNS):
        raise DataError(f"{where}: {len(line)} values where {len(COLUMNS)} belong: {','.join(line)!r}. {mend}")
    values: dict[str, str | int | float | None] = {}
    for name, text in zip(COLUMNS, line, strict=True):
        try:
            values[name] = _value(name, text)
        except ValueError as error:
            raise DataError(f"{where}: {name} is {text!r}; it must be {error}. {mend}") from error
    return Row(**values)  # type: ignore[arg-type]


def _value(name: str, text: str) -> str | int | float | None:
    if name in _COUNTS:
        if not text.isdecimal():
            raise ValueError("a whole number")
        return int(text)
    if name in (*_SHARES, *_OPTIONAL, "wall_minutes"):
        if name in _OPTIONAL and not text:
            return None
        return _number(text, math.inf if name not in _SHARES else 1.0)
    if not text:
        raise ValueError("some text")
    return text


def _number(text: str, highest: float) -> float:
    allowed = "a finite number of at least 0" + (" and at most 1" if highest == 1 else "")
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(allowed) from error
    if not (math.isfinite(value) and 0 <= value <= highest):
        raise ValueError(allowed)
    return value


def _plain(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else ("" if value is None else value)
