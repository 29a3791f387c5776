"""The optimizer and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from softdet.models.retinanet import RetinaNet

Which = Literal["Adam", "AdamW", "SGD"]
Schedule = Literal["constant", "step", "cosine"]


def make_optimizer(model: RetinaNet, which: Which, *, lr: float, lr_backbone: float, weight_decay: float) -> Optimizer:
    """Group a detector's parameters and make their optimizer.

    Args:
        model: what learns; parameters that need no gradient are left out.
        which: Adam, AdamW, or SGD with momentum .9.
        lr: of all but the backbone.
        lr_backbone: of the backbone; at 0 its parameters are in the optimizer and stay where they are.
        weight_decay: on weights of two and more dimensions; norms and biases have none.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = lr_backbone if name.startswith("backbone.") else lr
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    arguments = [
        {"params": parameters, "lr": rate, "base_lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
    match which:
        case "Adam":
            return Adam(arguments, lr=lr)
        case "AdamW":
            return AdamW(arguments, lr=lr)
        case "SGD":
            return SGD(arguments, lr=lr, momentum=0.9)


def learning_rate_factor(
    step: int, num_steps: int, schedule: Schedule, *, milestones: Sequence[float], warmup_steps: int
) -> float:
    """What every learning rate is multiplied by at a step.

    Args:
        step: counted from 0.
        num_steps: of the whole run.
        schedule: `constant`; `step`, a tenth after each milestone; `cosine`, down to 0 at the end.
        milestones: parts of the run, for `step`.
        warmup_steps: the factor grows linearly over so many steps first.
    """
    match schedule:
        case "constant":
            factor = 1.0
        case "step":
            factor = 0.1 ** sum(step >= milestone * num_steps for milestone in milestones)
        case "cosine":
            factor = 0.5 * (1 + math.cos(math.pi * step / num_steps))
    return factor * min(1.0, (step + 1) / (warmup_steps + 1))


def set_learning_rate(optimizer: Optimizer, factor: float) -> None:
    """Set every group's learning rate to its base times a factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
