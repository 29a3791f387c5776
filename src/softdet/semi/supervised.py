"""The control arm: the same student, teacher and labeled views, and nothing from unlabeled images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from softdet.models.criterion import BoxLoss
from softdet.semi.losses import assign_labeled, detached, normalisers, sum_of, supervised_losses
from softdet.semi.teacher import Teacher
from softdet.structures import AugmentedBatch, StepOutput


class Supervised:
    """Train on labeled images alone; the average of the students is what is evaluated.

    Args:
        student: the model that learns, as wrapped for the devices.
        teacher: its average.
        box_loss: see `regression_loss`.
    """

    def __init__(self, student: nn.Module, teacher: Teacher, *, box_loss: BoxLoss = "smooth_l1") -> None:
        self.student = student
        self.teacher = teacher
        self.box_loss: BoxLoss = box_loss

    def step(self, batches: Sequence[AugmentedBatch]) -> Iterator[StepOutput]:
        """Give one loss per micro-batch; their gradients add up to the whole batch's.

        Args:
            batches: the micro-batches of one optimizer step, of this rank.
        """
        assignments = [assign_labeled(self.teacher.model, batch) for batch in batches]
        (positives,) = normalisers(sum(assignment.positive.sum() for assignment in assignments))
        for batch, assignment in zip(batches, assignments, strict=True):
            output = self.student(batch.labeled.images)
            losses = supervised_losses(output, assignment, batch, positives, self.box_loss)
            yield StepOutput(sum_of(losses), detached(losses), {})

    def after_optimizer_step(self) -> bool:
        """Let the teacher follow; False where it refused a student that isn't finite."""
        return self.teacher.update(self.student)

    @property
    def evaluation_model(self) -> nn.Module:
        """The model to evaluate and ship."""
        return self.teacher.model

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, beside the student."""
        return {"teacher": self.teacher.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.teacher.load_state_dict(state["teacher"])
