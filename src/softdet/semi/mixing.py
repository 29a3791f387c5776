"""Mixup across the branches: an unlabeled and a labeled image in one picture, with the labels of both.

Pseudo mixup (MixPL, arXiv 2312.07006) mixes unlabeled images with each other; here half of what a picture shows is
known for sure, and both are in the step anyway.
"""

from __future__ import annotations

from torch import Tensor

from softdet.models.criterion import Assignment

# As a logit: the score 1, to the last digit of a float32.
_SURE = 20.0


def partners(num_unlabeled: int, num_labeled: int) -> list[int]:
    """The labeled image that each unlabeled one is mixed with.

    Law: for equal parts of a batch, a micro-batch or process each, the partners are those in the whole batch.
    """
    return [number * num_labeled // num_unlabeled for number in range(num_unlabeled)]


def mix_beliefs(logits: Tensor, true: Assignment) -> Tensor:
    """The teacher's dense logits, and certainty where the partner has a true box.

    Args:
        logits: (B, A, K), of the unlabeled images.
        true: their partners' boxes.

    Returns:
        (B, A, K).
    """
    image, anchor = true.positive.nonzero(as_tuple=True)
    mixed = logits.clone()
    mixed[image, anchor, true.labels[true.positive]] = _SURE
    return mixed
