"""YOLO's text files: a line a box, `class x y width height` in parts of the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from softdet.data.sources.parts import Box, Corners, enclosing
from softdet.errors import DataError

# Above this, a coordinate is no rounding and no box that hangs over the border: it's pixels.
_LARGEST_PART = 2.0


def read_labels(path: Path, class_names: Sequence[str] | None, *, has_keypoints: bool = False) -> tuple[Box, ...]:
    """Read one label file.

    A line has a class and a box (5 columns), and a score behind it (6, kept as `score`), or a class and the points of
    a polygon, whose enclosing box is taken (7 and more).

    Args:
        path: the text file.
        class_names: by number; None where they aren't known, and any number is good.
        has_keypoints: what follows the box are keypoints; they are left out.

    Raises:
        DataError: naming the line: it is none of these, has pixels, or a class number that has no name.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: can't be read as text ({error}). Export the labels anew.") from error
    boxes = []
    for number, line in enumerate(lines, 1):
        columns = line.split()
        if columns:
            boxes.append(_box(columns, f"{path}:{number}", class_names, has_keypoints))
    return tuple(boxes)


def _box(columns: list[str], where: str, class_names: Sequence[str] | None, has_keypoints: bool) -> Box:
    try:
        values = [float(column) for column in columns]
    except ValueError:
        raise DataError(f"{where}: {_told(columns)}{_why_no_numbers(columns)}") from None
    if has_keypoints and len(values) > 6:
        values = values[:5]
    is_polygon = len(values) >= 7 and len(values) % 2 == 1
    if len(values) not in (5, 6) and not is_polygon:
        raise DataError(
            f"{where}: {len(values)} columns ({_told(columns)}); a line has 5 (class x y width height), 6 (and a "
            "score) or a class and the x y of at least three points. Is the line cut off?"
        )
    if not values[0].is_integer() or values[0] < 0:
        raise DataError(
            f"{where}: the class is {columns[0]}; it is a whole number from 0, the line of the class's name"
        )
    label = int(values[0])
    if class_names is not None and label >= len(class_names):
        raise DataError(
            f"{where}: class {label}, but there are {len(class_names)} classes, from 0 ({_listed(class_names)}). "
            "Do these labels count from 1, or belong to another list of names? Add the missing names, or renumber."
        )
    places = values[1:] if is_polygon else values[1:5]
    too_large = [value for value in places if value > _LARGEST_PART]
    if too_large and max(too_large) != float("inf"):
        raise DataError(
            f"{where}: a coordinate of {max(too_large):g}; YOLO's are parts of the image, from 0 to 1. Were these "
            "written in pixels? Divide x and width by the image's width, y and height by its height."
        )
    more = {"score": values[5]} if len(values) == 6 else {}
    return Box(
        label, enclosing(zip(places[::2], places[1::2], strict=True)) if is_polygon else _corners(places), where, more
    )


def _corners(places: Sequence[float]) -> Corners:
    x, y, width, height = places
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _told(columns: list[str]) -> str:
    line = " ".join(columns)
    return repr(line if len(line) <= 60 else f"{line[:60]}...")


def _why_no_numbers(columns: list[str]) -> str:
    if any("," in column for column in columns):
        return " has commas. Write numbers with a point (0.5) and spaces between them."
    return " isn't all numbers. A line is: class x y width height, where the class is a number."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")
