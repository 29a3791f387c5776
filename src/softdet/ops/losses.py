"""The losses of a dense detector, one value per anchor; normalising them is the caller's business."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from softdet.ops.box_coding import decode

ALPHA, GAMMA = 0.25, 2.0
_BETA = 1 / 9
# What ATSS (arXiv 1912.02424) and its followers weigh it with, beside a focal loss of weight 1.
_GIOU_WEIGHT = 2.0


def focal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Focal loss with alpha .25 and gamma 2 (arXiv 1708.02002, eq. 5), summed over classes.

    Args:
        logits: (..., K).
        labels: (...) int64; a negative label is background, all K targets are 0.

    Returns:
        (...) float32, not negative.
    """
    # A negative label equals no class.
    one_hot = labels[..., None] == torch.arange(logits.shape[-1], device=labels.device)
    return sigmoid_focal_loss(logits.float(), one_hot.float(), alpha=ALPHA, gamma=GAMMA).sum(-1)


def smooth_l1_loss(deltas: Tensor, target_deltas: Tensor) -> Tensor:
    """Smooth L1 with beta 1/9, summed over the four offsets.

    Args:
        deltas: (..., 4).
        target_deltas: (..., 4).

    Returns:
        (...) float32, not negative.
    """
    return F.smooth_l1_loss(deltas.float(), target_deltas.float(), beta=_BETA, reduction="none").sum(-1)


def giou_loss(deltas: Tensor, target_deltas: Tensor) -> Tensor:
    """Twice 1 - GIoU (arXiv 1902.09630) of the boxes that the offsets stand for.

    GIoU doesn't change when both boxes are moved and stretched alike along an axis, so it needs no anchor: the boxes
    are read off the unit square.

    Args:
        deltas: (..., 4).
        target_deltas: (..., 4).

    Returns:
        (...) float32 in [0, 4].
    """
    unit = torch.tensor([-0.5, -0.5, 0.5, 0.5], device=deltas.device)
    return _GIOU_WEIGHT * generalized_box_iou_loss(decode(deltas, unit), decode(target_deltas, unit))
