"""What each anchor should say, and how far it is from saying so. Sums, not means: the caller knows the whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor
from torchvision.ops import box_iou

from softdet.ops.box_coding import encode
from softdet.ops.boxes import intersection_over_first
from softdet.ops.losses import focal_loss, giou_loss, smooth_l1_loss
from softdet.ops.matching import BACKGROUND, IGNORED, NEGATIVE_IOU, match
from softdet.structures import DenseOutput, Targets

BoxLoss = Literal["smooth_l1", "giou"]

# An anchor with this share of its area inside an ignored region (a crowd, say) teaches no background.
_IGNORED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Assignment:
    """Targets laid onto anchors.

    Attributes:
        labels: (B, A) int64; a class, BACKGROUND or IGNORED.
        deltas: (P, 4) offsets for the P anchors whose label is a class, in the order of `labels[labels >= 0]`.
    """

    labels: Tensor
    deltas: Tensor

    @property
    def positive(self) -> Tensor:
        """(B, A) bool."""
        return self.labels >= 0


def assign(anchors: Tensor, targets: Sequence[Targets], *, allow_low_quality: bool) -> Assignment:
    """Lay each image's targets onto the anchors.

    Args:
        anchors: (A, 4).
        targets: one per image, in pixels of the view that the anchors belong to.
        allow_low_quality: see `ops.matching.match`.
    """
    matched = torch.stack([match(anchors, each.boxes, allow_low_quality=allow_low_quality) for each in targets])
    image, anchor = (matched >= 0).nonzero(as_tuple=True)
    # Each image's first box among the boxes of all.
    first = torch.tensor([0, *accumulate(map(len, targets))], device=anchors.device)
    box = first[image] + matched[image, anchor]
    labels = matched.index_put((image, anchor), torch.cat([each.labels for each in targets])[box])
    for label, each in zip(labels, targets, strict=True):
        if len(each.ignored):
            near = box_iou(anchors, each.ignored) >= NEGATIVE_IOU
            inside = intersection_over_first(anchors, each.ignored) >= _IGNORED_SHARE
            label.masked_fill_((near | inside).any(1) & (label == BACKGROUND), IGNORED)
    return Assignment(labels, encode(torch.cat([each.boxes for each in targets])[box], anchors[anchor]))


def classification_loss(output: DenseOutput, assignment: Assignment, weights: Tensor) -> Tensor:
    """The weighted sum of the focal losses of all anchors that aren't ignored.

    Args:
        output: of B images.
        assignment: of the same images.
        weights: broadcastable to (B, A), not negative.

    Returns:
        () float32.
    """
    used = (assignment.labels != IGNORED) * weights
    return (focal_loss(output.logits, assignment.labels) * used).sum()


def regression_loss(
    output: DenseOutput, assignment: Assignment, weights: Tensor, box_loss: BoxLoss = "smooth_l1"
) -> Tensor:
    """The weighted sum of the box losses of all positive anchors.

    Args:
        output: of B images.
        assignment: of the same images.
        weights: broadcastable to (B, A), not negative.
        box_loss: on the offsets, or on the overlap of the boxes.

    Returns:
        () float32; 0, with finite gradients, where nothing is positive.
    """
    positive = assignment.positive
    loss = giou_loss if box_loss == "giou" else smooth_l1_loss
    losses = loss(output.deltas[positive], assignment.deltas)
    return (losses * weights.expand_as(positive)[positive]).sum()
