"""Objects that no anchor fits at the size images are trained at: RetinaNet can hardly find them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_iou

from softdet.doctor.findings import Finding, Place, found
from softdet.doctor.pools import Pool
from softdet.ops.anchors import Anchors
from softdet.ops.matching import POSITIVE_IOU

_STRIDES = (8, 16, 32, 64, 128)
_MOST_BOXES = 2000
_AT_ONCE = 64
# A class of which more miss is worth a word.
_MOST_MISSED = 0.1
_FEWEST_MISSED = 3


@dataclass(frozen=True, slots=True)
class Canvas:
    """How images and anchors meet in training.

    Attributes:
        size: rows and columns that images are resized to.
        stretch: fill it, instead of keeping the shape of the picture.
        sizes: base side of the anchors on each level.
        octaves: multiples of it on every level.
        ratios: height / width.
    """

    size: tuple[int, int] = (320, 320)
    stretch: bool = False
    sizes: tuple[float, ...] = (32, 64, 128, 256, 512)
    octaves: tuple[float, ...] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)


def check_reach(pool: Pool, sizes: NDArray[np.float64], canvas: Canvas) -> list[Finding]:
    """Find the classes of which many boxes have no anchor with IoU >= .5.

    Args:
        pool: with labels.
        sizes: (P, 2) rows and columns of each picture; NaN where unknown.
        canvas: what is trained with.
    """
    labels = pool.labels
    if labels is None:
        return []
    boxes, numbers = _on_canvas(pool, sizes, canvas)
    missed = best_overlap(boxes, canvas) < POSITIVE_IOU
    names = np.array([labels.class_of(number) for number in numbers], dtype=np.str_)
    rows = []
    for name in dict.fromkeys(names.tolist()):
        own = names == name
        share = float(missed[own].mean())
        if share > _MOST_MISSED and missed[own].sum() >= _FEWEST_MISSED:
            rows.append((share, str(name), _median_side(boxes[own & missed])))
    if not rows:
        return []
    rows.sort(reverse=True)
    height, width = canvas.size
    return found(
        "warning",
        "objects-without-anchor",
        [Place(name, f"{share:.0%} of its boxes, median side {side:.0f} px there") for share, name, side in rows],
        f"{pool.name}: at {height}x{width}, {missed.mean():.0%} of the boxes meet no anchor with IoU >= {POSITIVE_IOU}"
        f"; the smallest anchor has {min(canvas.sizes):g} px. Such objects are hardly ever found",
        _advice(pool, sizes, canvas),
    )


def best_overlap(boxes: Tensor, canvas: Canvas) -> NDArray[np.float64]:
    """The IoU of each box (N, 4) with the anchor that fits it best."""
    height, width = canvas.size
    anchors = Anchors(canvas.sizes, canvas.octaves, canvas.ratios)
    grids = [(-(-height // stride), -(-width // stride)) for stride in _STRIDES]
    laid_out = anchors(grids, canvas.size, torch.device("cpu"))
    parts = [box_iou(part, laid_out).amax(1) for part in boxes.split(_AT_ONCE)]
    return torch.cat(parts).double().numpy() if parts else np.zeros(0)


def _on_canvas(pool: Pool, sizes: NDArray[np.float64], canvas: Canvas) -> tuple[Tensor, Sequence[int]]:
    """A sample of the pool's good boxes in pixels of the canvas, and which they are."""
    labels = pool.labels
    assert labels is not None
    own = sizes[labels.picture]
    corners = np.clip(labels.corners, 0, np.nan_to_num(own[:, [1, 0, 1, 0]], nan=np.inf))
    sides = corners[:, 2:] - corners[:, :2]
    good = np.flatnonzero(~labels.is_ignored & np.isfinite(own).all(1) & (sides > 0).all(1))
    if len(good) > _MOST_BOXES:
        good = np.sort(np.random.default_rng(0).choice(good, _MOST_BOXES, replace=False))
    factors = np.array(canvas.size)[None] / own[good]
    if not canvas.stretch:
        factors = np.repeat(factors.min(1, keepdims=True), 2, axis=1)
    return torch.from_numpy(corners[good] * factors[:, [1, 0, 1, 0]]).float(), good.tolist()


def _median_side(boxes: Tensor) -> float:
    return float((boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt().median())


def _advice(pool: Pool, sizes: NDArray[np.float64], canvas: Canvas) -> str:
    """What would become of the share with smaller anchors, and on a larger canvas."""
    halved = tuple(size / 2 for size in canvas.sizes)
    # Multiples of 32, as the levels want them.
    larger = (canvas.size[0] * 3 // 64 * 32, canvas.size[1] * 3 // 64 * 32)
    smaller = Canvas(canvas.size, canvas.stretch, halved, canvas.octaves, canvas.ratios)
    wider = Canvas(larger, canvas.stretch, canvas.sizes, canvas.octaves, canvas.ratios)
    shares = [(best_overlap(_on_canvas(pool, sizes, c)[0], c) < POSITIVE_IOU).mean() for c in (wider, smaller)]
    listed = ", ".join(f"{size:g}" for size in halved)
    return (
        f"params.image_size={larger[0]}x{larger[1]} leaves {shares[0]:.0%} without an anchor; "
        f"model.anchor_sizes=[{listed}] {shares[1]:.0%}, at some cost for large objects."
    )
