"""The optimizer's groups and its learning rate."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from softdet.engine.optimization import Which, learning_rate_factor, load_memory, make_optimizer, set_learning_rate
from softdet.models.retinanet import RetinaNet, build_retinanet

KINDS: tuple[Which, ...] = ("Adam", "AdamW", "SGD")


def model(num_frozen_stages: int = 0) -> RetinaNet:
    return build_retinanet(
        arch="test_resnet", num_classes=2, fpn_channels=8, head_convs=1, num_frozen_stages=num_frozen_stages
    )


def group_of(optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, float]:
    (group,) = [g for g in optimizer.param_groups if any(parameter is mine for mine in g["params"])]
    return group


def test_every_parameter_that_learns_is_in_exactly_one_group() -> None:
    net = model(num_frozen_stages=2)
    optimizer = make_optimizer(net, "Adam", lr=1e-3, lr_backbone=1e-4, weight_decay=0.1)
    in_groups = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert len(in_groups) == len(set(in_groups))
    assert set(in_groups) == {id(parameter) for parameter in net.parameters() if parameter.requires_grad}
    assert any(not parameter.requires_grad for parameter in net.parameters())


def test_the_backbone_has_its_own_rate_and_norms_and_biases_no_decay() -> None:
    net = model()
    optimizer = make_optimizer(net, "AdamW", lr=1e-3, lr_backbone=1e-4, weight_decay=0.1)
    for name, parameter in net.named_parameters():
        group = group_of(optimizer, parameter)
        assert group["lr"] == (1e-4 if name.startswith("backbone.") else 1e-3), name
        is_norm_or_bias = name.endswith("bias") or ".bn" in name or "norm" in name or parameter.ndim == 1
        assert group["weight_decay"] == (0.0 if is_norm_or_bias else 0.1), name


def test_equal_rates_do_not_mix_up_the_groups() -> None:
    net = model()
    optimizer = make_optimizer(net, "SGD", lr=1e-3, lr_backbone=1e-3, weight_decay=0.0)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(net.parameters()))


@pytest.mark.parametrize(("which", "kind"), [("Adam", Adam), ("AdamW", AdamW), ("SGD", SGD)])
def test_the_optimizer_is_the_one_asked_for(which: Which, kind: type[Optimizer]) -> None:
    optimizer = make_optimizer(model(), which, lr=1e-3, lr_backbone=1e-4, weight_decay=0.1)
    assert type(optimizer) is kind
    if which == "SGD":
        assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)


def test_at_a_backbone_rate_of_zero_the_backbone_stays_where_it_is() -> None:
    net = model()
    optimizer = make_optimizer(net, "Adam", lr=1e-2, lr_backbone=0.0, weight_decay=0.1)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    output = net(torch.rand(2, 3, 64, 64))
    (output.logits.sum() + output.deltas.sum()).backward()
    optimizer.step()
    moved = {name for name, parameter in net.named_parameters() if not torch.equal(parameter, before[name])}
    assert not any(name.startswith("backbone.") for name in moved)
    assert {"class_head.output.weight", "box_head.output.weight", "fpn.layer_blocks.0.0.weight"} <= moved


def factors(schedule: str, num_steps: int = 100, warmup_steps: int = 0) -> list[float]:
    return [
        learning_rate_factor(
            step,
            num_steps,
            schedule,  # type: ignore[arg-type]
            milestones=(0.5, 0.9),
            warmup_steps=warmup_steps,
        )
        for step in range(num_steps)
    ]


def test_constant_is_one_throughout() -> None:
    assert factors("constant") == [1.0] * 100


def test_step_divides_by_ten_at_each_milestone() -> None:
    found = factors("step")
    assert found[:50] == [1.0] * 50
    assert found[50:90] == pytest.approx([0.1] * 40)
    assert found[90:] == pytest.approx([0.01] * 10)


def test_cosine_falls_from_one_to_almost_nothing() -> None:
    found = factors("cosine")
    assert found[0] == 1.0
    assert found[50] == pytest.approx(0.5)
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))


def test_the_warm_up_is_linear_and_never_zero() -> None:
    found = factors("constant", warmup_steps=4)
    assert found[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_the_rate_is_set_from_the_base_and_not_from_the_last_rate() -> None:
    optimizer = make_optimizer(model(), "Adam", lr=1e-2, lr_backbone=1e-3, weight_decay=0.0)
    for factor in (0.5, 0.5, 0.1):
        set_learning_rate(optimizer, factor)
        assert {group["lr"] for group in optimizer.param_groups} == {1e-2 * factor, 1e-3 * factor}


RATES = [
    {"lr": 1e-2, "lr_backbone": 1e-2, "weight_decay": 0.1},
    {"lr": 1e-2, "lr_backbone": 1e-3, "weight_decay": 0.1},
    {"lr": 1e-2, "lr_backbone": 1e-3, "weight_decay": 0.0},
    {"lr": 1e-2, "lr_backbone": 1e-2, "weight_decay": 0.0},
]


@pytest.mark.parametrize("num_frozen_stages", [0, 2])
@pytest.mark.parametrize("after", range(len(RATES)))
@pytest.mark.parametrize("before", range(len(RATES)))
def test_memory_is_each_parameters_own_whatever_the_rates_were(before: int, after: int, num_frozen_stages: int) -> None:
    net = model(num_frozen_stages)
    first = make_optimizer(net, "AdamW", **RATES[before])
    for number, parameter in enumerate(net.parameters()):
        parameter.grad = torch.full_like(parameter, float(number + 1))
    first.step()
    second = make_optimizer(net, "AdamW", **RATES[after])
    load_memory(second, first.state_dict(), net)
    for parameter in net.parameters():
        if parameter.requires_grad:
            assert torch.equal(second.state[parameter]["exp_avg"], first.state[parameter]["exp_avg"])
            of_backbone = any(parameter is mine for mine in net.backbone.parameters())
            assert group_of(second, parameter)["base_lr"] == RATES[after]["lr_backbone" if of_backbone else "lr"]


def test_memory_of_other_parameters_is_refused() -> None:
    first, net = make_optimizer(model(2), "AdamW", **RATES[0]), model(0)
    with pytest.raises(ValueError, match=r"groups have .* parameters, of \d+ that learn"):
        load_memory(make_optimizer(net, "AdamW", **RATES[0]), first.state_dict(), net)


def test_memory_of_another_kind_of_optimizer_is_refused_where_it_is_of_no_use() -> None:
    net = model()
    optimizers = {which: make_optimizer(net, which, lr=1e-3, lr_backbone=1e-4, weight_decay=0.1) for which in KINDS}
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    for optimizer in optimizers.values():
        optimizer.step()
    with pytest.raises(ValueError, match=r"none of optimizer\.which"):
        load_memory(optimizers["AdamW"], optimizers["SGD"].state_dict(), net)
    load_memory(optimizers["AdamW"], optimizers["Adam"].state_dict(), net)
    optimizers["AdamW"].step()


def test_the_base_rate_is_the_configs_after_a_checkpoint() -> None:
    net = model()
    first = make_optimizer(net, "Adam", lr=1e-2, lr_backbone=1e-3, weight_decay=0.0)
    set_learning_rate(first, 0.1)
    second = make_optimizer(net, "Adam", lr=2e-2, lr_backbone=2e-3, weight_decay=0.0)
    load_memory(second, first.state_dict(), net)
    set_learning_rate(second, 1.0)
    assert {group["lr"] for group in second.param_groups} == {2e-2, 2e-3}
