"""Thresholds that are read off the teacher's recent boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_MEMORY = 4096
_CONFIDENT = 0.9

# Recent images that the score thresholds are read off, and the lowest threshold that they may reach.
_IMAGES = 1024
_LOWEST_SCORE = 0.1


class UncertaintyThreshold:
    """The largest box uncertainty that still teaches a box's place.

    Soft Teacher's .02 belongs to its refinement head; on a dense head the scale is another one, and labeled images
    can't tell it, since the teacher has memorised them. So it is the median uncertainty of the recent unlabeled boxes
    with a score above .9, or of the top tenth by score where there is none.

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


class ScoreThresholds:
    """The scores above which the teacher's boxes teach their class, one per class.

    One threshold for all classes starves those that the teacher is shy of and floods those that it overrates. Without
    a fixed value, each class gets the score at which the teacher finds as many boxes in a recent unlabeled image as a
    labeled image holds (LabelMatch, arXiv 2206.06608, section 3.2), so that what it teaches never outgrows the labels.
    That supposes that both kinds of images show about the same.

    Args:
        fixed: one value for all classes instead; None matches the labels.
        density: (K,) true boxes of each class per labeled image.

    Attributes:
        value: (K,) now.
    """

    def __init__(self, fixed: float | None, density: Sequence[float]) -> None:
        self.fixed, self._stands = fixed, False
        self.density = tuple(density)
        self.num_images = torch.zeros(0, dtype=torch.int64)
        self.rows = torch.zeros(0, 3)
        self.value = torch.ones(len(self.density))
        if fixed is not None:
            self.fix([fixed] * len(self.density))

    def fix(self, values: Sequence[float]) -> None:
        """Let these stand from now on, one for each class."""
        self._stands = True
        self.value = torch.tensor(values, dtype=torch.float32)

    def observe(self, rows: Tensor, num_images: int) -> None:
        """Remember one step's detections, and set the thresholds anew.

        Args:
            rows: (N, 2) label and score, the same on every rank.
            num_images: how many images they were found in.
        """
        if self._stands:
            return
        self.num_images = torch.cat([self.num_images, torch.tensor([num_images])])
        step = torch.full((len(rows), 1), float(len(self.num_images) - 1))
        self.rows = torch.cat([self.rows, torch.cat([step, rows.detach().to("cpu", torch.float32)], 1)])
        # The newest step stays, however many images it has.
        forgotten = int((self.num_images.flip(0).cumsum(0)[1:] > _IMAGES).sum())
        self.num_images = self.num_images[forgotten:]
        self.rows = self.rows[self.rows[:, 0] >= forgotten] - torch.tensor([forgotten, 0, 0])
        self.value = torch.tensor([self._matching(label) for label in range(len(self.density))])

    def _matching(self, label: int) -> float:
        wanted = round(self.density[label] * int(self.num_images.sum()))
        scores = self.rows[self.rows[:, 1] == label, 2]
        if wanted == 0 or len(scores) == 0:
            return 1.0
        # A box exactly at the threshold isn't above it, so the last one wanted lies above the next one's score.
        next_one = scores.topk(min(wanted + 1, len(scores))).values[-1]
        return max(_LOWEST_SCORE, float(next_one) if wanted < len(scores) else 0.0)

    def of(self, labels: Tensor) -> Tensor:
        """The threshold of each detection's class: (N,) for labels (N,)."""
        return self.value.to(labels.device)[labels]

    def state_dict(self) -> dict[str, Any]:
        """The recent detections."""
        return {"num_images": self.num_images, "rows": self.rows, "value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; a fixed value is the config's, and stays."""
        self.num_images, self.rows = state["num_images"], state["rows"]
        if not self._stands:
            self.value = state["value"]
