"""A labeled set of any format, as COCO content by split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, assert_never

from softdet.data.sources.assembling import CUT, assemble
from softdet.data.sources.coco import read_coco
from softdet.data.sources.cvat import read_cvat
from softdet.data.sources.parts import Entry, Part, Split, Tally
from softdet.data.sources.recognise import Recognised, recognise
from softdet.data.sources.unlabeled import pictures_of
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


# A few objects reach over the border; of boxes written as two corners nearly all seem to.
_MOST_CUT = 0.25
_FEWEST_CUT = 5


def read_labeled(
    path: Path, class_names: Sequence[str] | None = None, *, unlabeled: str | Path | None = None
) -> Labeled:
    """Read a labeled set, whatever its format.

    Args:
        path: a label file, or a folder with labels and images.
        class_names: the names by number, where the set itself has none.
        unlabeled: where the unlabeled images are: one of these without a label file is no background, and left out.

    Returns:
        The set. Law: each image of it can be opened, has the size that it states, and its boxes lie in it.

    Raises:
        DataError: the format isn't known or not one alone, the set can't be used, or nothing of it is left.
    """
    recognised = recognise(path)
    dropped, noted = Tally(), Tally()
    found = read_parts(recognised, class_names, dropped, noted)
    found = _without_unlabeled(found, path, noted, unlabeled)
    numbers = count(1)
    parts = {split: assemble(part, numbers, dropped, noted) for split, part in found.items() if part.entries}
    if not any(part["images"] for part in parts.values()):
        reasons = dropped.in_a_line() or "It lists none."
        raise DataError(f"{path} ({recognised.format}): no image of it can be used. {reasons}")
    _check_cut(parts, path, noted)
    return Labeled(recognised, parts, dropped, noted)


def _without_unlabeled(
    parts: dict[Split, Part], path: Path, noted: Tally, unlabeled: str | Path | None
) -> dict[Split, Part]:
    """Decide what images without a label file are.

    Raises:
        DataError: there are more of them than labeled ones, so they are hardly all background.
    """
    left, taken = less_unlabeled(parts, unlabeled)
    for entry in taken:
        noted.add("images without a label file are unlabeled", entry.path.name)
    entries = [entry for part in left.values() for entry in part.entries]
    missing = [entry for entry in entries if not entry.is_labeled]
    if 2 * len(missing) > len(entries):
        raise DataError(
            f"{path}: {len(missing)} of {len(entries)} images have no label file, such as {missing[0].path}. Nobody "
            "has labeled them yet? Then take them out, or, of training images, name their folder as --unlabeled too. "
            "They show no object? Then an empty .txt for each says so."
        )
    for entry in missing:
        noted.add("images without a label file count as background (an empty file says so)", entry.path.name)
    return left


def less_unlabeled(parts: dict[Split, Part], unlabeled: str | Path | None) -> tuple[dict[Split, Part], list[Entry]]:
    """The parts less the images without a label file that are among the unlabeled ones, and these images."""
    bare = {e.path: e.path.resolve() for part in parts.values() for e in part.entries if not e.is_labeled}
    pool = pictures_of(unlabeled) if bare and unlabeled is not None else set()

    def is_of_pool(entry: Entry) -> bool:
        return entry.path in bare and bare[entry.path] in pool

    left = {
        split: replace(part, entries=[e for e in part.entries if not is_of_pool(e)]) for split, part in parts.items()
    }
    return left, [entry for part in parts.values() for entry in part.entries if is_of_pool(entry)]


def _check_cut(parts: dict[Split, dict[str, Any]], path: Path, noted: Tally) -> None:
    """Refuse boxes that are something else than they say.

    Raises:
        DataError: more boxes reach outside their image than chance would have.
    """
    num_boxes = sum(len(part["annotations"]) for part in parts.values())
    cut = next((row for row in noted.rows() if row[0] == CUT), None)
    if cut is not None and cut[1] >= max(_FEWEST_CUT, _MOST_CUT * num_boxes):
        raise DataError(
            f"{path}: {cut[1]} of {num_boxes} boxes reach outside their image, the first: {cut[2][0]}. Were they "
            "written as x1, y1, x2, y2 where the format has x, y, width, height, or for images of another size? Export "
            "them anew."
        )


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
