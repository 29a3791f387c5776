"""Objects of a labeled image that nobody boxed: neither taught nor called background."""

from __future__ import annotations

import torch
from torchvision.ops import box_iou

from softdet.ops.matching import NEGATIVE_IOU
from softdet.structures import Instances, Targets


def with_missing_ignored(targets: Targets, confident: Instances) -> Targets:
    """Leave alone what the teacher is sure of and no box speaks of.

    Args:
        targets: of a labeled image.
        confident: the teacher's detections in the same view whose score would make them pseudo boxes.

    Returns:
        The same targets with one ignored region more for each detection whose IoU with every true box is below .4, of
        whatever class. Anchors near it then teach no background (see `criterion.assign`), and none of them becomes an
        object: a box that nobody drew is no label.
    """
    boxes = confident.boxes
    if len(targets) > 0:
        boxes = boxes[(box_iou(boxes, targets.boxes) < NEGATIVE_IOU).all(1)]
    return Targets(targets.boxes, targets.labels, torch.cat([targets.ignored, boxes.to(targets.ignored)]))
