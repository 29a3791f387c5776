"""What is looked at after so many steps: the scores of the result so far, more numbers of the student, pictures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Looks at a run.

    Attributes:
        score: called with the model, the steps behind it and the best AP so far; gives the validation AP and writes the
            detector.
        probe: called with a copy of the student: more numbers for the metrics; None for none.
        show: called with a copy of the student and the steps behind it, on rank 0 alone: pictures for people.
        control_ap: the control's validation AP by the number of steps, to show beside this run's; may be empty.
    """

    score: Callable[[nn.Module, int, float], dict[str, float]]
    probe: Callable[[nn.Module], dict[str, float]] | None = None
    show: Callable[[nn.Module, int], None] | None = None
    control_ap: Mapping[int, float] = field(default_factory=dict)

    def look(self, model: nn.Module, student: Any, step: int, best_ap: float, *, draws: bool) -> dict[str, float]:
        """Evaluate the model, and look at the student beside it.

        Args:
            model: what is evaluated and shipped.
            student: as set up by Fabric.
            step: optimizer steps behind them.
            best_ap: so far.
            draws: whether this process makes the pictures.

        Returns:
            Numbers for the metrics, `valid_AP` among them.
        """
        metrics = self.score(model, step, best_ap)
        # A copy, so that nothing of the student's mode and statistics has to be put back.
        quiet = copy.deepcopy(student.module).eval()
        if self.probe:
            metrics |= self.probe(quiet)
        if self.show and draws:
            self.show(quiet, step)
        return metrics

    def draw(self, student: Any, step: int) -> None:
        """Make the pictures alone."""
        if self.show:
            self.show(copy.deepcopy(student.module).eval(), step)

    def describe(self, metrics: Mapping[str, float], step: int, *, is_best: bool) -> str:
        """A line for people."""
        student = f", student {100 * metrics['valid_AP_student']:.1f}" if "valid_AP_student" in metrics else ""
        control = f" (control {100 * self.control_ap[step]:.1f})" if step in self.control_ap else ""
        mark = "  best so far" if is_best else ""
        ap, ap50 = 100 * metrics["valid_AP"], 100 * metrics["valid_AP50"]
        return f"step {step}: valid mAP {ap:.1f}{control}, AP50 {ap50:.1f}{student}{mark}"
