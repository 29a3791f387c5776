"""How far to believe the teacher: the background it doesn't see anything in, the boxes that its own anchors agree on.

Soft Teacher (arXiv 2106.09018) weighs background boxes by the teacher's background score (section 3.2) and jitters
boxes to see whether the teacher finds them again (section 3.3). On a dense head the anchors around an object are that
jitter, and cost nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou

from softdet.ops.box_coding import decode
from softdet.structures import DenseOutput, Instances

_CLUSTER_IOU = 0.6
_CLUSTER_SCORE = 0.05
_NUM_ANCHORS = 10


def background_weights(logits: Tensor) -> Tensor:
    """The teacher's belief that there is nothing: 1 - max_c p_T (section 3.2, on sigmoid scores).

    Args:
        logits: (B, A, K), the teacher's on the student's geometry.

    Returns:
        (B, A) in [0, 1].
    """
    return 1 - logits.float().amax(-1).sigmoid()


def cluster_uncertainty(instances: Instances, candidates: Instances) -> Tensor:
    """Disagreement among the boxes that non-maximum suppression merged.

    For each detection, the score-weighted standard deviation of the coordinates of all candidates of its class with
    IoU >= .6 to it and score >= .05, divided by the detection's side, and averaged over the four coordinates (section
    3.3, eq. 8, with the cluster in the place of the jittered boxes).

    Args:
        instances: N detections.
        candidates: M boxes before suppression, of the same image and view.

    Returns:
        (N,) not negative; 0 for a box that stands alone.
    """
    same_class = instances.labels[:, None] == candidates.labels[None]
    near = box_iou(instances.boxes, candidates.boxes) >= _CLUSTER_IOU
    weights = candidates.scores * (same_class & near & (candidates.scores >= _CLUSTER_SCORE)[None])  # (N, M)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-9)
    # Relative to the detection's own corner, so that float32 keeps its digits when the mean is squared.
    offsets = candidates.boxes[None] - instances.boxes[:, None]  # (N, M, 4)
    mean = (weights[..., None] * offsets).sum(1, keepdim=True)
    variance = (weights[..., None] * (offsets - mean).square()).sum(1)
    return _relative_to_sides(variance.sqrt(), instances.boxes)


def anchor_uncertainty(instances: Instances, output: DenseOutput, image: int) -> Tensor:
    """Disagreement among the boxes that the ten anchors nearest to a detection decode to.

    The literal analogue of box jitter: defined for lone boxes too.

    Args:
        instances: N detections.
        output: the teacher's dense output that they come from.
        image: their row in it.

    Returns:
        (N,) not negative.
    """
    if len(instances) == 0:
        return instances.scores
    nearest = box_iou(instances.boxes, output.anchors).topk(_NUM_ANCHORS, dim=1).indices  # (N, 10)
    boxes = decode(output.deltas[image][nearest], output.anchors[nearest])  # (N, 10, 4)
    return _relative_to_sides(boxes.std(1, correction=0), instances.boxes)


def _relative_to_sides(deviations: Tensor, boxes: Tensor) -> Tensor:
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-9)
    return (deviations / torch.cat([sides, sides], 1)).mean(1)
