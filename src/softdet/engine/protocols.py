"""What the loop asks of those that it works with; it knows nothing else about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from torch import nn

from softdet.structures import AugmentedBatch, StepOutput


class Method(Protocol):
    """What the loop asks of a method."""

    def step(self, batches: Sequence[AugmentedBatch]) -> Iterator[StepOutput]:
        """One loss per micro-batch."""

    def after_optimizer_step(self) -> bool:
        """Follow the student."""

    @property
    def evaluation_model(self) -> nn.Module:
        """The model to evaluate and ship."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""


class Monitor(Protocol):
    """What the loop asks of whoever watches a method; all of it the same on every rank."""

    def observe_step(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        """Take the numbers of a step; lines to print."""

    def observe_evaluation(self, step: int, ap: float, student_ap: float | None = None) -> list[str]:
        """Take the validation AP; lines to print."""

    @property
    def state(self) -> str:
        """How the run does, in a word or two."""

    def columns(self) -> dict[str, float | str]:
        """Numbers for the metrics."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""


class Pool(Protocol):
    """What the loop asks of whoever knows which unlabeled images serve."""

    def look(self, model: nn.Module, say: Callable[[str], None]) -> None:
        """Find out, before the first of them is served; on all ranks."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
