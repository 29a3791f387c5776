"""What detections on labeled images tell beyond AP: curves, confusions, kinds of errors, image by image."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from hotcoco import COCOeval
from numpy.typing import NDArray

from softdet.data.index import ImageRecord, Index
from softdet.evaluation.columns import Columns, counted_detections, new_evaluation, number_ids, to_columns
from softdet.report.facts import Box, Diagnosis, Judged, Suspect

_IOU = 0.5
_THRESHOLDS = np.linspace(0.0, 1.0, 101)
_FEWEST_IN_BIN = 5
_SURE, _MOST_SUSPECTS = 0.7, 12


def diagnose(
    truth: dict[str, Any], detections: list[dict[str, Any]], index: Index, operating_point: float
) -> Diagnosis:
    """Find out what a detector gets right and wrong.

    Args:
        truth: as `load_truth` gives it.
        detections: as `load_detections` gives them.
        index: of the same images, with the detector's classes; their order is that of the result.
        operating_point: the score above which a detection counts, where one has to be chosen.

    Raises:
        DataError: as `to_columns`.
    """
    columns = to_columns(truth, detections)
    evaluation = new_evaluation(columns, every_size_only=True)
    evaluation.evaluate()
    evaluation.accumulate()
    assert evaluation.eval is not None
    # Of hotcoco's classes, numbered in the order of the ids, to labels; a class that this truth lacks has none.
    numbers = number_ids(truth["categories"])
    order = [None if each is None else numbers[each] - 1 for each in index.category_ids]
    precision = evaluation.eval["precision"][0, :, :, 0, -1].T
    curves = np.stack([np.full(precision.shape[1], np.nan) if row is None else precision[row] for row in order])
    curves[(curves < 0).any(1)] = np.nan
    calibration = evaluation.calibration(n_bins=10, iou_threshold=_IOU)
    bins = [
        (each["avg_confidence"], each["avg_accuracy"], each["count"])
        for each in calibration["bins"]
        if each["count"] >= _FEWEST_IN_BIN
    ]
    kept = [entry for entry in detections if entry["score"] >= operating_point]
    judged = to_columns(truth, kept)
    at_point = new_evaluation(judged, every_size_only=True)
    at_point.evaluate()
    found = at_point.image_diagnostics(iou_thr=_IOU, score_thr=operating_point)
    scores, right, boxes = _matches(evaluation, columns)
    return Diagnosis(
        recall=np.linspace(0, 1, curves.shape[1]),
        precision=curves,
        thresholds=_THRESHOLDS,
        macro=_macro(scores, right, boxes),
        class_points=np.array([_point(row, scores, right, boxes, operating_point) for row in order]).reshape(-1, 2),
        confusion=_confusion(at_point, order),
        tide={name: max(0.0, float(value)) for name, value in evaluation.tide_errors(pos_thr=_IOU)["delta_ap"].items()},
        calibration=np.array(bins, np.float64).reshape(-1, 3),
        calibration_error=float(calibration["ece"]),
        images=_judge(truth, judged, found, index, order),
        suspects=_suspects(truth, found, index, order),
    )


_ByClass = dict[int, NDArray[np.float64]]


def _matches(evaluation: COCOeval, columns: Columns) -> tuple[_ByClass, _ByClass, dict[int, int]]:
    """By class: scores of the detections that count, scores of the right ones, and the number of true boxes."""
    scores: dict[int, list[float]] = defaultdict(list)
    right: dict[int, list[float]] = defaultdict(list)
    for number, score, is_right in counted_detections(evaluation):
        scores[number - 1].append(score)
        if is_right:
            right[number - 1].append(score)
    boxes = {place: int(number) for place, number in enumerate(columns.num_boxes()[1:]) if number}
    return (
        {place: np.sort(scores[place]) for place in boxes},
        {place: np.sort(right[place]) for place in boxes},
        boxes,
    )


def _macro(scores: _ByClass, right: _ByClass, boxes: dict[int, int]) -> NDArray[np.float64]:
    """(3, T) means over the classes; a class without a detection has no precision, and none of the mean."""
    rows = []
    for place, number in boxes.items():
        seen, good = _at_least(scores[place]), _at_least(right[place])
        with np.errstate(invalid="ignore"):
            rows.append(np.stack([good / seen, good / number, 2 * good / (seen + number)]))
    if not rows:
        return np.full((3, len(_THRESHOLDS)), np.nan)
    stacked = np.stack(rows)
    known = np.isfinite(stacked)
    with np.errstate(invalid="ignore"):
        return np.where(known, stacked, 0).sum(0) / known.sum(0)


def _point(
    place: int | None, scores: _ByClass, right: _ByClass, boxes: dict[int, int], threshold: float
) -> tuple[float, float]:
    if place is None or place not in boxes:
        return float("nan"), float("nan")
    seen, good = int((scores[place] >= threshold).sum()), int((right[place] >= threshold).sum())
    return good / seen if seen else float("nan"), good / boxes[place]


def _at_least(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return (len(scores) - np.searchsorted(scores, _THRESHOLDS, side="left")).astype(np.float64)


def _confusion(evaluation: COCOeval, order: list[int | None]) -> NDArray[np.int64]:
    matrix = evaluation.confusion_matrix(iou_thr=_IOU)["matrix"].astype(np.int64)
    # A row and column of zeroes for the classes that the truth lacks, and nothing stays the last.
    padded = np.pad(matrix, ((0, 1), (0, 1)))
    missing, nothing = len(matrix), len(matrix) - 1
    chosen = [missing if place is None else place for place in order] + [nothing]
    return padded[np.ix_(chosen, chosen)]


def _judge(
    truth: dict[str, Any], columns: Columns, found: dict[str, Any], index: Index, order: list[int | None]
) -> tuple[Judged, ...]:
    """Every image with its boxes; hotcoco numbers true boxes and detections from 1, in the order of the columns."""
    labels = {place: label for label, place in enumerate(order) if place is not None}
    numbers = number_ids(truth["images"])
    names = _names(truth)
    true_boxes: dict[int, list[Box]] = defaultdict(list)
    found_boxes: dict[int, list[Box]] = defaultdict(list)
    sizes = {numbers[image["id"]]: (image.get("width"), image.get("height")) for image in truth["images"]}
    for record in index.images:
        if record.size is not None:
            sizes[numbers[record.id]] = (record.size[1], record.size[0])
    for row in np.flatnonzero(~columns.ignored).tolist():
        image, label = int(columns.images[row]), labels.get(int(columns.classes[row]) - 1)
        if label is not None:
            was_found = found["gt_status"].get(row + 1) == "matched"
            true_boxes[image].append(Box(_in_parts(columns.boxes[row], sizes[image]), label, None, was_found))
    for row, values in enumerate(columns.detections.tolist()):
        image, label = int(values[0]), labels.get(int(values[6]) - 1)
        if label is not None and (row + 1) in found["dt_status"]:
            is_right = found["dt_status"][row + 1] == "tp"
            box = np.array(values[1:5])
            found_boxes[image].append(Box(_in_parts(box, sizes[image]), label, round(values[5], 4), is_right))
    return tuple(
        _judged(record, names[record.id], true_boxes[numbers[record.id]], found_boxes[numbers[record.id]])
        for record in index.images
    )


def _names(truth: dict[str, Any]) -> dict[Any, str]:
    """What to call each image: its way in the list, less the steps up that a list in a run's folder begins with."""
    ways = {image["id"]: PurePosixPath(str(image.get("file_name", image["id"]))) for image in truth["images"]}
    return {key: str(PurePosixPath(*(part for part in way.parts if part != ".."))) for key, way in ways.items()}


def _judged(record: ImageRecord, name: str, truth: list[Box], found: list[Box]) -> Judged:
    right = sum(box.is_right for box in found)
    total = len(truth) + len(found)
    found.sort(key=lambda box: -(box.score or 0))
    return Judged(name, record.path, record.size, tuple(truth), tuple(found), 2 * right / total if total else 1.0)


def _in_parts(box: NDArray[np.float64], size: tuple[int, int]) -> tuple[float, float, float, float]:
    x, y, width, height = (box / np.array([*size, *size])).tolist()
    return round(x, 5), round(y, 5), round(x + width, 5), round(y + height, 5)


def _suspects(
    truth: dict[str, Any], found: dict[str, Any], index: Index, order: list[int | None]
) -> tuple[Suspect, ...]:
    names = {place + 1: index.class_names[label] for label, place in enumerate(order) if place is not None}
    files = {number: identity for identity, number in number_ids(truth["images"]).items()}
    called = _names(truth)
    entries = sorted(found["label_errors"], key=lambda entry: -entry["dt_score"])
    return tuple(
        Suspect(
            called[files[entry["image_id"]]],
            names.get(entry.get("gt_category_id")),
            names[entry["dt_category_id"]],
            float(entry["dt_score"]),
        )
        for entry in entries
        if entry["dt_category_id"] in names and entry["dt_score"] >= _SURE
    )[:_MOST_SUSPECTS]
