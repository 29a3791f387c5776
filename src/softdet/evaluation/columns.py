"""Truth and detections in columns, as hotcoco takes them.

Ids are renumbered from 1: a user's image ids may be text or numbers, hotcoco takes numbers alone, and to pycocotools an
annotation of id 0 looks like no match at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from hotcoco import COCO, COCOeval
from numpy.typing import NDArray

from softdet.data.coco_fields import is_ignored, is_marked
from softdet.errors import DataError

# COCO counts the best 100 detections of an image and class.
MAX_DETECTIONS = 100
_EVERY_SIZE = [0.0, 1e10]


@dataclass(frozen=True, slots=True)
class Columns:
    """True boxes and detections in rows, as hotcoco takes them.

    Attributes:
        num_images: images are numbered from 1.
        num_classes: classes are numbered from 1.
        images: (N,) int64, the image of each true box.
        classes: (N,) int64.
        boxes: (N, 4) float64 xywh in pixels.
        areas: (N,) float64 in square pixels, by which COCO tells small, medium and large.
        ignored: (N,) bool; a region where detections count neither for nor against.
        detections: (D, 7) float64: image, x, y, w, h, score, class.
    """

    num_images: int
    num_classes: int
    images: NDArray[np.int64]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    ignored: NDArray[np.bool_]
    detections: NDArray[np.float64]

    def num_boxes(self) -> NDArray[np.int64]:
        """(num_classes + 1,): each class's true boxes that count, at its number; the first is 0."""
        return np.bincount(self.classes[~self.ignored], minlength=self.num_classes + 1)


def to_columns(truth: dict[str, Any], detections: list[dict[str, Any]]) -> Columns:
    """Bring truth and detections into columns, with image and category ids renumbered.

    `ignore: 1` becomes `iscrowd: 1` of every class: training leaves such a region alone whatever the class, so a
    detection of any class in it counts neither for nor against. A region marked `iscrowd` stays one of its own class,
    COCO's rule. pycocotools overwrites `ignore` by `iscrowd`, and so would punish a detection in a region that training
    left alone. Annotations of images that aren't listed are left out, as pycocotools does.

    Args:
        truth: as `load_truth` gives it; ids of images and categories may be numbers or text.
        detections: as `load_detections` gives them.

    Returns:
        The columns.

    Raises:
        DataError: a detection's image or category is not in the truth, or one of its numbers isn't finite.
    """
    image_numbers, class_numbers = number_ids(truth["images"]), number_ids(truth["categories"])
    _require_known("image_id", detections, image_numbers)
    _require_known("category_id", detections, class_numbers)
    rows = np.array(
        [
            (image_numbers[entry["image_id"]], *entry["bbox"], entry["score"], class_numbers[entry["category_id"]])
            for entry in detections
        ],
        np.float64,
    ).reshape(-1, 7)
    broken = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(broken):
        raise DataError(
            f"{len(broken)} of {len(detections)} detections hold numbers that aren't finite; the first: "
            f"{detections[broken[0]]}. Did the training diverge?"
        )
    listed = [annotation for annotation in truth["annotations"] if annotation["image_id"] in image_numbers]
    classes = [_classes_of(annotation, class_numbers) for annotation in listed]
    annotations = [annotation for annotation, own in zip(listed, classes, strict=True) for _ in own]
    return Columns(
        num_images=len(image_numbers),
        num_classes=len(class_numbers),
        images=np.array([image_numbers[annotation["image_id"]] for annotation in annotations], np.int64),
        classes=np.array([number for own in classes for number in own], np.int64),
        boxes=np.array([annotation["bbox"] for annotation in annotations], np.float64).reshape(-1, 4),
        areas=np.array([_area(annotation) for annotation in annotations], np.float64),
        ignored=np.array([is_ignored(a) for a in annotations], np.bool_),
        detections=rows,
    )


def number_ids(entries: list[dict[str, Any]]) -> dict[int | str, int]:
    """Number images or categories from 1 in the order of their ids, numbers before text.

    The order matters: of detections with equal scores, COCO counts those of the lower image id first.
    """
    ids = sorted({entry["id"] for entry in entries}, key=lambda value: (isinstance(value, str), value))
    return {value: number for number, value in enumerate(ids, 1)}


def new_evaluation(columns: Columns, *, every_size_only: bool = False) -> COCOeval:
    """Set up hotcoco with COCO's rules, not yet run.

    Args:
        columns: truth and detections.
        every_size_only: leave out the small, medium and large boxes and the shorter lists of detections; most of the
            time goes into them.

    Returns:
        The evaluation; call `evaluate()`.
    """
    truth = COCO.from_arrays(
        [{"id": number} for number in range(1, columns.num_images + 1)],
        [{"id": number, "name": str(number)} for number in range(1, columns.num_classes + 1)],
        columns.images,
        columns.classes,
        columns.boxes,
        area=columns.areas,
        iscrowd=columns.ignored,
    )
    evaluation = COCOeval(truth, truth.load_res(columns.detections), "bbox")
    if every_size_only:
        evaluation.params.max_dets = [MAX_DETECTIONS]
        evaluation.params.area_rng = [_EVERY_SIZE]
        evaluation.params.area_rng_lbl = ["all"]
    return evaluation


def some_ids(ids: set[Any]) -> str:
    """A few ids in a stable order; numbers and text can't be compared, so by how they are written."""
    written = sorted(map(repr, ids), key=lambda text: (len(text), text))
    return ", ".join(written[:5]) + (", ..." if len(ids) > 5 else "")


def _require_known(key: str, detections: list[dict[str, Any]], numbers: dict[int | str, int]) -> None:
    unknown = [entry[key] for entry in detections if entry[key] not in numbers]
    if unknown:
        raise DataError(
            f"{len(unknown)} of {len(detections)} detections have an unknown {key}: {some_ids(set(unknown))}; the "
            f"ground truth has {some_ids(set(numbers))}. Were they made on another set, or are numbers "
            "written as text?"
        )


def _classes_of(annotation: dict[str, Any], class_numbers: dict[int | str, int]) -> list[int]:
    if is_marked(annotation, "ignore") and not is_marked(annotation, "iscrowd"):
        return list(class_numbers.values())
    return [class_numbers[annotation["category_id"]]]


def _area(annotation: dict[str, Any]) -> float:
    """The area that the file states, which for COCO is the outline's; the box's where it states none."""
    area = annotation.get("area")
    return annotation["bbox"][2] * annotation["bbox"][3] if area is None else area


def counted_detections(evaluation: COCOeval) -> Iterator[tuple[int, float, bool]]:
    """Of an evaluation at one IoU, each detection that counts: the number of its class, its score, if it is right."""
    for cell in evaluation.eval_imgs:
        if cell is not None:
            for score, match, ignored in zip(cell["dtScores"], cell["dtMatches"][0], cell["dtIgnore"][0], strict=True):
                if not ignored:
                    yield cell["category_id"], score, match > 0
