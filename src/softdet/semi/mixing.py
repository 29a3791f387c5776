"""Across the branches: an unlabeled and a labeled image in one picture, with the labels of both.

Pseudo mixup (MixPL, arXiv 2312.07006) mixes unlabeled images with each other; here half of what a picture shows is
known for sure, and both are in the step anyway. Or the labeled image's objects are pasted on the unlabeled one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from softdet.data.mixup import mix_images, mix_targets
from softdet.data.pasting import hide, is_inside, paste, patches_around
from softdet.models.criterion import Assignment, assign
from softdet.ops.matching import IGNORED
from softdet.structures import AugmentedBatch, Targets

# As a logit: the score 1, to the last digit of a float32.
_SURE = 20.0


def partners(num_unlabeled: int, num_labeled: int) -> list[int]:
    """The labeled image that each unlabeled one is mixed with.

    Law: for equal parts of a batch, a micro-batch or process each, the partners are those in the whole batch.
    """
    return [number * num_labeled // num_unlabeled for number in range(num_unlabeled)]


@dataclass(frozen=True, slots=True)
class Mixture:
    """Unlabeled images with a labeled partner each.

    Attributes:
        images: (B, 3, H, W), each with its partner at half strength, with its partner's objects, or as it is.
        others: the partners, by their rows among the labeled images.
        true: what of the partners is to be seen.
        patches: (N, 4) for each image, where its partner hides it.
    """

    images: Tensor
    others: list[int]
    true: list[Targets]
    patches: list[Tensor]

    def targets(self, pseudo: Sequence[Targets]) -> list[Targets]:
        """The pseudo boxes that are still to be seen, and the true ones."""
        left = [hide(targets, patches) for targets, patches in zip(pseudo, self.patches, strict=True)]
        return mix_targets(left, self.true)

    def beliefs(self, logits: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """What is believed of the mixture: certainty where a true box is, and nothing else in a patch.

        Args:
            logits: (B, A, K), the teacher's on the unlabeled images.
            anchors: (A, 4).

        Returns:
            (B, A, K) logits, and (B, A) bool, False for the anchors of a patch that are neither box nor background.
        """
        true = assign(anchors, self.true, allow_low_quality=False)
        centres = (anchors[:, :2] + anchors[:, 2:]) / 2
        hidden = torch.stack([is_inside(centres, patches) for patches in self.patches])
        settled = torch.where(hidden[..., None], -_SURE, logits)
        return mix_beliefs(settled, true), ~(hidden & (true.labels == IGNORED))


def mix(batch: AugmentedBatch, images: Tensor, *, mixup: bool) -> Mixture:
    """Show unlabeled images together with labeled ones.

    Args:
        batch: with the labeled views, and who is pasted on.
        images: (B, 3, H, W), the strong views.
        mixup: whether those that nothing is pasted on are mixed.
    """
    others = partners(len(images), len(batch.targets))
    mixed = mix_images(images, batch.labeled.images[others]) if mixup else images.clone()
    true, patches = [], []
    for row, (other, margins) in enumerate(zip(others, batch.margins or [None] * len(images), strict=True)):
        targets = batch.targets[other]
        true.append(targets if mixup or margins is not None else Targets.empty(images.device))
        patches.append(targets.boxes.new_zeros(0, 4) if margins is None else patches_around(targets.boxes, margins))
        if margins is not None:
            mixed[row] = paste(images[row], batch.labeled.images[other], patches[row])
    return Mixture(mixed, others, true, patches)


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
