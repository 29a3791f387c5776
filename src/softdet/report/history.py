"""What a run wrote into metrics.csv, by column."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True, slots=True)
class History:
    """The numbers of a run.

    Attributes:
        columns: by name, the values by step; a column that is missing in a row has no entry for it.
        health: the state by step, where the run knew one.
    """

    columns: dict[str, dict[int, float]] = field(default_factory=dict)
    health: dict[int, str] = field(default_factory=dict)

    def of(self, name: str) -> dict[int, float]:
        """One column by step; empty where there is none."""
        return self.columns.get(name, {})

    @property
    def last_step(self) -> int:
        """The last step with a row; 0 before the first."""
        return max((max(column) for column in self.columns.values() if column), default=0)

    @property
    def unlabeled_from(self) -> int | None:
        """The first logged step that had unlabeled images; None where none had."""
        return min(self.of("pseudo_boxes"), default=None)

    def late_mean(self, name: str) -> float:
        """The mean over the second half of a column's rows; nan where there is none."""
        values = [value for _, value in sorted(self.of(name).items()) if value == value]
        late = values[len(values) // 2 :]
        return sum(late) / len(late) if late else float("nan")

    def spells(self) -> list[tuple[int, int, str]]:
        """The health as stretches of one state: first step, last step, state; each ends where the next begins."""
        starts: list[tuple[int, str]] = []
        for step, state in sorted(self.health.items()):
            if not starts or starts[-1][1] != state:
                starts.append((step, state))
        ends = [*starts[1:], (max(self.health), "")] if starts else []
        return [(start, end, state) for (start, state), (end, _) in zip(starts, ends, strict=True) if end > start]


def read_history(path: Path) -> History:
    """Read a metrics.csv; empty where there is none. A row that was cut off while being written doesn't count."""
    history = History()
    if not path.is_file():
        return history
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(file):
            step = row.pop("step", None)
            if step is None or not step.isdigit():
                continue
            for name, text in row.items():
                if name == "health" and text:
                    history.health[int(step)] = text
                elif name is not None and isinstance(text, str) and (value := _number(text)) is not None:
                    history.columns.setdefault(name, {})[int(step)] = value
    return history


def smoothed(values: dict[int, float], weight: float = 0.8) -> dict[int, float]:
    """A running average that starts without bias; numbers that aren't finite are passed over."""
    total = seen = 0.0
    result = {}
    for step, value in sorted(values.items()):
        if value - value != 0:
            continue
        total, seen = weight * total + (1 - weight) * value, weight * seen + (1 - weight)
        result[step] = total / seen
    return result


def is_rising(curve: dict[int, float], by: float) -> bool:
    """Whether the last two changes of a curve were both upwards, and together by so much."""
    last = [value for _, value in sorted(curve.items())][-3:]
    return len(last) == 3 and all(after > before for before, after in pairwise(last)) and last[-1] - last[0] > by


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
