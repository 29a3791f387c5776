"""COCO's numbers for boxes, from plain COCO JSON and without a model; computed by hotcoco."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hotcoco import COCOeval
from numpy.typing import NDArray

from softdet.data.coco_fields import box_of, is_finite
from softdet.data.index_reading import load_json
from softdet.errors import DataError
from softdet.evaluation.columns import counted_detections, new_evaluation, number_ids, some_ids, to_columns

# The ids and names that each list of a ground truth file must have.
_TRUTH_KEYS = {"images": ("id",), "categories": ("id", "name"), "annotations": ("image_id", "category_id")}
# What operating_threshold says where no detection is right, so that all thresholds are equally bad.
_NO_EVIDENCE = 0.5


def load_truth(path: Path) -> dict[str, Any]:
    """Read a COCO ground truth file and check all that the evaluation relies on.

    Args:
        path: the JSON file.

    Returns:
        Its content: `images`, `annotations`, `categories`.

    Raises:
        DataError: it isn't such a file; ids stand twice; an annotation has no box of four finite numbers, or a category
            that isn't listed.
    """
    content = load_json(path)
    for name, keys in _TRUTH_KEYS.items():
        entries = content.get(name)
        if not isinstance(entries, list):
            raise DataError(
                f"{path}: ground truth has a list `{name}`; found {sorted(content)}. Is it an unlabeled index?"
            )
        bad = [entry for entry in entries if not _has_ids(entry, keys)]
        if bad:
            raise DataError(
                f"{path}: {len(bad)} of {len(entries)} `{name}` lack {' or '.join(keys)}, a whole number or text; "
                f"the first: {bad[0]}"
            )
        numbers = Counter(entry["id"] for entry in entries) if "id" in keys else {}
        doubled = [number for number, count in numbers.items() if count > 1]
        if doubled:
            raise DataError(f"{path}: these ids stand twice in `{name}`: {doubled[:5]}. Each needs its own.")
    annotations = content["annotations"]
    bad = [annotation for annotation in annotations if not _is_box_with_area(annotation)]
    if bad:
        raise DataError(
            f"{path}: {len(bad)} of {len(annotations)} annotations have no bbox of four finite numbers [x, y, w, h], "
            f"or an area that isn't a number; the first: {bad[0]}. Mend these annotations or leave them out."
        )
    known = {category["id"] for category in content["categories"]}
    unknown = {annotation["category_id"] for annotation in annotations} - known
    if unknown:
        raise DataError(
            f"{path}: annotations name the category ids {some_ids(unknown)}, which are not among its categories "
            f"({some_ids(known)}). Ids are often shifted by one when a file is converted."
        )
    return content


def load_detections(path: Path) -> list[dict[str, Any]]:
    """Read detections: a COCO results file, `[{image_id, category_id, bbox: [x, y, w, h], score}, ...]`.

    Args:
        path: the JSON file.

    Returns:
        Its entries; the list may be empty.

    Raises:
        DataError: there is no such file, it isn't a list, or an entry lacks a key or holds a number that isn't finite.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"there is no detections file {path}. Is the path right?") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON ({error}). Was it cut off while being written or copied?") from error
    if not isinstance(content, list):
        found = f"an object with {sorted(content)}" if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path}: detections are a list, one entry a box; found {found}. Is it the ground truth?")
    bad = [place for place, entry in enumerate(content) if not _is_detection(entry)]
    if bad:
        raise DataError(
            f"{path}: {len(bad)} of {len(content)} detections are malformed; the first, at place {bad[0]}: "
            f"{content[bad[0]]}. Each needs image_id, category_id, a bbox of four finite numbers [x, y, w, h] with "
            "w and h of at least 0, and a finite score"
        )
    return content


def evaluate_detections(truth: dict[str, Any], detections: list[dict[str, Any]]) -> dict[str, Any]:
    """Compute COCO's twelve numbers and each class's AP.

    Law: equal to pycocotools 2.0 for truth with annotation ids above 0 and no `ignore` key. Regions marked `iscrowd` or
    `ignore` count neither for nor against (see `to_columns`).

    Args:
        truth: as `load_truth` gives it.
        detections: as `load_detections` gives them; of each image and class the best 100 count.

    Returns:
        AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl: floats in [0, 1], -1.0 where no true box is of
        that kind. `per_class`: a list of {name, id, AP, AP50, num_boxes} in the order of the categories. `num_images`,
        `num_boxes`, `num_detections`. Boxes are those that count, so ignored regions are not among them.

    Raises:
        DataError: a detection's image or category is not in the truth, or one of its numbers isn't finite.
    """
    columns = to_columns(truth, detections)
    evaluation = new_evaluation(columns)
    summary = _summarize(evaluation)
    assert evaluation.eval is not None
    # (IoU threshold, recall, class, size, detections): every size, 100 detections; -1 throughout without a true box.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    num_boxes = columns.num_boxes()
    numbers = number_ids(truth["categories"])
    per_class = [
        {
            "name": category["name"],
            "id": category["id"],
            "AP": float(precision[:, :, numbers[category["id"]] - 1].mean()),
            "AP50": float(precision[0, :, numbers[category["id"]] - 1].mean()),
            "num_boxes": int(num_boxes[numbers[category["id"]]]),
        }
        for category in truth["categories"]
    ]
    return {
        **summary,
        "per_class": per_class,
        "num_images": columns.num_images,
        "num_boxes": int(num_boxes.sum()),
        "num_detections": len(detections),
    }


def class_agnostic_ap(truth: dict[str, Any], detections: list[dict[str, Any]]) -> dict[str, float]:
    """Compute AP with all classes as one: where a model finds the objects but confuses them, this stays high.

    Args:
        truth: as `load_truth` gives it.
        detections: as `load_detections` gives them; of each image the best 100 count, over all classes.

    Returns:
        AP, AP50, AP75, in [0, 1]; -1.0 where there is no true box.

    Raises:
        DataError: as `evaluate_detections`.
    """
    evaluation = new_evaluation(to_columns(truth, detections), every_size_only=True)
    evaluation.params.use_cats = False
    summary = _summarize(evaluation)
    return {name: summary[name] for name in ("AP", "AP50", "AP75")}


def operating_threshold(truth: dict[str, Any], detections: list[dict[str, Any]]) -> float:
    """Find the one score threshold for all classes that serves best: the highest macro-F1 at IoU .5.

    Matching is COCO's, from the highest score down, so a threshold takes away the end of the list and changes no match
    before it. F1 can only peak at the score of a right detection, and stays the same down to the next lower score; the
    middle of that gap is returned, the place that is safest from small changes of the scores. Of equal peaks the
    highest score is taken.

    Args:
        truth: as `load_truth` gives it.
        detections: as `load_detections` gives them, scores in [0, 1].

    Returns:
        The threshold; detections with at least this score are kept. 0.5 where no detection is right.

    Raises:
        DataError: as `evaluate_detections`.
    """
    columns = to_columns(truth, detections)
    evaluation = new_evaluation(columns, every_size_only=True)
    evaluation.params.iou_thrs = [0.5]
    evaluation.evaluate()
    labels, scores, is_right = np.array([*counted_detections(evaluation)], np.float64).reshape(-1, 3).T
    num_boxes = columns.num_boxes()
    labels_with_boxes = np.flatnonzero(num_boxes)
    return _best_threshold(
        [scores[labels == label] for label in labels_with_boxes],
        [scores[(labels == label) & (is_right > 0)] for label in labels_with_boxes],
        num_boxes[labels_with_boxes],
    )


def _best_threshold(
    scores: list[NDArray[np.float64]], right_scores: list[NDArray[np.float64]], num_boxes: NDArray[np.int64]
) -> float:
    """Find the peak of macro-F1 from each class's scores, those of its right detections, and its true boxes."""
    candidates = np.unique(np.concatenate([np.zeros(0), *right_scores]))[::-1]
    if not len(candidates):
        return _NO_EVIDENCE
    f1 = np.zeros(len(candidates))
    for of_class, right, boxes in zip(scores, right_scores, num_boxes, strict=True):
        f1 += 2 * _num_at_least(candidates, right) / (_num_at_least(candidates, of_class) + boxes)
    # Sums of fractions differ in the last digit, so equal peaks are equal within that; the first is the highest score.
    peak = candidates[np.argmax(f1 >= f1.max() - 1e-9)]
    below = max(of_class[of_class < peak].max(initial=0.0) for of_class in scores)
    return float(peak + below) / 2


def _num_at_least(thresholds: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.int64]:
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")


def _summarize(evaluation: COCOeval) -> dict[str, float]:
    evaluation.evaluate()
    evaluation.accumulate()
    # Unlike summarize(), this fills the results without printing them.
    evaluation.summary_lines()
    results = evaluation.get_results()
    return {name: float(results[name]) for name in evaluation.metric_keys()}


def _is_detection(entry: Any) -> bool:
    return (
        _has_ids(entry, ("image_id", "category_id"))
        and box_of(entry) is not None
        and min(entry["bbox"][2:]) >= 0
        and is_finite(entry.get("score"))
    )


def _has_ids(entry: object, keys: Sequence[str]) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), int | str) for key in keys)


def _is_box_with_area(annotation: dict[str, Any]) -> bool:
    return box_of(annotation) is not None and (annotation.get("area") is None or is_finite(annotation["area"]))
