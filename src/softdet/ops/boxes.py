"""Shares of xyxy boxes; no +1 pixel anywhere."""

import torch
from torch import Tensor
from torchvision.ops import box_area, clip_boxes_to_image


def intersection_over_first(first: Tensor, second: Tensor) -> Tensor:
    """The share of each first box that lies inside each second box.

    Args:
        first: (N, 4) xyxy.
        second: (M, 4) xyxy.

    Returns:
        (N, M) in [0, 1]; 0 for a first box without area.
    """
    top_left = torch.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    width, height = (bottom_right - top_left).clamp(min=0).unbind(-1)
    return width * height / box_area(first)[:, None].clamp(min=1e-9)


def visible_share(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The share of each box's area that lies inside an image.

    Args:
        boxes: (N, 4) xyxy, which may reach outside.
        size: rows and columns of the image.

    Returns:
        (N,) in [0, 1]; 0 for a box without area.
    """
    return box_area(clip_boxes_to_image(boxes, size)) / box_area(boxes).clamp(min=1e-9)
