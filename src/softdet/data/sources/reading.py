"""A labeled set of any format, as COCO content by split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, assert_never

from softdet.data.sources.assembling import assemble
from softdet.data.sources.coco import read_coco
from softdet.data.sources.cvat import read_cvat
from softdet.data.sources.parts import Part, Split, Tally
from softdet.data.sources.recognise import Recognised, recognise
from softdet.data.sources.voc import read_voc
from softdet.data.sources.yolo import read_yolo_folder, read_yolo_yaml
from softdet.errors import DataError


@dataclass(frozen=True, slots=True)
class Labeled:
    """A labeled set.

    Attributes:
        recognised: its format and why.
        parts: COCO content by split, with absolute file names; `train` alone where the source has no splits.
        dropped: images and boxes that were left out, by reason.
        noted: what was changed or guessed.
    """

    recognised: Recognised
    parts: dict[Split, dict[str, Any]]
    dropped: Tally
    noted: Tally


def read_labeled(path: Path, class_names: Sequence[str] | None = None) -> Labeled:
    """Read a labeled set, whatever its format.

    Args:
        path: a label file, or a folder with labels and images.
        class_names: the names by number, where the set itself has none.

    Returns:
        The set. Law: each image of it can be opened, has the size that it states, and its boxes lie in it.

    Raises:
        DataError: the format isn't known or not one alone, the set can't be used, or nothing of it is left.
    """
    recognised = recognise(path)
    dropped, noted = Tally(), Tally()
    found = read_parts(recognised, class_names, dropped, noted)
    numbers = count(1)
    parts = {split: assemble(part, numbers, dropped, noted) for split, part in found.items() if part.entries}
    if not any(part["images"] for part in parts.values()):
        reasons = "; ".join(f"{number} {what} ({places[0]})" for what, number, places in dropped.rows())
        raise DataError(f"{path} ({recognised.format}): no image of it can be used. {reasons or 'It lists none.'}")
    return Labeled(recognised, parts, dropped, noted)


def read_parts(
    recognised: Recognised, class_names: Sequence[str] | None, dropped: Tally, noted: Tally
) -> dict[Split, Part]:
    """What the format's reader finds, by split, before anything is checked: bad boxes and missing images too."""
    place = next(iter(recognised.files.values()))
    match recognised.format:
        case "COCO":
            return read_coco(recognised.files, dropped)
        case "YOLO":
            return read_yolo_yaml(place, dropped, noted)
        case "YOLO without YAML":
            return read_yolo_folder(place, class_names, dropped, noted)
        case "Pascal VOC":
            return read_voc(place, dropped, noted)
        case "CVAT":
            return read_cvat(place, dropped, noted)
    assert_never(recognised.format)
