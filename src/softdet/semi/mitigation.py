"""Turning the knob that an unwell run needs turned, not too often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

# No score threshold is lowered below it: boxes that weak are mostly wrong.
MIN_THRESHOLD = 0.2
_THRESHOLD_FACTOR, _WEIGHT_FACTOR, _STEPS_BETWEEN_ACTS = 0.9, 0.5, 100


class Knobs(Protocol):
    """What the health monitor names, and may turn, in the method."""

    unsupervised_weight: float

    @property
    def score_threshold(self) -> float:
        """Above which a pseudo box teaches its class; the mean over classes."""

    def lower_score_thresholds(self, factor: float, lowest: float) -> None:
        """Multiply each class's by a factor for the rest of the run, down to the lowest."""

    def set_unsupervised_weight(self, weight: float) -> None:
        """Change it for the rest of the run."""


@dataclass
class Mitigation:
    """What has been turned so far.

    Attributes:
        acts: how often something was.
        acted_at: the step of the last time; None for never.
    """

    acts: int = 0
    acted_at: int | None = None

    def act(self, knobs: Knobs, state: str, step: int, *, sees_more: bool) -> list[str]:
        """Turn what the state asks for: starving lowers the threshold, exploding halves the weight, a collapse ends it.

        Args:
            knobs: the method.
            state: of the run's health.
            step: counted from 0.
            sees_more: whether a lower threshold would let something through.

        Returns:
            A line to print if something was turned.
        """
        threshold, weight = knobs.score_threshold, knobs.unsupervised_weight
        is_soon = self.acted_at is not None and step - self.acted_at < _STEPS_BETWEEN_ACTS
        # A collapse can't wait. A weight of 0 is the end: nothing is turned after it.
        if weight == 0 or (is_soon and state != "collapsed"):
            return []
        if state == "starving" and sees_more:
            knobs.lower_score_thresholds(_THRESHOLD_FACTOR, MIN_THRESHOLD)
            turned = f"soft_teacher.pseudo_cls_th {threshold:.3g} -> {knobs.score_threshold:.3g}"
        elif state in ("exploding", "collapsed"):
            knobs.set_unsupervised_weight(0.0 if state == "collapsed" else _WEIGHT_FACTOR * weight)
            turned = f"soft_teacher.unsup_loss_weight {weight:.3g} -> {knobs.unsupervised_weight:.3g}"
        else:
            return []
        self.acts, self.acted_at = self.acts + 1, step
        return [f"step {step + 1}: mitigated: {turned}"]
