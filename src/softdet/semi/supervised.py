"""The control arm: the same student, teacher and labeled views, and nothing from unlabeled images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from softdet.models.criterion import Assignment, BoxLoss, assign, classification_loss, regression_loss
from softdet.models.retinanet import RetinaNet
from softdet.ops.distributed import sum_over_ranks, world_size
from softdet.semi.teacher import Teacher
from softdet.structures import AugmentedBatch, DenseOutput, StepOutput


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
            detached = {name: loss.detach() for name, loss in losses.items()}
            yield StepOutput(sum_of(losses), detached, {})

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


def assign_labeled(model: RetinaNet, batch: AugmentedBatch) -> Assignment:
    """Lay the true boxes onto the anchors, each box on at least one."""
    return assign(model.anchors_at(batch.labeled.size), batch.targets, allow_low_quality=True)


def supervised_losses(
    output: DenseOutput, assignment: Assignment, batch: AugmentedBatch, positives: Tensor, box_loss: BoxLoss
) -> dict[str, Tensor]:
    """The two losses of the labeled images, over the positives of the whole batch."""
    weights = batch.labeled_readable[:, None].float()
    return {
        "supervised_class": classification_loss(output, assignment, weights) / positives,
        "supervised_box": regression_loss(output, assignment, weights, box_loss) / positives,
    }


def normalisers(*counts: Tensor | int) -> Tensor:
    """What each loss is divided by: its positives over all ranks and micro-batches, at least 1.

    Never per image: an image without objects would then weigh as much as all the others together (METHOD, trap 1).
    Divided by the number of ranks, since data-parallel training averages their gradients.

    Args:
        counts: this rank's, summed over its micro-batches; the first tells the device, a plain 0 is fine elsewhere.

    Returns:
        (len(counts),) float32.
    """
    device = torch.as_tensor(counts[0]).device
    local = torch.stack([torch.as_tensor(count).to(device, torch.float32) for count in counts])
    return sum_over_ranks(local).clamp(min=1) / world_size()


def sum_of(losses: dict[str, Tensor]) -> Tensor:
    """All terms together."""
    return torch.stack(list(losses.values())).sum()
