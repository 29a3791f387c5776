"""Boxes as offsets from anchors (Faster R-CNN, arXiv 1506.01497, eq. 2)."""

import math

import torch
from torch import Tensor

# A side can grow by at most this factor's logarithm, so that exp() of a wild prediction stays finite.
_MAX_LOG_SCALE = math.log(1000 / 16)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Write boxes as offsets from anchors.

    Args:
        boxes: (..., 4) xyxy with positive sides.
        anchors: (..., 4) xyxy with positive sides.

    Returns:
        (..., 4): centre shift in anchor sides, and the logarithm of the side ratios. Law: decode(encode(b)) == b, for
        sides up to 62.5 times the anchor's.
    """
    sides = anchors[..., 2:] - anchors[..., :2]
    centres = anchors[..., :2] + sides / 2
    box_sides = boxes[..., 2:] - boxes[..., :2]
    box_centres = boxes[..., :2] + box_sides / 2
    return torch.cat([(box_centres - centres) / sides, (box_sides / sides).log()], -1)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Read offsets from anchors as boxes.

    Args:
        deltas: (..., 4).
        anchors: (..., 4) xyxy.

    Returns:
        (..., 4) xyxy float32.
    """
    deltas = deltas.float()
    sides = anchors[..., 2:] - anchors[..., :2]
    centres = anchors[..., :2] + sides / 2 + deltas[..., :2] * sides
    half = deltas[..., 2:].clamp(max=_MAX_LOG_SCALE).exp() * sides / 2
    return torch.cat([centres - half, centres + half], -1)
