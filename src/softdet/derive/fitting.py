"""Canvas and anchors that fit the objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from softdet.derive.facts import Facts
from softdet.ops.matching import POSITIVE_IOU

Resize = Literal["letterbox", "stretch"]
Size = tuple[int, int]

SIZES = (32.0, 64.0, 128.0, 256.0, 512.0)
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
_FINEST_STRIDE = 8
_MULTIPLE = 32

# Nine objects in ten should be so large on the canvas; below that even the finest cells see little of one.
SMALL_SIDE = 24
_CPU_CANVASES = range(160, 321, _MULTIPLE)
_GPU_CANVAS = 640
# From here on, and if nine images in ten lie the same way, a square canvas would mostly be filled with grey.
_FAR_FROM_SQUARE = 1.25
_SAME_WAY = 0.9

# Smaller anchors cost the larger objects: halved on cards and raccoon, up to seven points of the control's mAP, on
# bccd twelve (docs/decisions.md). So the ordinary ones stay until so many boxes have none that fits.
MAX_UNCOVERED = 0.1
_FACTORS = (1.0, 0.71, 0.5)
# A class counts with so many boxes; where most of it is uncovered, it would hardly be learned.
_FEW_BOXES = 5
_STARVES = 0.5
_SMALL_OCTAVE = 0.5


def fit_canvas(facts: Facts) -> tuple[Size, str]:
    """The canvas that the device can afford and the objects need, and why."""
    own = _up(facts.long_side)
    if facts.machine.has_gpu:
        side = min(_GPU_CANVAS, own)
        reason = f"{side} with a GPU" if side == _GPU_CANVAS else f"the images' own size, {facts.long_side:.0f}"
    else:
        candidates = [side for side in _CPU_CANVASES if side <= own] or [own]
        smalls = {side: float(np.percentile(_sides(on_canvas(facts, (side, side))), 10)) for side in candidates}
        side = next((side for side in candidates if smalls[side] >= SMALL_SIDE), candidates[-1])
        reason = f"nine objects in ten are {smalls[side]:.0f} pixels or more"
        if smalls[side] < SMALL_SIDE:
            more = "the images have no more" if side == own else "more is slow without a GPU"
            reason += f", {SMALL_SIDE} would be better; {more}"
    short = _up(side / _aspect(facts)) if _lies_one_way(facts) else side
    if short >= side:
        return (side, side), reason
    wide = float(np.median(facts.image_sizes[:, 1] / facts.image_sizes[:, 0])) > 1
    kind = "landscape" if wide else "portrait"
    return (short, side) if wide else (side, short), f"{reason}; the images are {kind}"


def fit_anchor_sizes(
    facts: Facts,
    canvas: Size,
    ratios: Sequence[float],
    resize: Resize = "letterbox",
    octaves: Sequence[float] = OCTAVES,
) -> tuple[tuple[float, ...], str]:
    """The sides of the anchors on P3 to P7, and why; of each there are those multiples."""
    boxes = on_canvas(facts, canvas, resize)
    uncovered = {
        factor: float((best_overlap(boxes, canvas, _scaled(factor), octaves, ratios) < POSITIVE_IOU).mean())
        for factor in _FACTORS
    }
    usual = uncovered[1.0]
    if usual <= MAX_UNCOVERED:
        return SIZES, f"{1 - usual:.0%} of the boxes have one that fits"
    factor = next((f for f in _FACTORS if uncovered[f] <= MAX_UNCOVERED), min(_FACTORS, key=uncovered.__getitem__))
    if factor == 1:
        return SIZES, f"{1 - usual:.0%} of the boxes have one that fits, and smaller ones would reach no more"
    return _scaled(factor), (
        f"{SIZES[0]:.0f} to {SIZES[-1]:.0f} times {factor:g}: {1 - uncovered[factor]:.0%} of the boxes have one that "
        f"fits instead of {1 - usual:.0%}"
    )


def fit_anchor_octaves(
    facts: Facts, canvas: Size, sizes: Sequence[float], ratios: Sequence[float], resize: Resize = "letterbox"
) -> tuple[tuple[float, ...], str]:
    """The multiples of each anchor's side, and why: a smaller one where a class of small objects would starve."""
    boxes = on_canvas(facts, canvas, resize)
    fits = best_overlap(boxes, canvas, sizes, OCTAVES, ratios) >= POSITIVE_IOU
    classes, counts = np.unique(facts.labels, return_counts=True)
    shares = [float(fits[facts.labels == label].mean()) for label in classes[counts >= _FEW_BOXES]]
    usual = "RetinaNet's three"
    # Sizes that were shrunk already are as small as helps.
    if tuple(sizes) != SIZES or min(shares, default=1.0) >= _STARVES:
        return OCTAVES, usual
    octaves = (_SMALL_OCTAVE, *OCTAVES)
    fits = best_overlap(boxes, canvas, sizes, octaves, ratios) >= POSITIVE_IOU
    now = [float(fits[facts.labels == label].mean()) for label in classes[counts >= _FEW_BOXES]]
    worst = int(np.argmin(shares))
    if now[worst] <= shares[worst]:
        return OCTAVES, usual
    return octaves, f"{usual} and a small one: {now[worst]:.0%} of a class fit one instead of {shares[worst]:.0%}"


def on_canvas(facts: Facts, canvas: Size, resize: Resize = "letterbox") -> NDArray[np.float64]:
    """The boxes in pixels of a canvas: (N, 4) xyxy."""
    factors = np.array(canvas) / facts.box_image_sizes
    if resize == "letterbox":
        factors = factors.min(1, keepdims=True).repeat(2, 1)
    return facts.boxes * factors[:, [1, 0, 1, 0]]


def best_overlap(
    boxes: NDArray[np.float64], canvas: Size, sizes: Sequence[float], octaves: Sequence[float], ratios: Sequence[float]
) -> NDArray[np.float64]:
    """The IoU of each box with the anchor that fits it best, (N,).

    Of the anchors of one shape the best is the one whose centre is nearest, so that only these are looked at, and not
    the tens of thousands that there are.

    Law: it is the largest of `box_iou(boxes, Anchors(...))`.
    """
    best = np.zeros(len(boxes))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for level, size in enumerate(sizes):
        stride = _FINEST_STRIDE * 2**level
        grid = np.array([-(-canvas[1] // stride), -(-canvas[0] // stride)])
        # Where a level is coarser than the canvas, its stride is what is left of the canvas for each cell.
        strides = np.array([canvas[1], canvas[0]]) // grid
        nearest = np.clip(np.rint(centres / strides), 0, grid - 1) * strides
        for octave in octaves:
            for ratio in ratios:
                half = np.rint(np.array([1 / math.sqrt(ratio), math.sqrt(ratio)]) * int(size * octave) / 2)
                low, high = np.maximum(boxes[:, :2], nearest - half), np.minimum(boxes[:, 2:], nearest + half)
                shared = np.clip(high - low, 0, None).prod(1)
                best = np.maximum(best, shared / (areas + 4 * half.prod() - shared))
    return best


def _scaled(factor: float) -> tuple[float, ...]:
    return tuple(float(round(size * factor)) for size in SIZES)


def _sides(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))


def _up(side: float) -> int:
    return max(64, math.ceil(side / _MULTIPLE) * _MULTIPLE)


def _aspect(facts: Facts) -> float:
    """The longer by the shorter side, in the median."""
    return float(np.median(facts.image_sizes.max(1) / facts.image_sizes.min(1)))


def _lies_one_way(facts: Facts) -> bool:
    rows, columns = facts.image_sizes.T
    return _aspect(facts) >= _FAR_FROM_SQUARE and max((rows > columns).mean(), (columns > rows).mean()) >= _SAME_WAY
