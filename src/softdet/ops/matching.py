"""Which anchor learns which box (RetinaNet, arXiv 1708.02002, section 4)."""

import torch
from torch import Tensor
from torchvision.ops import box_iou

BACKGROUND = -1
IGNORED = -2

POSITIVE_IOU = 0.5
NEGATIVE_IOU = 0.4


def match(anchors: Tensor, boxes: Tensor, *, allow_low_quality: bool) -> Tensor:
    """Give each anchor the box that it overlaps most.

    Args:
        anchors: (A, 4) xyxy.
        boxes: (N, 4) xyxy.
        allow_low_quality: also give every box its best anchors, however small the overlap. Right for true boxes, which
            would else teach nothing when no anchor fits them; wrong for pseudo boxes (METHOD, trap 3).

    Returns:
        (A,) int64: the index of the box where IoU >= .5, BACKGROUND where the best IoU < .4, IGNORED between.
    """
    if len(boxes) == 0:
        return torch.full((len(anchors),), BACKGROUND, device=anchors.device)
    iou = box_iou(anchors, boxes)
    best_iou, best_box = iou.max(1)
    matched = best_box.clone()
    matched[best_iou < POSITIVE_IOU] = IGNORED
    matched[best_iou < NEGATIVE_IOU] = BACKGROUND
    if allow_low_quality:
        # A box that no anchor touches has best IoU 0, which every other anchor would share.
        is_best_of_a_box = ((iou == iou.max(0).values) & (iou > 0)).any(1)
        matched = torch.where(is_best_of_a_box, best_box, matched)
    return matched
