"""Soft Teacher's nine colour operations, with one strength per image, and erasing; on whole batches, on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

GREY = 128 / 255  # what stands where there is no picture: outside the stored image and under an erasure
_MAX_ERASURES = 4


@dataclass(frozen=True, slots=True)
class ColourDraw:
    """One image's colour operation.

    Attributes:
        operation: an index into `OPERATIONS`.
        strength: uniform in [0, 1); each operation reads it on its own scale.
    """

    operation: int
    strength: float


def draw_colour(rng: np.random.Generator) -> ColourDraw:
    """Draw one of the nine operations and its strength."""
    return ColourDraw(int(rng.integers(len(OPERATIONS))), float(rng.random()))


def apply_colour(images: Tensor, draws: list[ColourDraw]) -> Tensor:
    """Change each image by its own draw.

    Args:
        images: (B, 3, H, W) in [0, 1].
        draws: one per image.

    Returns:
        (B, 3, H, W) in [0, 1], a new tensor.
    """
    output = images.clone()
    for number, operation in enumerate(OPERATIONS):
        rows = [row for row, draw in enumerate(draws) if draw.operation == number]
        if rows:
            strengths = torch.tensor([draws[row].strength for row in rows], device=images.device).view(-1, 1, 1, 1)
            output[rows] = operation(images[rows], strengths).clamp(0, 1)
    return output


def draw_erasures(rng: np.random.Generator) -> np.ndarray:
    """Draw 1 to 4 squares to erase, side U[0, .2] of the canvas.

    Returns:
        (4, 3) centre x, centre y and side, in parts of the canvas; a square that wasn't drawn has side 0.
    """
    number = rng.integers(1, _MAX_ERASURES + 1)
    squares = rng.random((_MAX_ERASURES, 3)) * (1, 1, 0.2)
    squares[number:, 2] = 0
    return squares


def erase(images: Tensor, squares: Tensor) -> Tensor:
    """Fill squares with mid-grey.

    Args:
        images: (B, 3, H, W).
        squares: (B, 4, 3), see `draw_erasures`.
    """
    height, width = images.shape[-2:]
    x, y, side = (squares.to(images) * torch.tensor([width, height, min(height, width)]).to(images)).unbind(-1)
    columns = torch.arange(width, device=images.device) + 0.5
    rows = torch.arange(height, device=images.device) + 0.5
    across = (columns - x[..., None]).abs() < side[..., None] / 2  # (B, 4, W)
    down = (rows - y[..., None]).abs() < side[..., None] / 2  # (B, 4, H)
    covered = (down[..., :, None] & across[..., None, :]).any(1, keepdim=True)
    return images.masked_fill(covered, GREY)


def _blend(images: Tensor, other: Tensor, strengths: Tensor) -> Tensor:
    # A factor of 1 is the image itself, 0 the other one, above 1 away from it.
    factor = 0.1 + 1.8 * strengths
    return other + factor * (images - other)


def _identity(images: Tensor, strengths: Tensor) -> Tensor:
    del strengths
    return images


def _autocontrast(images: Tensor, strengths: Tensor) -> Tensor:
    del strengths
    return tvf.autocontrast(images)


def _equalize(images: Tensor, strengths: Tensor) -> Tensor:
    del strengths
    as_bytes = (images * 255).round().to(torch.uint8)
    return tvf.equalize(as_bytes).to(images.dtype) / 255


def _solarize(images: Tensor, strengths: Tensor) -> Tensor:
    return torch.where(images >= strengths, 1 - images, images)


def _posterize(images: Tensor, strengths: Tensor) -> Tensor:
    levels = 2 ** (4 + (strengths * 4).floor())  # 4 to 7 bits
    return (images * 255 / 256 * levels).floor() / levels * 256 / 255


def _colour(images: Tensor, strengths: Tensor) -> Tensor:
    return _blend(images, tvf.rgb_to_grayscale(images, num_output_channels=3), strengths)


def _contrast(images: Tensor, strengths: Tensor) -> Tensor:
    mean = tvf.rgb_to_grayscale(images).mean((1, 2, 3), keepdim=True)
    return _blend(images, mean, strengths)


def _brightness(images: Tensor, strengths: Tensor) -> Tensor:
    return _blend(images, torch.zeros_like(images), strengths)


def _sharpness(images: Tensor, strengths: Tensor) -> Tensor:
    kernel = torch.tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]], device=images.device) / 13
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    smooth = F.conv2d(padded, kernel.expand(3, 1, 3, 3), groups=3)
    return _blend(images, smooth, strengths)


OPERATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    _identity,
    _autocontrast,
    _equalize,
    _solarize,
    _colour,
    _contrast,
    _brightness,
    _sharpness,
    _posterize,
)
