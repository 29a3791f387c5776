"""3x3 maps between views, in pixel coordinates: make them, move boxes with them, warp whole batches with them."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Below this scale bilinear sampling skips so many pixels that a half-size pooled copy is the better source. Measured on
# 1/f textures: at .74 the pooled copy has nearly twice the error (it's enlarged again), at .64 they are equal.
_POOL_BELOW = 0.64


def transform_boxes(boxes: Tensor, matrix: Tensor) -> Tensor:
    """Send boxes through an affine map and take the box around the four moved corners.

    Args:
        boxes: (N, 4) xyxy.
        matrix: (3, 3), new = matrix @ old, or (N, 3, 3), one for each box.

    Returns:
        (N, 4) xyxy float32. Laws: the identity changes nothing; for maps without rotation and shear, moving by M1 and
        then by M2 is moving by M2 @ M1.
    """
    x1, y1, x2, y2 = boxes.float().unbind(-1)
    corners = torch.stack([torch.stack([x1, x2, x2, x1], -1), torch.stack([y1, y1, y2, y2], -1)], -1)  # (N, 4, 2)
    # (1 or N, 1, 2) each: where the axes go, and the origin.
    to_x, to_y, offset = matrix[..., None, :2, :].float().unbind(-1)
    # Written out rather than as a matmul, which autocast would round to bf16.
    moved = corners[..., 0:1] * to_x + corners[..., 1:2] * to_y + offset
    return torch.cat([moved.amin(1), moved.amax(1)], -1)


def invert(matrices: Tensor) -> Tensor:
    """The inverse maps, solved in float64.

    Args:
        matrices: (..., 3, 3).

    Returns:
        (..., 3, 3) in the dtype and on the device of the input.
    """
    return torch.linalg.inv(matrices.cpu().double()).to(matrices)


def compose(second: Tensor, first: Tensor) -> Tensor:
    """The map that does `first` and then `second`, multiplied in float64.

    Args:
        second: (..., 3, 3).
        first: (..., 3, 3).

    Returns:
        (..., 3, 3) in the dtype and on the device of `first`.
    """
    return (second.cpu().double() @ first.cpu().double()).to(first)


def keeps_upright(matrices: Tensor) -> Tensor:
    """Whether maps send upright boxes to upright boxes, as scales, flips and quarter turns do.

    Args:
        matrices: (B, 3, 3).

    Returns:
        (B,) bool: each new axis comes from one old axis alone.
    """
    return ((matrices[:, :2, :2] != 0).sum(2) == 1).all(1)


def warp(images: Tensor, matrices: Tensor, size: tuple[int, int], fill: float) -> Tensor:
    """Resample each image of a batch by its own affine map.

    Args:
        images: (B, 3, S, T) float.
        matrices: (B, 3, 3), from input pixels to output pixels.
        size: rows and columns of the output.
        fill: the value outside the input.

    Returns:
        (B, 3, *size). Each image depends on its own input and matrix alone.
    """
    scales = matrices[:, :2, :2].det().abs().sqrt().tolist()
    output = images.new_empty(len(images), images.shape[1], *size)
    for pooled in (False, True):
        if rows := [row for row, scale in enumerate(scales) if (scale < _POOL_BELOW) is pooled]:
            output[rows] = _sample(images[rows] - fill, matrices[rows], size, pooled) + fill
    return output


def _sample(images: Tensor, matrices: Tensor, size: tuple[int, int], pooled: bool) -> Tensor:
    height, width = images.shape[-2:]
    # grid_sample asks the other way round, from output to input, both scaled to [-1, 1].
    to_input = _to_unit(height, width) @ torch.linalg.inv(matrices.cpu().double()) @ _from_unit(*size)
    if pooled:
        assert height % 2 == width % 2 == 0, "the stored canvas has even sides, so that halves cover the same ground"
        images = F.avg_pool2d(images, 2)
    grid = F.affine_grid(to_input[:, :2].to(images), [len(images), images.shape[1], *size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _to_unit(height: int, width: int) -> Tensor:
    """From pixels to [-1, 1] (the convention of align_corners=False)."""
    return torch.tensor([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1]], dtype=torch.float64)


def _from_unit(height: int, width: int) -> Tensor:
    return torch.tensor([[width / 2, 0, width / 2], [0, height / 2, height / 2], [0, 0, 1]], dtype=torch.float64)
