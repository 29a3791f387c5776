"""Detections in random pictures, for the tests of the formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from softdet.data.writers.found import Classes, FoundImage

# Names that XML, YAML and addresses have to quote; ids with gaps and out of order.
CLASSES = Classes(("red & blue", "größe <1>", "on"), (17, 5, 9))
NAMES = ("a.png", "b c.png", "no boxes.png", "é&.png")


def make_found(folder: Path, names: tuple[str, ...] = NAMES) -> list[FoundImage]:
    """Write pictures, and make up what was found in them: any number of boxes but in the third."""
    rng = np.random.default_rng(0)
    found = []
    for number, name in enumerate(names):
        rows, columns = int(rng.integers(40, 90)), int(rng.integers(40, 90))
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (columns, rows), "grey").save(path)
        count = 0 if number == 2 else int(rng.integers(1, 6))
        corners = rng.uniform(0, 1, (count, 2, 2))
        boxes = np.concatenate([corners.min(1), corners.max(1)], 1) * [columns, rows, columns, rows]
        # Some at the border, and wide enough to have an area in whole pixels.
        boxes[:1] = [0, 0, columns, rows]
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 2).clip(max=[columns, rows])
        boxes[:, :2] = np.minimum(boxes[:, :2], boxes[:, 2:] - 2)
        scores = np.sort(rng.uniform(0.3, 1, count))[::-1]
        found.append(
            FoundImage(
                number + 1,
                name,
                path,
                (rows, columns),
                boxes.astype(np.float32),
                rng.integers(0, 3, count),
                scores.astype(np.float32),
            )
        )
    assert sum(len(image.labels) for image in found) > 5
    return found
