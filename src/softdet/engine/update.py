"""The optimizer's step and the teacher's behind it, or neither where a number isn't finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric import Fabric

from softdet.engine.protocols import Method
from softdet.errors import RunError

_MAX_SKIPPED_IN_A_ROW = 25


class Update:
    """Clips the gradients that lie in the student, moves it, and lets the method follow.

    Args:
        fabric: launched.
        student: as set up by `fabric`.
        optimizer: likewise.
        clip_norm: the largest norm of the gradients; 0 for no limit.
    """

    def __init__(self, fabric: Fabric, student: Any, optimizer: Any, clip_norm: float) -> None:
        self.fabric = fabric
        self.student = student
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self._skipped_in_a_row = 0

    def apply(self, method: Method, step: int, say: Callable[[str], None]) -> bool:
        """Do it, and give True; or say what isn't finite, and give False.

        Raises:
            RunError: it isn't, step after step.
        """
        limit = self.clip_norm or float("inf")
        norm = self.fabric.clip_gradients(self.student, self.optimizer, max_norm=limit, error_if_nonfinite=False)
        finite = bool(torch.as_tensor(norm).isfinite())
        # With 16-mixed, the scaler itself skips such a step, and must see it to lower its scale.
        if finite or self._scales_gradients():
            self.optimizer.step()
        if finite and method.after_optimizer_step():
            self._skipped_in_a_row = 0
            return True
        self._skipped_in_a_row += 1
        if finite:
            say(f"step {step + 1}: the student is not finite, and skipped by its teacher")
        else:
            say(f"step {step + 1}: the gradients are not finite; the step is skipped")
        if self._skipped_in_a_row >= _MAX_SKIPPED_IN_A_ROW:
            raise RunError(
                f"gradients or student were not finite for {_MAX_SKIPPED_IN_A_ROW} steps in a row, up to step "
                f"{step + 1}. The learning rate is probably too high: try optimizer.lr a tenth as large."
            )
        return False

    def _scales_gradients(self) -> bool:
        return getattr(self.fabric.strategy.precision, "scaler", None) is not None
