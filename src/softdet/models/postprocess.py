"""From dense outputs to detections."""

from __future__ import annotations

import torch
from torchvision.ops import batched_nms, clip_boxes_to_image

from softdet.ops.box_coding import decode
from softdet.structures import DenseOutput, Instances


def candidates(output: DenseOutput, size: tuple[int, int], *, score_threshold: float, top_k: int) -> list[Instances]:
    """The boxes that may become detections, before non-maximum suppression.

    Args:
        output: of B images.
        size: rows and columns of the view.
        score_threshold: keep (box, class) pairs above it.
        top_k: keep at most so many pairs an image, the highest.

    Returns:
        One per image, by falling score, clipped to the view, without boxes of no area.
    """
    results = []
    num_classes = output.logits.shape[-1]
    for logits, deltas in zip(output.logits.float(), output.deltas, strict=True):
        scores = logits.sigmoid().flatten()
        above = (scores > score_threshold).nonzero().squeeze(1)
        kept, order = scores[above].topk(min(top_k, len(above)))
        pairs = above[order]
        anchor, label = pairs // num_classes, pairs % num_classes
        boxes = clip_boxes_to_image(decode(deltas[anchor], output.anchors[anchor]), size)
        has_area = (boxes[:, 2:] > boxes[:, :2]).all(1).nonzero().squeeze(1)
        results.append(Instances(boxes, label, kept)[has_area])
    return results


def suppress(instances: Instances, iou_threshold: float) -> Instances:
    """Non-maximum suppression within each class; by falling score."""
    return instances[batched_nms(instances.boxes, instances.scores, instances.labels, iou_threshold)]


def detect(
    output: DenseOutput, size: tuple[int, int], *, score_threshold: float, iou_threshold: float, top_k: int
) -> list[Instances]:
    """Detections of each image of a batch: candidates, then suppression."""
    found = candidates(output, size, score_threshold=score_threshold, top_k=top_k)
    return [suppress(instances, iou_threshold) for instances in found]


def on_cpu(instances: Instances) -> Instances:
    """The same detections as float32 on the CPU."""
    return Instances(
        instances.boxes.detach().to("cpu", torch.float32),
        instances.labels.detach().cpu(),
        instances.scores.detach().to("cpu", torch.float32),
    )
