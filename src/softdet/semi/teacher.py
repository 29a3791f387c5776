"""The teacher: the student's exponential moving average, BatchNorm statistics included."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from softdet.models.retinanet import RetinaNet
from softdet.ops.distributed import take_from_first_rank


class Teacher:
    """An average of the students so far.

    Law: teacher <- decay * teacher + (1 - decay) * student, for every parameter and every floating-point buffer. At
    update t the decay is at most 1 - 1 / (t + 1), which is a plain mean until the asked one is smaller, so that the
    average isn't mostly the random start (Mean Teacher, arXiv 1703.01780, section 3); a decay of 1 skips that and never
    moves.

    Args:
        student: copied; the copy is in evaluation mode for ever and gets no gradient.
        decay: the share that is kept at each update.

    Attributes:
        model: the averaged model.
        num_updates: how often it was updated.
    """

    def __init__(self, student: RetinaNet, decay: float) -> None:
        self.model = copy.deepcopy(student).eval().requires_grad_(False)
        self.decay = decay
        self.num_updates = 0

    @torch.no_grad()
    def update(self, student: nn.Module) -> bool:
        """Take one step towards the student.

        Args:
            student: of the same architecture.

        Returns:
            False, and the average is as it was, where the student holds a value that isn't finite: an average poisoned
            once stays poisoned (METHOD, trap 6). The student's BatchNorm statistics, which nothing else would mend,
            are the teacher's then.
        """
        # Data parallelism hands them out only before the next pass; until then each rank has those of its own images.
        take_from_first_rank(_moving_statistics(student))
        mine, theirs = self._averaged(self.model), self._averaged(student)
        if not bool(torch.stack([norm.float() for norm in torch._foreach_norm(theirs)]).isfinite().all()):
            for healthy, broken in zip(_moving_statistics(self.model), _moving_statistics(student), strict=True):
                broken.copy_(torch.where(broken.isfinite(), broken, healthy))
            return False
        if self.decay < 1:
            torch._foreach_lerp_(mine, theirs, max(1 - self.decay, 1 / (self.num_updates + 1)))
        for my_buffer, their_buffer in zip(self.model.buffers(), student.buffers(), strict=True):
            if not my_buffer.is_floating_point():
                my_buffer.copy_(their_buffer)
        self.num_updates += 1
        return True

    @staticmethod
    def _averaged(model: nn.Module) -> list[Tensor]:
        tensors = [*model.parameters(), *model.buffers()]
        return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]

    def state_dict(self) -> dict[str, Any]:
        """Weights and the number of updates."""
        return {"model": self.model.state_dict(), "num_updates": self.num_updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        self.num_updates = state["num_updates"]


def _moving_statistics(model: nn.Module) -> list[Tensor]:
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return [buffer for norm in norms for buffer in norm.buffers() if buffer.is_floating_point()]
