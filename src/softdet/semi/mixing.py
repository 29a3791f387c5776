"""Mixup across the branches: an unlabeled and a labeled image in one picture, with the labels of both.

Pseudo mixup (MixPL, arXiv 2312.07006) mixes unlabeled images with each other; here half of what a picture shows is
known for sure, and both are in the step anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from softdet.structures import Targets

# As a logit: the score 1, to the last digit of a float32.
_SURE = 20.0


def partners(num_unlabeled: int, num_labeled: int) -> Tensor:
    """The labeled image that each unlabeled one is mixed with: (num_unlabeled,) int64.

    Law: for equal parts of a batch, a micro-batch or process each, the partners are those in the whole batch.
    """
    return torch.arange(num_unlabeled) * num_labeled // num_unlabeled


def mix_images(unlabeled: Tensor, labeled: Tensor) -> Tensor:
    """The mean of each unlabeled image (U, C, H, W) and its partner of (L, C, H, W)."""
    return (unlabeled + labeled[partners(len(unlabeled), len(labeled))]) / 2


def mix_targets(pseudo: Sequence[Targets], true: Sequence[Targets]) -> list[Targets]:
    """The boxes and ignored regions of each unlabeled image together with its partner's."""
    return [
        Targets(
            torch.cat([mine.boxes, true[partner].boxes]),
            torch.cat([mine.labels, true[partner].labels]),
            torch.cat([mine.ignored, true[partner].ignored]),
        )
        for mine, partner in zip(pseudo, partners(len(pseudo), len(true)).tolist(), strict=True)
    ]


def mix_beliefs(logits: Tensor, labels: Tensor) -> Tensor:
    """The teacher's dense logits, and certainty where the partner has a true box.

    Args:
        logits: (U, A, K), of the unlabeled images.
        labels: (L, A) int64, the labeled images' assignment.

    Returns:
        (U, A, K).
    """
    theirs = labels[partners(len(logits), len(labels))]
    image, anchor = (theirs >= 0).nonzero(as_tuple=True)
    mixed = logits.clone()
    mixed[image, anchor, theirs[image, anchor]] = _SURE
    return mixed
