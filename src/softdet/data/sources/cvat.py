"""CVAT for images 1.1: one XML file with all images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from softdet.data.sources.finding import ImageFinder
from softdet.data.sources.parts import Box, Corners, Entry, Part, Split, Tally, categories_of, enclosing, split_of
from softdet.data.sources.voc import parse_xml
from softdet.errors import DataError

_NAN = float("nan")
_NO_BOX = ("points", "polyline", "skeleton", "cuboid", "tag")


def read_cvat(path: Path, dropped: Tally, noted: Tally) -> dict[Split, Part]:
    """Read a CVAT XML: boxes, turned ones and polygons by the box around them, ellipses and masks.

    Args:
        path: the XML file; its images lie below its folder.
        dropped: counts shapes that are no objects with an extent, and images that aren't there.
        noted: counts the images without a shape.

    Raises:
        DataError: it isn't XML, was exported for video, or its images aren't there.
    """
    root = parse_xml(path)
    if root.find("track") is not None and root.find("image") is None:
        raise DataError(
            f"{path}: tracks of a video. Export the task again as `CVAT for images 1.1` or `COCO 1.0`, with images."
        )
    images = root.findall("image")
    names = [name.strip() for name in (each.findtext("name") for each in root.iterfind("meta//labels/label")) if name]
    shapes = [shape for image in images for shape in image if shape.tag in _READERS]
    used = {shape.get("label", "") for shape in shapes}
    # Beside the labels of the project, in its own order, those of shapes that it doesn't know any more.
    names = list(dict.fromkeys([*names, *sorted(used)]))
    if not shapes:
        raise DataError(f"{path}: {len(images)} images and not one box in it. Were the labels saved before the export?")
    numbers = {name: number for number, name in enumerate(names, 1)}
    finder = ImageFinder(path.parent, [path.parent, path.parent / "images"])
    parts: dict[Split, Part] = {}
    # A project's export has a folder for each subset, and the same names in several.
    found = finder.find([str(PurePosixPath(image.get("subset", ""), image.get("name", ""))) for image in images], path)
    for image, file in zip(images, found, strict=True):
        entry = _entry(image, numbers, file, path, dropped)
        if not entry.boxes:
            noted.add("images without a shape count as background", entry.path.name)
        split = split_of(image.get("subset", "")) or "train"
        parts.setdefault(split, Part(categories_of(names, 1), [])).entries.append(entry)
    if not any(entry.path.is_file() for part in parts.values() for entry in part.entries):
        raise DataError(
            f"{path} lists {len(images)} images (the first: {images[0].get('name')}); none is below {path.parent}. "
            "Export with `Save images`, or put the images beside the XML."
        )
    return {split: Part(part.categories, sorted(part.entries, key=lambda e: e.path)) for split, part in parts.items()}


def _entry(
    image: ElementTree.Element, numbers: dict[str, int], found: Path | None, path: Path, dropped: Tally
) -> Entry:
    name = image.get("name", "")
    boxes = []
    for shape in image:
        where = f"{path}: {shape.tag} of image {name}"
        if shape.tag in _NO_BOX:
            dropped.add("shapes without an extent (points, lines, tags, cuboids)", where)
        elif shape.tag in _READERS and shape.get("outside") != "1":
            boxes.append(Box(numbers[shape.get("label", "")], _READERS[shape.tag](shape), where))
    height, width = _number(image, "height"), _number(image, "width")
    size = (int(height), int(width)) if height > 0 and width > 0 else None
    return Entry(found or path.parent / name, tuple(boxes), size)


def _number(element: ElementTree.Element, key: str, default: str = "") -> float:
    try:
        return float(element.get(key, default))
    except ValueError:
        return _NAN


def _box(shape: ElementTree.Element) -> Corners:
    left, top, right, bottom = (_number(shape, key) for key in ("xtl", "ytl", "xbr", "ybr"))
    angle = _number(shape, "rotation", "0")
    if angle == 0:
        return left, top, right, bottom
    return _turned([(left, top), (right, top), (right, bottom), (left, bottom)], angle)


def _turned(points: Sequence[tuple[float, float]], degrees: float) -> Corners:
    """The box around points turned clockwise, as seen, around their middle."""
    x0, y0 = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return enclosing((x0 + (x - x0) * cos - (y - y0) * sin, y0 + (x - x0) * sin + (y - y0) * cos) for x, y in points)


def _polygon(shape: ElementTree.Element) -> Corners:
    try:
        points = [tuple(map(float, point.split(","))) for point in shape.get("points", "").split(";")]
        return enclosing((x, y) for x, y in points)
    except ValueError:
        return _NAN, _NAN, _NAN, _NAN


def _ellipse(shape: ElementTree.Element) -> Corners:
    x, y, rx, ry = (_number(shape, key) for key in ("cx", "cy", "rx", "ry"))
    angle = math.radians(_number(shape, "rotation", "0"))
    across = math.hypot(rx * math.cos(angle), ry * math.sin(angle))
    down = math.hypot(rx * math.sin(angle), ry * math.cos(angle))
    return x - across, y - down, x + across, y + down


def _mask(shape: ElementTree.Element) -> Corners:
    left, top, width, height = (_number(shape, key) for key in ("left", "top", "width", "height"))
    return left, top, left + width, top + height


_READERS = {"box": _box, "polygon": _polygon, "ellipse": _ellipse, "mask": _mask}
