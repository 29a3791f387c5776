"""What the teacher sees, and what of it is good enough to teach with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from softdet.structures import Instances, Targets


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    """The teacher's detections in one image.

    Attributes:
        instances: after non-maximum suppression, N boxes, by falling score.
        uncertainty: (N,) how much the boxes around each one disagree; see `reliability`.
        is_finite: False where the teacher said something that is no number; nothing of it is kept then.
    """

    instances: Instances
    uncertainty: Tensor
    is_finite: bool = True

    def __len__(self) -> int:
        return len(self.instances)


def classification_targets(pseudo: PseudoLabels, score_threshold: float | Tensor) -> Targets:
    """The boxes whose class is taught: score above the threshold (Soft Teacher, section 3.2)."""
    return _targets(pseudo.instances, pseudo.instances.scores > score_threshold)


def regression_targets(pseudo: PseudoLabels, score_threshold: float | Tensor, max_uncertainty: float) -> Targets:
    """The boxes whose place is taught: score above the threshold, and agreed upon (Soft Teacher, section 3.3)."""
    trusted = (pseudo.instances.scores > score_threshold) & (pseudo.uncertainty <= max_uncertainty)
    return _targets(pseudo.instances, trusted)


def doubtful(pseudo: PseudoLabels, low: float, high: float | Tensor) -> Tensor:
    """The boxes that are neither taught nor background: low <= score <= high.

    Returns:
        (M, 4).
    """
    scores = pseudo.instances.scores
    return pseudo.instances.boxes[(scores >= low) & (scores <= high)]


def _targets(instances: Instances, chosen: Tensor) -> Targets:
    boxes = instances.boxes[chosen]
    return Targets(boxes, instances.labels[chosen], torch.zeros_like(boxes[:0]))
