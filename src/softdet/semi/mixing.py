"""Across the branches: an unlabeled and a labeled image in one picture, with the labels of both.

Pseudo mixup (MixPL, arXiv 2312.07006) mixes unlabeled images with each other; here half of what a picture shows is
known for sure, and both are in the step anyway. Or the labeled image's objects are pasted on the unlabeled one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from softdet.data.mixup import mix_images
from softdet.data.pasting import covered_share, cut_out, mask_of, patches_around
from softdet.models.criterion import Assignment
from softdet.ops.matching import IGNORED
from softdet.structures import AugmentedBatch, Targets

# As a logit: the score 1, to the last digit of a float32.
_SURE = 20.0
# An anchor of which more than this is hidden says nothing of the image behind.
_MOSTLY = 0.5


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
        is_mixed: (B,) bool, where the whole partner is to be seen; elsewhere its objects are, or nothing of it.
        true: what of the partners is to be seen.
        masks: (B, H, W) bool, where its partner's objects hide an image.
    """

    images: Tensor
    others: list[int]
    is_mixed: Tensor
    true: list[Targets]
    masks: Tensor

    def beliefs(self, logits: Tensor, anchors: Tensor, true: Assignment, near_pseudo: Tensor) -> tuple[Tensor, Tensor]:
        """What is believed of the mixture: certainty where a true box is, and nothing else where patches hide all.

        Args:
            logits: (B, A, K), the teacher's on the unlabeled images.
            anchors: (A, 4).
            true: the partners' boxes on them.
            near_pseudo: (B, A) bool, where a pseudo box is, hidden or not.

        Returns:
            (B, A, K) logits, and (B, A) bool, False where a partner is seen and has neither box nor background, or a
            patch over a pseudo box: more of that may be seen than the anchor has.
        """
        each = torch.arange(len(self.masks), device=self.masks.device)[:, None]
        hidden = covered_share(anchors, self.masks, each) > _MOSTLY
        settled = torch.where(hidden[..., None], -_SURE, logits)
        shows_partner = hidden | self.is_mixed[:, None]
        doubtful = (shows_partner & (true.labels == IGNORED)) | (hidden & near_pseudo & ~true.positive)
        return mix_beliefs(settled, true), ~doubtful


def mix(batch: AugmentedBatch, images: Tensor, *, mixup: bool) -> Mixture:
    """Show unlabeled images together with labeled ones.

    Args:
        batch: with the labeled views, and who is pasted on.
        images: (B, 3, H, W), the strong views.
        mixup: whether those that nothing is pasted on are mixed.
    """
    others = partners(len(images), len(batch.targets))
    drawn = batch.margins or (None,) * len(images)
    is_mixed = torch.tensor([mixup and margins is None for margins in drawn], device=images.device)
    beside = batch.labeled.images[others]
    mixed = torch.where(is_mixed[:, None, None, None], mix_images(images, beside), images)
    masks = torch.zeros(len(images), *images.shape[-2:], dtype=torch.bool, device=images.device)
    true = []
    for row, (other, margins) in enumerate(zip(others, drawn, strict=True)):
        targets = batch.targets[other]
        if margins is not None:
            patches = patches_around(targets.boxes, margins)
            masks[row] = mask_of(patches, (images.shape[-2], images.shape[-1]))
            true.append(cut_out(targets, patches))
        else:
            true.append(targets if mixup else Targets.empty(images.device))
    mixed = torch.where(masks[:, None], beside, mixed)
    return Mixture(mixed, others, is_mixed, true, masks)


def overlay(true: Assignment, guessed: Assignment) -> Assignment:
    """Two assignments of the same anchors: what is known comes first, and background is what both say is background."""
    rest = torch.where(guessed.positive, guessed.labels, torch.minimum(true.labels, guessed.labels))
    labels = torch.where(true.positive, true.labels, rest)
    deltas = guessed.deltas.new_zeros(*labels.shape, 4)
    deltas[guessed.positive] = guessed.deltas
    deltas[true.positive] = true.deltas
    return Assignment(labels, deltas[labels >= 0])


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
