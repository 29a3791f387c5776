"""A health monitor with knobs that only note what they are turned to, and numbers to feed it with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from softdet.data.density import LabeledDensity
from softdet.semi.health import HealthMonitor

CARDS = LabeledDensity(1.8, 0.9, {"king": 1.0, "queen": 0.8})
WELL = {
    "loss": 1.5,
    "supervised_class": 0.7,
    "supervised_box": 0.3,
    "pseudo_boxes": 1.5,
    "pseudo_boxes/king": 0.9,
    "pseudo_boxes/queen": 0.6,
    "pseudo_candidates": 20.0,
    "empty_images": 0.2,
    "anchors_taught": 8.0,
    "anchors_agreed": 6.0,
    "teacher_finite": 1.0,
    "skipped_steps": 0.0,
}
NOTHING_KEPT = {"pseudo_boxes": 0.02, "pseudo_boxes/king": 0.02, "pseudo_boxes/queen": 0.0, "empty_images": 0.98}


@dataclass
class Knobs:
    """A method's two knobs."""

    score_threshold: float = 0.9
    unsupervised_weight: float = 1.0

    def lower_score_thresholds(self, factor: float, lowest: float) -> None:
        self.score_threshold = max(lowest, factor * self.score_threshold)

    def set_unsupervised_weight(self, weight: float) -> None:
        self.unsupervised_weight = weight


def make(density: LabeledDensity = CARDS, knobs: Knobs | None = None, **options: Any) -> HealthMonitor:
    return HealthMonitor(density, knobs or Knobs(), **{"images_per_step": 8, "settled_from": 0} | options)


def feed(monitor: HealthMonitor, steps: Iterable[int], **changes: float) -> list[str]:
    """Steps with the same numbers; the lines to print."""
    return [line for step in steps for line in monitor.observe_step(step, WELL | changes)]


def state(monitor: HealthMonitor) -> str:
    return monitor.health.state
