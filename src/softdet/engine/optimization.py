"""The optimizer and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain
from typing import Any, Literal

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


def load_memory(optimizer: Optimizer, state: dict[str, Any], model: RetinaNet) -> None:
    """Give an optimizer what another one remembers of the same parameters; rates and decays stay its own.

    Parameters of equal rate and decay share a group, so that other rates may be other groups.

    Args:
        optimizer: of `make_optimizer`.
        state: the other's `state_dict`.
        model: whose parameters both have.

    Raises:
        ValueError: its groups are none that these parameters can make, or it is of another kind of optimizer.
    """
    learning = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    # What may have set parameters apart: both rate and decay, the decay alone, the rate alone, or nothing.
    ways: tuple[Callable[[bool, bool], Hashable], ...] = (
        lambda of_backbone, decays: (of_backbone, decays),
        lambda of_backbone, decays: decays,
        lambda of_backbone, decays: of_backbone,
        lambda of_backbone, decays: None,
    )
    sizes = [len(group["params"]) for group in state["param_groups"]]
    for way in ways:
        groups = _grouped((way(name.startswith("backbone."), each.ndim > 1), each) for name, each in learning)
        if [len(group) for group in groups.values()] == sizes:
            break
    else:
        raise ValueError(f"the optimizer's groups have {sizes} parameters, of {len(learning)} that learn")
    place = {id(parameter): number for number, parameter in enumerate(chain.from_iterable(groups.values()))}
    order = [place[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
    known = state["state"]
    memory = {number: known[theirs] for number, theirs in enumerate(order) if theirs in known}
    if isinstance(optimizer, Adam | AdamW) and any("step" not in each for each in memory.values()):
        raise ValueError("its optimizer's memory is none of optimizer.which")
    optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})


def _grouped(keyed: Iterable[tuple[Hashable, nn.Parameter]]) -> dict[Hashable, list[nn.Parameter]]:
    groups: dict[Hashable, list[nn.Parameter]] = {}
    for key, parameter in keyed:
        groups.setdefault(key, []).append(parameter)
    return groups


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
