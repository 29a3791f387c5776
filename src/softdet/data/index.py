"""The index: images, their boxes and the classes, as plain records; everything inside is 0-based."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
# Pictures all the same, of telephones and cameras.
UNREAD_SUFFIXES = frozenset({".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".nef", ".arw"})


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of an index.

    Attributes:
        id: the user's own image id.
        path: the file.
        size: rows and columns as the index states them; None for a plain file without an index.
        boxes: (N, 4) float32 xyxy in pixels of that size.
        labels: (N,) int64 in [0, K).
        ignored: (M, 4) float32, crowd boxes and regions marked `ignore`.
    """

    id: int | str
    path: Path
    size: tuple[int, int] | None
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignored: NDArray[np.float32]

    @staticmethod
    def plain(image_id: int | str, path: Path, size: tuple[int, int] | None = None) -> ImageRecord:
        """A record of an image without labels."""
        nothing = np.zeros((0, 4), np.float32)
        return ImageRecord(image_id, path, size, nothing, np.zeros(0, np.int64), nothing)


@dataclass(frozen=True, slots=True)
class Index:
    """Images with their boxes, and the classes.

    Attributes:
        source: the file or folder it was read from.
        images: in file order.
        class_names: (K,) by label.
        category_ids: (K,) the user's id of each label; None for a class that this index doesn't have.
        dropped: how many boxes were left out, by reason.
    """

    source: Path
    images: tuple[ImageRecord, ...]
    class_names: tuple[str, ...]
    category_ids: tuple[int | None, ...]
    dropped: dict[str, int]

    def __len__(self) -> int:
        return len(self.images)

    def boxes_by_class(self) -> NDArray[np.int64]:
        """(K,): how many boxes each class has."""
        labels = [record.labels for record in self.images]
        return np.bincount(np.concatenate([np.zeros(0, np.int64), *labels]), minlength=len(self.class_names))
