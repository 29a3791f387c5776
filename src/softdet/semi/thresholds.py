"""Thresholds that are read off the teacher's recent boxes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_MEMORY = 4096
_CONFIDENT = 0.9


class UncertaintyThreshold:
    """The largest box uncertainty that still teaches a box's place.

    Soft Teacher's .02 belongs to its refinement head; on a dense head the scale is another one, and labeled images
    can't tell it, since the teacher has memorised them. So it is the median uncertainty of the recent unlabeled boxes
    with a score above .9, or of the top tenth by score where there is none (METHOD, section 3).

    Args:
        fixed: a value to use instead; None reads it off.
    """

    def __init__(self, fixed: float | None) -> None:
        self.fixed = fixed
        self.recent = torch.zeros(0, 2)

    def observe(self, rows: Tensor) -> None:
        """Remember boxes.

        Args:
            rows: (N, 2) score and uncertainty, the same on every rank.
        """
        self.recent = torch.cat([self.recent, rows.detach().to("cpu", torch.float32)])[-_MEMORY:]

    @property
    def value(self) -> float:
        """The threshold now; infinite before the first box."""
        if self.fixed is not None:
            return self.fixed
        if len(self.recent) == 0:
            return float("inf")
        scores, uncertainty = self.recent.unbind(1)
        chosen = scores > _CONFIDENT
        if not chosen.any():
            chosen = scores >= scores.quantile(0.9)
        return float(uncertainty[chosen].median())

    def state_dict(self) -> dict[str, Any]:
        """The recent boxes."""
        return {"recent": self.recent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.recent = state["recent"]
