"""Being asked to stop: by a scheduler's SIGTERM, or by Ctrl-C."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

import torch

from softdet.ops.distributed import sum_over_ranks, world_size


class StopRequest:
    """Hears the first SIGTERM or Ctrl-C while it is entered, so that a run can save its state; the second one ends it.

    Args:
        device: of the run, for the ranks to agree on.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def is_due(self) -> bool:
        """Whether to stop now; all ranks are told the same, and must ask after each step.

        Any later the loader processes, which have heard the signal too, may have ended.
        """
        if world_size() == 1:
            return self._asked
        return bool(sum_over_ranks(torch.tensor([int(self._asked)], device=self.device)).item())

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._asked = True
        # Who asks twice doesn't want to wait.
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
