"""From what a reader found to COCO content: picture files looked at, boxes in their pixels, the bad ones left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image

from softdet.data.sources.parts import Box, Entry, Part, Tally

_EXIF_ORIENTATION = 0x0112
_DIGITS = 4
_NUM_THREADS = 8
CUT = "boxes that reached outside their image were cut at its border"

Size = tuple[int, int]


def header_sizes(paths: Sequence[Path]) -> dict[Path, tuple[Size, Size] | None]:
    """Read the sizes of pictures from their headers, many at a time.

    Args:
        paths: the files.

    Returns:
        For each the rows and columns as stored and as shown upright by the EXIF orientation; None where it is missing
        or no picture.
    """
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return dict(zip(paths, pool.map(_header_sizes, paths), strict=True))


def assemble(part: Part, numbers: Iterator[int], dropped: Tally, noted: Tally) -> dict[str, Any]:
    """Look at the picture files of a part and put its COCO content together.

    Args:
        part: from a reader.
        numbers: ids for images that have none.
        dropped: counts the images and boxes that are left out.
        noted: counts what was changed.

    Returns:
        COCO content with absolute file names. Each image has the size by which `images.read_image` knows which way up
        it is: the one that the source states, else the upright one. Boxes lie inside their image.
    """
    sizes = header_sizes([entry.path for entry in part.entries])
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for entry in part.entries:
        size = _size(entry, sizes[entry.path], dropped)
        if size is None:
            continue
        image = {"id": next(numbers)} if "id" not in entry.more else {}
        image |= entry.more | {"file_name": str(entry.path), "height": size[0], "width": size[1]}
        images.append(image)
        for box in entry.boxes:
            placed = _placed(box, entry, size, dropped, noted)
            if placed is not None:
                annotation = {"iscrowd": 0, "area": round(placed[2] * placed[3], _DIGITS), **box.more}
                annotations.append(annotation | {"image_id": image["id"], "category_id": box.category, "bbox": placed})
    ids = [annotation.get("id") for annotation in annotations]
    if None in ids or len(set(ids)) < len(ids):
        annotations = [annotation | {"id": number} for number, annotation in enumerate(annotations, 1)]
    return {"images": images, "annotations": annotations, "categories": part.categories}


def _header_sizes(path: Path) -> tuple[Size, Size] | None:
    try:
        with Image.open(path) as picture:
            stored = (picture.height, picture.width)
            turned = picture.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    # Damaged bytes make the decoders raise nearly anything.
    except Exception:
        return None
    return stored, (stored[1], stored[0]) if turned else stored


def _size(entry: Entry, found: tuple[Size, Size] | None, dropped: Tally) -> Size | None:
    if found is None:
        what = "images that can't be read" if entry.path.is_file() else "images that aren't there"
        dropped.add(what, entry.path.name)
        return None
    stored, upright = found
    if entry.size is None or entry.size == upright:
        return upright
    if entry.size == stored:
        return stored
    dropped.add(
        "images whose file has another size than their labels say",
        f"{entry.path.name}: {upright[1]}x{upright[0]}, labels {entry.size[1]}x{entry.size[0]}",
    )
    return None


def _placed(box: Box, entry: Entry, size: Size, dropped: Tally, noted: Tally) -> list[float] | None:
    """The box as x, y, width, height inside its image."""
    height, width = size
    if not all(map(math.isfinite, box.corners)):
        dropped.add("boxes that are not four finite numbers", box.where)
        return None
    across, down = (width, height) if entry.relative else (1, 1)
    x1, y1, x2, y2 = box.corners[0] * across, box.corners[1] * down, box.corners[2] * across, box.corners[3] * down
    if round(x2 - x1, _DIGITS) <= 0 or round(y2 - y1, _DIGITS) <= 0:
        dropped.add("boxes without area", box.where)
        return None
    left, top, right, bottom = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if round(right - left, _DIGITS) <= 0 or round(bottom - top, _DIGITS) <= 0:
        dropped.add("boxes outside their image", box.where)
        return None
    # Less than a pixel is rounding, and nobody's mistake.
    if max(left - x1, top - y1, x2 - right, y2 - bottom) > 1:
        noted.add(CUT, box.where)
    return [round(value, _DIGITS) for value in (left, top, right - left, bottom - top)]
