"""The images and labels that doctor looks at, bad ones and all, whatever form they came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

PoolName = Literal["labeled", "unlabeled", "valid", "test"]
CategoryId = int | str

POOL_NAMES: tuple[PoolName, ...] = ("labeled", "unlabeled", "valid", "test")


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of a pool.

    Attributes:
        name: as its list or folder names it.
        path: the file, which may be missing.
        size: rows and columns that the list states; None where it states none.
    """

    name: str
    path: Path
    size: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Labels:
    """The boxes of a pool, as the source states them.

    Attributes:
        names: of each category id.
        picture: (N,) int64, the position of each box's picture.
        category: of each box, not necessarily one of `names`.
        corners: (N, 4) float64 xyxy in pixels of the picture; NaN where the source states no four numbers.
        where: of each box, in words: which annotation, or file and line.
        is_ignored: (N,) bool, crowds and regions marked `ignore`, which aren't judged as objects.
        has_ids: whether the source states the ids; else they are made here, of its names.
    """

    names: dict[CategoryId, str]
    picture: NDArray[np.int64]
    category: Sequence[CategoryId]
    corners: NDArray[np.float64]
    where: Sequence[str]
    is_ignored: NDArray[np.bool_]
    has_ids: bool = True

    def class_of(self, box: int) -> str:
        """The name of a box's class."""
        return self.names.get(self.category[box], str(self.category[box]))


@dataclass(frozen=True, slots=True)
class Pool:
    """Images that play one part in training.

    Attributes:
        name: their part.
        source: the file or folder that they came from.
        pictures: the images.
        labels: their boxes; None for unlabeled images.
    """

    name: PoolName
    source: str
    pictures: tuple[Picture, ...]
    labels: Labels | None
