"""Pascal VOC: an XML file an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from softdet.data.coco_fields import says_yes
from softdet.data.sources.finding import ImageFinder, files_below, tails
from softdet.data.sources.parts import Box, Corners, Entry, Part, Split, Tally, categories_of, split_of_path
from softdet.errors import DataError

NO_LABEL_FILE = "images without a label file (they will do as unlabeled ones)"
_NAN = float("nan")
# CVAT and Datumaro call the lists as the subsets are called there: `Train`, `Validation`.
_SPLIT_LISTS: tuple[tuple[Split, tuple[str, ...]], ...] = (
    ("train", ("train", "training", "trainval")),
    ("valid", ("val", "valid", "validation")),
    ("test", ("test", "testing")),
)


@dataclass(frozen=True, slots=True)
class _Labels:
    """One XML file."""

    file: Path
    image_name: str
    size: tuple[int, int] | None
    objects: list[tuple[str, Corners, bool]]


def read_voc(root: Path, dropped: Tally, noted: Tally) -> dict[Split, Part]:
    """Read all Pascal VOC files below a folder.

    Boxes are 1-based and include their last pixel, as VOC's are, unless one of them starts at 0 or isn't whole: then
    the tool that wrote them counted from 0. Objects marked `difficult` become ignored regions.

    Args:
        root: the folder; `ImageSets/Main` lists, else folders named for splits, are splits.
        dropped: counts files without an image and images without a file.
        noted: counts what had to be guessed.

    Raises:
        DataError: a file can't be read, or no image was found.
    """
    files = sorted(file for file in files_below(root) if file.suffix.lower() == ".xml")
    labels = [each for each in (_read(file) for file in files) if each is not None]
    names = sorted({name for each in labels for name, _, _ in each.objects})
    if not names:
        raise DataError(f"{root}: {len(labels)} Pascal VOC files and not one object in them, so there are no classes")
    numbers = {name: number for number, name in enumerate(names, 1)}
    first = _first_pixel([corners for each in labels for _, corners, _ in each.objects])
    if first:
        noted.add("sets whose boxes were read as Pascal VOC's 1-based pixels, as none starts at 0", str(root))
    finder = ImageFinder(root, [])
    lists = _split_lists(root)
    parts: dict[Split, Part] = {}
    found: set[Path] = set()
    for each, image in zip(labels, _images_of(labels, finder, noted), strict=True):
        if image is None:
            dropped.add("label files without an image", str(each.file))
            continue
        found.add(image)
        split = _listed(each.file, lists) if lists else split_of_path(each.file, root) or "train"
        if split is None:
            dropped.add("images that no list in ImageSets/Main names", image.name)
            continue
        entry = Entry(image, _boxes(each, numbers, first), each.size)
        parts.setdefault(split, Part(categories_of(names, 1), [])).entries.append(entry)
    if not found:
        raise DataError(
            f"{root}: {len(labels)} Pascal VOC files, but none of their images is below this folder; for "
            f"{labels[0].file} it would be {labels[0].image_name or labels[0].file.stem}. Put the images beside the "
            "XML files or in a folder JPEGImages beside theirs, and name the folder that holds both."
        )
    for image in finder.images:
        if image not in found:
            dropped.add(NO_LABEL_FILE, image.name)
    return {split: Part(part.categories, sorted(part.entries, key=lambda e: e.path)) for split, part in parts.items()}


def xml_root(path: Path) -> str:
    """The name of an XML file's outermost element; empty where it is no XML."""
    try:
        return next(ElementTree.iterparse(path, events=("start",)))[1].tag
    except (ElementTree.ParseError, OSError, StopIteration):
        return ""
    except (ValueError, LookupError) as error:
        raise _unreadable_text(path, error) from error


def parse_xml(path: Path) -> ElementTree.Element:
    """Read an XML file; its errors tell the line."""
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise DataError(
            f"{path}:{error.position[0]}: no XML from here on ({error}). Was the file cut off? Export it anew."
        ) from error
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror})") from error
    except (ValueError, LookupError) as error:
        raise _unreadable_text(path, error) from error


def _unreadable_text(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: its first line names an encoding that can't be read ({error}). Save the file as UTF-8, with "
        'encoding="utf-8" in that line or none.'
    )


def _read(file: Path) -> _Labels | None:
    root = parse_xml(file)
    if root.tag != "annotation":
        return None
    objects = []
    for number, each in enumerate(root.iter("object"), 1):
        name = (each.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{file}: object {number} has no <name>, so no class. Name it, or take it out.")
        box = each.find("bndbox")
        corners = [_number(box.findtext(key) if box is not None else None) for key in ("xmin", "ymin", "xmax", "ymax")]
        is_difficult = says_yes(each.findtext("difficult")) is True
        objects.append((name, (corners[0], corners[1], corners[2], corners[3]), is_difficult))
    height, width = _number(root.findtext("size/height")), _number(root.findtext("size/width"))
    # Some tools write 0 for a size that they don't know.
    size = (int(height), int(width)) if height > 0 and width > 0 else None
    return _Labels(file, (root.findtext("filename") or "").strip(), size, objects)


def _first_pixel(boxes: Sequence[Corners]) -> int:
    """What the pixels are counted from: 1, but for tools that write where a box begins in coordinates."""
    finite = [box for box in boxes if all(map(math.isfinite, box))]
    return 0 if any(min(box[:2]) < 1 or any(value % 1 for value in box) for box in finite) else 1


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return _NAN


def _images_of(labels: list[_Labels], finder: ImageFinder, noted: Tally) -> list[Path | None]:
    """The image with each XML's own name, as all tools pair them; else the one that it states, if it's no other's."""
    found = finder.find_of([each.file for each in labels], [each.image_name for each in labels])
    taken = set(found)
    for number, (each, own) in enumerate(zip(labels, found, strict=True)):
        if own is None and each.image_name:
            (stated,) = finder.find([each.image_name], each.file)
            found[number] = None if stated in taken else stated
            taken.add(stated)
        # Renamed pairs keep the old name inside.
        elif own is not None and Path(each.image_name).stem not in (own.stem, ""):
            noted.add("label files that state another image's name were paired by their own", str(each.file))
    return found


def _boxes(labels: _Labels, numbers: dict[str, int], first: int) -> tuple[Box, ...]:
    boxes = []
    for order, (name, (x1, y1, x2, y2), difficult) in enumerate(labels.objects, 1):
        # Pixel 1 to pixel 1, both included, is 0 to 1 in coordinates.
        corners = (x1 - first, y1 - first, x2, y2)
        boxes.append(Box(numbers[name], corners, f"{labels.file}: object {order}", {"ignore": 1} if difficult else {}))
    return tuple(boxes)


def _split_lists(root: Path) -> dict[str, Split]:
    """The split of each name that ImageSets/Main lists; a test list wins, then one for validation."""
    folder = next((folder for folder in sorted(root.rglob("Main")) if folder.parent.name == "ImageSets"), None)
    found: dict[str, Split] = {}
    files = {file.stem.lower(): file for file in sorted(folder.glob("*.txt"))} if folder else {}
    for split, names in _SPLIT_LISTS:
        file = next((files[name] for name in names if name in files), None)
        if file is not None:
            lines = filter(None, map(str.strip, file.read_text(encoding="utf-8-sig").splitlines()))
            # A name may have blanks in it; VOC's own lists of a class have a mark behind it.
            found |= {name: split for line in lines for name in (line, line.split()[0])}
    return found


def _listed(file: Path, lists: dict[str, Split]) -> Split | None:
    """The split that a list gives a label file: by the end of its path, the longest that is listed, without ending."""
    names = (tail.as_posix() for tail in tails(file.with_suffix("")))
    return next((lists[name] for name in names if name in lists), None)
