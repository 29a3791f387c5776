"""Boxes, one by one and in pairs: no area, outside, not finite, tiny, drawn twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from softdet.doctor.findings import Finding, Level, Place, found
from softdet.doctor.pools import Labels, Pool

# Less is rounding, and nobody's mistake.
_OUTSIDE_BY = 1.0
_TINY_SIDE = 2.0
# Of one class: on five sets slips have .92 and more, true neighbours .89 and less. Of two, right pairs have up to .94.
_SAME_IOU = 0.9
_CROSSED_IOU = 0.95
# COCO's own coordinates have two digits.
_EQUAL_WITHIN = 0.01


def check_boxes(pool: Pool, sizes: NDArray[np.float64]) -> list[Finding]:
    """Check the boxes of a pool; regions marked ignored aren't judged.

    Args:
        pool: with labels.
        sizes: (P, 2) rows and columns of each picture; NaN where unknown.
    """
    labels = pool.labels
    if labels is None or not len(labels.picture):
        return []
    judged = ~labels.is_ignored
    x1, y1, x2, y2 = labels.corners.T
    height, width = sizes[labels.picture].T
    is_finite = judged & np.isfinite(labels.corners).all(1)
    has_area = is_finite & (x2 > x1) & (y2 > y1)
    # A picture of unknown size cuts nothing: comparisons with NaN are false.
    is_outside = has_area & ((x1 >= width) | (y1 >= height) | (x2 <= 0) | (y2 <= 0))
    over = np.fmax(np.fmax(-x1, -y1), np.fmax(x2 - width, y2 - height))
    reaches = has_area & ~is_outside & (over > _OUTSIDE_BY)
    is_good = has_area & ~is_outside
    is_tiny = is_good & (np.minimum(x2 - x1, y2 - y1) <= _TINY_SIDE)

    findings = _scale(pool, labels, is_good)
    for level, code, mask, message, fix in (
        ("error", "box-not-finite", judged & ~is_finite, _NOT_FINITE, "Export the file anew, or take these boxes out."),
        ("warning", "box-no-area", is_finite & ~has_area, _NO_AREA, "Draw these boxes anew, or take them out."),
        ("error", "box-outside", is_outside, _OUTSIDE, _DRAW),
        ("warning", "box-reaches-outside", reaches, _REACHES + _corners_reason(labels, has_area, reaches), _DRAW),
        ("warning", "box-tiny", is_tiny, _TINY, _SMALL),
    ):
        findings += _at(level, code, pool, labels, mask, message, fix)
    return findings + _twins(pool, labels, is_good)


_NOT_FINITE = "boxes that are not four finite numbers (an empty field, NaN or text); training leaves them out"
_NO_AREA = "boxes without area, width or height 0 or below (a click without a drag?); training leaves them out"
_OUTSIDE = (
    "boxes wholly outside their image; training leaves them out, so their objects are learned as background (drawn on "
    "another size of the image, or on its rotated form?)"
)
_REACHES = "boxes that reach more than a pixel outside their image; they are cut at its border"
_TINY = "boxes of 2 pixels or less; no detector learns them"
_SMALL = "Take out slips of the mouse; mark far objects `ignore: 1`, so that they count neither way."
_DRAW = "Restore the images that were labeled, or export the labels anew for these sizes."


def _corners_reason(labels: Labels, has_area: NDArray[np.bool_], reaches: NDArray[np.bool_]) -> str:
    """Corners written where a width and height belong: then x2 is never below x1, nor y2 below y1."""
    x1, y1, x2, y2 = labels.corners[has_area].T
    looks_like_corners = reaches.sum() > 0.3 * has_area.sum() and ((x2 - x1 > x1) & (y2 - y1 > y1)).all()
    return " (were they written as x1, y1, x2, y2 instead of x, y, width, height?)" if looks_like_corners else ""


def _scale(pool: Pool, labels: Labels, is_good: NDArray[np.bool_]) -> list[Finding]:
    corners = labels.corners[is_good]
    is_relative = len(corners) > 0 and bool((corners <= 1.0).all())
    message = f"{pool.name}: all {len(corners)} boxes lie in the first pixel: they are parts of the image, not pixels"
    where = [Place(pool.source)] if is_relative else []
    return found("error", "boxes-normalised", where, message, "Multiply them with the images' widths and heights.")


def _at(
    level: str, code: str, pool: Pool, labels: Labels, mask: NDArray[np.bool_], message: str, fix: str
) -> list[Finding]:
    places = [_place(pool, labels, number) for number in np.flatnonzero(mask).tolist()]
    as_level: Level = "error" if level == "error" else "warning"
    return found(as_level, code, places, f"{pool.name}: {message}", fix)


def _place(pool: Pool, labels: Labels, number: int) -> Place:
    x1, y1, x2, y2 = labels.corners[number].tolist()
    size = pool.pictures[labels.picture[number]].size
    image = f" in {size[1]}x{size[0]}" if size else ""
    box = f"[{x1:g}, {y1:g}, {x2 - x1:g}, {y2 - y1:g}]{image}"
    return Place(pool.pictures[labels.picture[number]].name, f"{labels.where[number]}, {labels.class_of(number)} {box}")


def _twins(pool: Pool, labels: Labels, is_good: NDArray[np.bool_]) -> list[Finding]:
    exact, near, crossed = [], [], []
    for one, other, iou in _overlapping(labels, np.flatnonzero(is_good)):
        place = _place(pool, labels, one)
        place = Place(place.file, f"{place.detail} = {labels.where[other]}, {labels.class_of(other)}")
        if labels.class_of(one) != labels.class_of(other):
            crossed += [place] if iou > _CROSSED_IOU else []
        elif np.abs(labels.corners[one] - labels.corners[other]).max() < _EQUAL_WITHIN:
            exact.append(place)
        else:
            near.append(place)
    name = pool.name
    message = f"{name}: the same box twice in an image, of one class (two exports put together?)"
    findings = found("warning", "box-twice", exact, message, "Take one of each pair out.")
    message = f"{name}: two boxes of one class on the same object (IoU above {_SAME_IOU}); one of them can't be found"
    findings += found("warning", "box-nearly-twice", near, message, "Take one of each pair out.")
    message = f"{name}: one object with two classes (IoU above {_CROSSED_IOU})"
    return findings + found("warning", "box-two-classes", crossed, message, "Keep the right class of each pair.")


def _overlapping(labels: Labels, boxes: NDArray[np.int64]) -> Iterator[tuple[int, int, float]]:
    """Pairs of boxes of an image with an IoU above `_SAME_IOU`, and that."""
    order = boxes[np.argsort(labels.picture[boxes], kind="stable")]
    edges = np.flatnonzero(np.diff(labels.picture[order])) + 1
    for group in np.split(order, edges):
        if len(group) > 1:
            corners = labels.corners[group]
            top_left = np.maximum(corners[:, None, :2], corners[None, :, :2])
            sides = np.clip(np.minimum(corners[:, None, 2:], corners[None, :, 2:]) - top_left, 0, None)
            shared, own = sides.prod(-1), (corners[:, 2:] - corners[:, :2]).prod(-1)
            iou = shared / (own[:, None] + own[None, :] - shared)
            for a, b in zip(*np.nonzero(np.triu(iou > _SAME_IOU, 1)), strict=True):
                yield int(group[a]), int(group[b]), float(iou[a, b])
