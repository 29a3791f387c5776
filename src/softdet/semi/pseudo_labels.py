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

    def targets(self, chosen: Tensor, ignored: Tensor | None = None) -> Targets:
        """The boxes that are chosen, and around which background is left open.

        Args:
            chosen: (N,) bool.
            ignored: (N,) bool; None for no box.
        """
        boxes, taught = self.instances.boxes, chosen.nonzero().squeeze(1)
        left_open = boxes[:0] if ignored is None else boxes[ignored]
        return Targets(boxes[taught], self.instances.labels[taught], left_open)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What each box of an image is good for.

    Attributes:
        teaches_class: (N,) bool; score above the threshold (Soft Teacher, section 3.2).
        teaches_place: (N,) bool; score above the threshold, and agreed upon (Soft Teacher, section 3.3).
        is_doubtful: (N,) bool, neither taught nor background.
    """

    teaches_class: Tensor
    teaches_place: Tensor
    is_doubtful: Tensor


def judge(
    pseudo: PseudoLabels,
    class_limits: float | Tensor,
    place_limits: float | Tensor,
    max_uncertainty: float,
    doubtful_from: float | None = None,
) -> Verdict:
    """Hold an image's boxes against the thresholds.

    Args:
        pseudo: N boxes.
        class_limits: the score above which a box teaches its class, one or (N,).
        place_limits: the score above which it teaches its place, likewise.
        max_uncertainty: the largest that still teaches a place.
        doubtful_from: the lowest score of a doubtful box, the highest being its class limit; None where no box is.
    """
    scores = pseudo.instances.scores
    teaches_class = scores > class_limits
    is_doubtful = torch.zeros_like(teaches_class) if doubtful_from is None else (scores >= doubtful_from)
    return Verdict(
        teaches_class=teaches_class,
        teaches_place=(scores > place_limits) & (pseudo.uncertainty <= max_uncertainty),
        is_doubtful=is_doubtful & ~teaches_class,
    )
