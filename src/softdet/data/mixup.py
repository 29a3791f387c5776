"""Mixup: two images in one picture, each at half strength, with the labels of both.

The mixup of detection (arXiv 1902.04103, section 3.1) keeps both pictures where they are and draws the ratio; here it
is always one half.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from softdet.structures import Targets


def mix_images(images: Tensor, others: Tensor) -> Tensor:
    """The mean of each image and its other, (B, C, H, W); an image and itself give that image."""
    return (images + others) / 2


def mix_targets(targets: Sequence[Targets], others: Sequence[Targets | None]) -> list[Targets]:
    """The boxes and ignored regions of each image and its other; its own alone where that is None."""
    return [
        mine
        if theirs is None
        else Targets(
            torch.cat([mine.boxes, theirs.boxes]),
            torch.cat([mine.labels, theirs.labels]),
            torch.cat([mine.ignored, theirs.ignored]),
        )
        for mine, theirs in zip(targets, others, strict=True)
    ]


def neighbours(positions: Tensor, asked: Tensor, readable: Tensor) -> list[int]:
    """With which image of a micro-batch each is mixed: the one beside it in the global batch, or itself.

    Args:
        positions: (B,) places in the global batch.
        asked: (B,) bool, whether it is to be mixed.
        readable: (B,) bool; what shows nothing is mixed with nothing.

    Returns:
        B rows of the micro-batch. Law: micro-batches that hold whole pairs have the neighbours of the whole batch.
    """
    places, can_be, wanted = positions.tolist(), readable.tolist(), asked.tolist()
    row_of = {place: row for row, place in enumerate(places)}
    beside = [row_of.get(place ^ 1, row) for row, place in enumerate(places)]
    return [other if wanted[row] and can_be[row] and can_be[other] else row for row, other in enumerate(beside)]
