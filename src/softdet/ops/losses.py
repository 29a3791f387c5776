"""The two losses of RetinaNet, one value per anchor; normalising them is the caller's business."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

ALPHA, GAMMA = 0.25, 2.0
_BETA = 1 / 9


def focal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Focal loss with alpha .25 and gamma 2 (arXiv 1708.02002, eq. 5), summed over classes.

    Args:
        logits: (..., K).
        labels: (...) int64; a negative label is background, all K targets are 0.

    Returns:
        (...) float32, not negative.
    """
    num_classes = logits.shape[-1]
    one_hot = F.one_hot(torch.where(labels < 0, num_classes, labels), num_classes + 1)[..., :-1]
    return sigmoid_focal_loss(logits.float(), one_hot.float(), alpha=ALPHA, gamma=GAMMA).sum(-1)


def box_loss(deltas: Tensor, target_deltas: Tensor) -> Tensor:
    """Smooth L1 with beta 1/9, summed over the four offsets.

    Args:
        deltas: (..., 4).
        target_deltas: (..., 4).

    Returns:
        (...) float32, not negative.
    """
    return F.smooth_l1_loss(deltas.float(), target_deltas.float(), beta=_BETA, reduction="none").sum(-1)
