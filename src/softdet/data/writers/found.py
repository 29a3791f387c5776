"""What a detector found in one image, as every writer takes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FoundImage:
    """One image with its detections.

    Attributes:
        id: its COCO id.
        name: what outputs call it, a path with forward slashes; no two images of a job share one, endings aside.
        path: the file.
        size: rows and columns of the upright image.
        boxes: (N, 4) float32 xyxy in its pixels, by falling score.
        labels: (N,) int64 in [0, K).
        scores: (N,) float32 in [0, 1].
    """

    id: int | str
    name: str
    path: Path
    size: tuple[int, int]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __iter__(self) -> Iterator[tuple[list[float], int, float]]:
        """Each detection: its corners, label and score."""
        return zip(self.boxes.tolist(), self.labels.tolist(), self.scores.tolist(), strict=True)


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a detector.

    Attributes:
        names: (K,) by label.
        ids: (K,) the user's category ids.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]


def to_row(image: FoundImage) -> dict[str, Any]:
    """An image as JSON's types; `from_row` gives exactly the same back."""
    return {
        "id": image.id,
        "name": image.name,
        "path": str(image.path),
        "size": list(image.size),
        "boxes": image.boxes.tolist(),
        "labels": image.labels.tolist(),
        "scores": image.scores.tolist(),
    }


def from_row(row: dict[str, Any]) -> FoundImage:
    """Read what `to_row` made."""
    return FoundImage(
        row["id"],
        row["name"],
        Path(row["path"]),
        (row["size"][0], row["size"][1]),
        np.array(row["boxes"], np.float32).reshape(-1, 4),
        np.array(row["labels"], np.int64),
        np.array(row["scores"], np.float32),
    )
