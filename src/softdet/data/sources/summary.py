"""What an index holds, in numbers to look at before training."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from softdet.data.coco_fields import is_ignored


@dataclass(frozen=True, slots=True)
class Summary:
    """An index that was written.

    Attributes:
        name: train, valid, test or unlabeled.
        path: the file.
        num_images: how many images it lists.
        num_background: of these without a box.
        boxes_by_class: (K,) boxes of each class, ignored regions left out; empty for unlabeled images.
        num_ignored: crowd boxes and regions marked `ignore`.
        box_side: median square root of a box's area, in the images' own pixels; None without a box.
        image_sizes: the median size, and the smallest and the largest by area, each width and height.
    """

    name: str
    path: Path
    num_images: int
    num_background: int
    boxes_by_class: tuple[int, ...]
    num_ignored: int
    box_side: float | None
    image_sizes: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

    @property
    def num_boxes(self) -> int:
        """Boxes of all classes."""
        return sum(self.boxes_by_class)


def summarise(name: str, path: Path, content: dict[str, Any]) -> Summary:
    """Count what a COCO content holds; it has an image at least."""
    annotations = content.get("annotations", [])
    boxes = [each for each in annotations if not is_ignored(each)]
    by_category = Counter(each["category_id"] for each in boxes)
    sides = [math.sqrt(each["bbox"][2] * each["bbox"][3]) for each in boxes]
    with_boxes = {each["image_id"] for each in annotations}
    sizes = sorted(((each["width"], each["height"]) for each in content["images"]), key=math.prod)
    return Summary(
        name,
        path,
        len(content["images"]),
        sum(each["id"] not in with_boxes for each in content["images"]),
        tuple(by_category[category["id"]] for category in content.get("categories", [])),
        len(annotations) - len(boxes),
        median(sides) if sides else None,
        (sizes[len(sizes) // 2], sizes[0], sizes[-1]),
    )
