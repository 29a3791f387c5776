"""What a person changed in a detector's labels, box by box."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Change = Literal["kept", "moved", "renamed", "added", "deleted"]

# Formats round corners, VOC's to whole pixels.
_SAME_PLACE = 1.0
# Boxes that overlap less are two objects, not one that was moved.
_SAME_OBJECT = 0.3


@dataclass(frozen=True, slots=True)
class Boxes:
    """The boxes of one image.

    Attributes:
        corners: (N, 4) float xyxy in pixels.
        names: N class names.
    """

    corners: NDArray[np.float32]
    names: Sequence[str]


def count_changes(before: Boxes, after: Boxes) -> Counter[Change]:
    """Pair the boxes of before and after, and count what became of them.

    Args:
        before: the detector's.
        after: the person's.

    Returns:
        How many were kept as they were, moved, given another class (moved or not), added and deleted. Law: kept, moved,
        renamed and deleted are together the boxes of before; kept, moved, renamed and added those of after.
    """
    overlaps = _overlaps(before.corners, after.corners)
    same_name = np.array([[old == new for new in after.names] for old in before.names], bool).reshape(overlaps.shape)
    # First those of the same class, then what is left over, so that of two boxes on one place each finds its own.
    pairs = [
        (bool(same_name[old, new]), float(overlaps[old, new]), int(old), int(new))
        for old, new in np.argwhere(overlaps >= _SAME_OBJECT)
    ]
    taken_old: set[int] = set()
    taken_new: set[int] = set()
    changes: Counter[Change] = Counter()
    for same, _, old, new in sorted(pairs, reverse=True):
        if old in taken_old or new in taken_new:
            continue
        taken_old.add(old)
        taken_new.add(new)
        shift = np.abs(before.corners[old] - after.corners[new]).max()
        changes["renamed" if not same else "kept" if shift <= _SAME_PLACE else "moved"] += 1
    changes["deleted"] += len(before.corners) - len(taken_old)
    changes["added"] += len(after.corners) - len(taken_new)
    return changes


def _overlaps(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, M) intersection over union; boxes whose corners differ by less than rounding overlap fully."""
    first, second = before[:, None], after[None]
    sides = np.clip(np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2]), 0, None)
    shared = sides.prod(-1)
    area_before = (before[:, 2:] - before[:, :2]).prod(-1)
    area_after = (after[:, 2:] - after[:, :2]).prod(-1)
    union = area_before[:, None] + area_after[None] - shared
    overlaps: NDArray[np.float32] = shared / np.maximum(union, 1e-9)
    # Of boxes of a few pixels rounding alone takes a large part.
    return np.where(np.abs(first - second).max(-1, initial=0) <= _SAME_PLACE, np.float32(1), overlaps)
