"""What every reader hands over: images with their boxes by split, before the picture files were looked at."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Split = Literal["train", "valid", "test"]
Corners = tuple[float, float, float, float]

_NUM_EXAMPLES = 5
# `train2017` and `instances_val` are splits, `constraint` and `valuable` are none.
_SPLIT_WORDS: tuple[tuple[Split, re.Pattern[str]], ...] = (
    ("train", re.compile(r"(?<![a-z])(train|training)(?![a-z])")),
    ("valid", re.compile(r"(?<![a-z])(val|valid|validation)(?![a-z])")),
    ("test", re.compile(r"(?<![a-z])(test|testing)(?![a-z])")),
)


class Tally:
    """How often each thing was met, with the first few places."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}

    def add(self, what: str, example: str) -> None:
        """Count one more, met there."""
        self.counts[what] += 1
        examples = self._examples.setdefault(what, [])
        if len(examples) < _NUM_EXAMPLES:
            examples.append(example)

    def update(self, other: Tally) -> None:
        """Count what another one has counted."""
        self.counts.update(other.counts)
        for what, examples in other._examples.items():
            self._examples[what] = [*self._examples.get(what, []), *examples][:_NUM_EXAMPLES]

    def in_a_line(self) -> str:
        """How often each, with its first place: why nothing is left."""
        return "; ".join(f"{count} {what} ({places[0]})" for what, count, places in self.rows())

    def rows(self) -> list[tuple[str, int, tuple[str, ...]]]:
        """What, how often, and where first; the most frequent first."""
        return [(what, count, tuple(self._examples[what])) for what, count in self.counts.most_common()]


@dataclass(frozen=True, slots=True)
class Box:
    """One label.

    Attributes:
        category: the source's id of its class.
        corners: x1, y1, x2, y2, 0-based; in pixels, or in parts of the image where its entry says so. They may be
            anything that the source says, not finite or outside the image too.
        where: file and line, for messages.
        more: keys of a COCO annotation that the source knows (`id`, `iscrowd`, `ignore`, `score`, `area`).
    """

    category: int | str
    corners: Corners
    where: str
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One image.

    Attributes:
        path: its file, which may be missing.
        boxes: its labels; none makes it background.
        size: rows and columns that the source states; None where it doesn't.
        relative: the boxes are parts of the image's width and height.
        is_labeled: False where a label file should be and isn't: background, or an image that nobody has labeled yet.
        more: keys of a COCO image that the source knows (`id` and others).
    """

    path: Path
    boxes: tuple[Box, ...] = ()
    size: tuple[int, int] | None = None
    relative: bool = False
    is_labeled: bool = True
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """A split of a source: its classes as COCO categories, and its images."""

    categories: list[dict[str, Any]]
    entries: list[Entry]


def split_of(word: str) -> Split | None:
    """The split that a file's or folder's name speaks of: `instances_val2017` is valid, `images` is none."""
    found = [split for split, pattern in _SPLIT_WORDS if pattern.search(word.lower())]
    return found[0] if len(found) == 1 else None


def split_of_path(path: Path, root: Path) -> Split | None:
    """The split of a file below a folder: that of the first folder on the way that speaks of one."""
    return next(filter(None, map(split_of, path.relative_to(root).parent.parts)), None)


def categories_of(names: Sequence[str], first_id: int) -> list[dict[str, Any]]:
    """COCO categories with ids in a row."""
    return [{"id": number, "name": name} for number, name in enumerate(names, first_id)]


def enclosing(points: Iterable[tuple[float, float]]) -> Corners:
    """The smallest upright box around points; its corners are NaN where a coordinate is."""
    xs, ys = zip(*points, strict=True)
    # `min` passes over a NaN that isn't first.
    if any(value != value for value in (*xs, *ys)):
        return (float("nan"),) * 4
    return min(xs), min(ys), max(xs), max(ys)
