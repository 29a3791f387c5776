"""How good a detector is where it's used: precision and recall of each class above one score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from softdet.evaluation.columns import counted_detections, new_evaluation, number_ids, to_columns


@dataclass(frozen=True, slots=True)
class Counts:
    """What stands above a threshold, at IoU .5.

    Attributes:
        right: detections that match a true box.
        shown: detections that count.
        boxes: true boxes that count.
    """

    right: int
    shown: int
    boxes: int

    @property
    def precision(self) -> float | None:
        """The share of the shown that is right; None where nothing is shown."""
        return self.right / self.shown if self.shown else None

    @property
    def recall(self) -> float | None:
        """The share of the true boxes that is found; None where there is none."""
        return self.right / self.boxes if self.boxes else None


def counts_above(truth: dict[str, Any], detections: list[dict[str, Any]], threshold: float) -> dict[int | str, Counts]:
    """Count right and shown detections of each class, with COCO's matching at IoU .5.

    Args:
        truth: as `load_truth` gives it.
        detections: as `load_detections` gives them.
        threshold: detections with at least this score are shown.

    Returns:
        By category id.

    Raises:
        DataError: as `evaluate_detections`.
    """
    shown = [detection for detection in detections if detection["score"] >= threshold]
    columns = to_columns(truth, shown)
    evaluation = new_evaluation(columns, every_size_only=True)
    evaluation.params.iou_thrs = [0.5]
    evaluation.evaluate()
    num_boxes = columns.num_boxes()
    totals = {number: [0, 0] for number in range(1, columns.num_classes + 1)}
    for number, _, is_right in counted_detections(evaluation):
        totals[number][0] += is_right
        totals[number][1] += 1
    numbers = number_ids(truth["categories"])
    return {
        category_id: Counts(int(totals[number][0]), totals[number][1], int(num_boxes[number]))
        for category_id, number in numbers.items()
    }
