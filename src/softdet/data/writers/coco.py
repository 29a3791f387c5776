"""COCO JSON: results, and a labeled set whose annotations have a `score`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from softdet.data.writers.found import Classes, FoundImage


def results(images: Iterable[FoundImage], classes: Classes) -> Iterator[str]:
    """COCO results, `bbox` as [x, y, width, height], each with its file and class by name."""
    yield from _joined(
        "[",
        (
            {**_annotation(image, found, classes), "file_name": str(image.path), "category": classes.names[found[1]]}
            for image in images
            for found in image
        ),
        "]\n",
    )


def labeled_set(images: Iterable[FoundImage], classes: Classes, description: str) -> Iterator[str]:
    """A COCO labeled set.

    Args:
        images: may be gone through twice.
        classes: of the detector.
        description: for `info`.

    Yields:
        Pieces of the file.
    """
    yield f'{{"info": {json.dumps({"description": description})},\n'
    categories = [{"id": i, "name": name} for i, name in zip(classes.ids, classes.names, strict=True)]
    yield f'"categories": {json.dumps(categories)},\n'
    yield from _joined('"images": [', map(_image, images), "],\n")
    found = ((image, each) for image in images for each in image)
    annotations = (
        {"id": number, **_annotation(image, each, classes), "area": _area(each[0]), "iscrowd": 0}
        for number, (image, each) in enumerate(found, 1)
    )
    yield from _joined('"annotations": [', annotations, "]}\n")


def _joined(head: str, entries: Iterable[dict[str, Any]], tail: str) -> Iterator[str]:
    yield head
    comma = "\n"
    for entry in entries:
        yield comma + json.dumps(entry)
        comma = ",\n"
    yield tail


def _image(image: FoundImage) -> dict[str, Any]:
    return {"id": image.id, "file_name": image.name, "width": image.size[1], "height": image.size[0]}


def _annotation(image: FoundImage, found: tuple[list[float], int, float], classes: Classes) -> dict[str, Any]:
    (x1, y1, x2, y2), label, score = found
    # The difference as float32, as the evaluation takes it, so that both write the same digits.
    sides = [float(np.float32(x2) - np.float32(x1)), float(np.float32(y2) - np.float32(y1))]
    return {
        "image_id": image.id,
        "category_id": classes.ids[label],
        "bbox": [round(value, 3) for value in (x1, y1, *sides)],
        "score": round(score, 6),
    }


def _area(corners: list[float]) -> float:
    return round((corners[2] - corners[0]) * (corners[3] - corners[1]), 3)
