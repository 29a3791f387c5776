"""The gallery's file: what teacher and student saw in the same unlabeled images, a line for each evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from softdet.files import whole_file

# What became of a teacher's box: its class and its place are taught, or one of the two; neither it nor background is
# taught there; or it counts for nothing.
Fate = Literal["both", "class", "place", "ignored", "dropped"]


@dataclass(frozen=True, slots=True)
class Seen:
    """A box that teacher or student saw.

    Attributes:
        corners: xyxy in parts of the picture's width and height.
        label: the class.
        score: in [0, 1].
        fate: of a teacher's box; None for the student's.
        uncertainty: how much the boxes around it disagree; None for the student's.
    """

    corners: tuple[float, ...]
    label: int
    score: float
    fate: Fate | None = None
    uncertainty: float | None = None


@dataclass(frozen=True, slots=True)
class Watched:
    """One image of the gallery at one evaluation.

    Attributes:
        image: the name of its thumbnail.
        source: the image itself.
        teacher: its boxes, by falling score.
        student: likewise.
    """

    image: str
    source: str
    teacher: tuple[Seen, ...]
    student: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """The gallery at one evaluation.

    Attributes:
        step: optimizer steps behind it.
        thresholds: (K,) the scores above which a class was taught.
        class_targets: what was taught of a class, as the config calls it.
        images: in the same order at every evaluation.
    """

    step: int
    thresholds: tuple[float, ...]
    class_targets: str
    images: tuple[Watched, ...]


_LOOK = TypeAdapter(Look)


def append_look(path: Path, look: Look) -> None:
    """Add a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(_LOOK.dump_json(look).decode() + "\n")


def read_looks(path: Path) -> tuple[Look, ...]:
    """Read all lines, in the order of their steps; empty where there is no such file.

    A line that was cut off while being written doesn't count. Where a step stands twice, the later line does.
    """
    if not path.is_file():
        return ()
    looks = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            look = _LOOK.validate_json(line)
        except ValidationError:
            continue
        looks[look.step] = look
    return tuple(looks[step] for step in sorted(looks))


def drop_looks_after(path: Path, step: int) -> None:
    """Leave out the lines of later steps: a resumed run writes them again."""
    kept = [look for look in read_looks(path) if look.step <= step]
    if path.is_file():
        with whole_file(path) as draft:
            draft.touch()
            for look in kept:
                append_look(draft, look)
