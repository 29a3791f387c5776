"""Two runs side by side on the same validation images: numbers, an interval, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from softdet.data.images import read_image
from softdet.data.index import ImageRecord, Index
from softdet.errors import RunError
from softdet.evaluation.comparison import Gain, paired_bootstrap
from softdet.evaluation.detector import Detector, load_detector
from softdet.evaluation.inference import infer, to_coco
from softdet.evaluation.metrics import evaluate_detections
from softdet.report.drawing import draw_boxes, fit, stack_rows
from softdet.structures import Instances

_NUM_PICTURED = 6
_PICTURE_SIDE = 320


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same images.

    Attributes:
        before: see `metrics.evaluate_detections`.
        after: likewise.
        gain: in AP, with its interval.
        picture: truth, before and after, a row each, on the first images.
    """

    before: dict[str, Any]
    after: dict[str, Any]
    gain: Gain
    picture: Image.Image


def compare(
    weights_before: Path,
    weights_after: Path,
    index: Index,
    truth: dict[str, Any],
    *,
    device: torch.device,
    batch_size: int,
) -> Comparison:
    """Infer with two detectors and compare them.

    Args:
        weights_before: a detector's file.
        weights_after: a detector's file that knows the same classes.
        index: the images to compare on.
        truth: the same, as COCO's content.
        device: where to compute.
        batch_size: images per forward pass.

    Raises:
        RunError: the two know different classes.
    """
    detectors = [load_detector(weights_before), load_detector(weights_after)]
    names = [detector.card.class_names for detector in detectors]
    if names[0] != names[1]:
        raise RunError(f"{weights_before} knows the classes {list(names[0])}, {weights_after} {list(names[1])}")
    found = [_infer_all(detector, index, device, batch_size) for detector in detectors]
    results = [
        [
            entry
            for record in index.images
            if record.id in instances
            for entry in to_coco(record, instances[record.id], index.category_ids)
        ]
        for instances in found
    ]
    pictured = [record for record in index.images if record.id in found[0]][:_NUM_PICTURED]
    rows = [[_truth(record, names[0]) for record in pictured]]
    for detector, instances in zip(detectors, found, strict=True):
        rows.append([_drawn(record, instances[record.id], detector) for record in pictured])
    return Comparison(
        evaluate_detections(truth, results[0]),
        evaluate_detections(truth, results[1]),
        paired_bootstrap(truth, results[0], results[1]),
        stack_rows(rows, _PICTURE_SIDE),
    )


def _infer_all(detector: Detector, index: Index, device: torch.device, batch_size: int) -> dict[int | str, Instances]:
    found = infer(detector.model.to(device), detector.card, index.images, device=device, batch_size=batch_size)
    return {record.id: instances for record, instances in found}


def _truth(record: ImageRecord, class_names: Sequence[str]) -> Image.Image:
    picture, scale = fit(read_image(record.path, record.size), _PICTURE_SIDE)
    return draw_boxes(picture, (record.boxes * scale).tolist(), record.labels.tolist(), class_names)


def _drawn(record: ImageRecord, instances: Instances, detector: Detector) -> Image.Image:
    # Boxes are drawn after the picture has its final size: letters over a thumbnail would cover it.
    picture, scale = fit(read_image(record.path, record.size), _PICTURE_SIDE)
    shown = instances[instances.scores >= detector.card.operating_threshold]
    boxes, labels = (shown.boxes * scale).tolist(), shown.labels.tolist()
    return draw_boxes(picture, boxes, labels, detector.card.class_names, shown.scores.tolist())
