"""What both arms do alike: the losses of the labeled images, and what all losses are divided by."""

from __future__ import annotations

import torch
from torch import Tensor

from softdet.models.criterion import Assignment, BoxLoss, assign, classification_loss, regression_loss
from softdet.models.retinanet import RetinaNet
from softdet.ops.distributed import sum_over_ranks, world_size
from softdet.structures import AugmentedBatch, DenseOutput


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


def detached(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same terms, for the metrics."""
    return {name: loss.detach() for name, loss in losses.items()}
