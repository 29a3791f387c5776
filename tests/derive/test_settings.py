"""What each `auto` becomes: one value fits the other, and what was asked for stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from softdet.derive.facts import Facts, Machine
from softdet.derive.settings import RULES, derive, short

Make = Callable[..., Facts]
ASKED: dict[str, Any] = dict.fromkeys(RULES, "auto") | {
    "params.resize": "letterbox",
    "model.anchor_ratios": (0.5, 1.0, 2.0),
    "optimizer.which": "AdamW",
}


def derived(facts: Facts, **changes: Any) -> dict[str, Any]:
    asked = ASKED | {key.replace("__", "."): value for key, value in changes.items()}
    return {setting.key: setting.value for setting in derive(asked, facts)}


def test_every_auto_is_derived_with_a_reason(make_facts: Make) -> None:
    settings = derive(ASKED, make_facts())
    assert {setting.key for setting in settings} == set(RULES)
    assert all(setting.value != "auto" and len(setting.reason) > 5 for setting in settings)


def test_without_a_gpu_it_is_what_was_measured_on_a_cpu(make_facts: Make) -> None:
    # As raccoon: 15 images with one large object each.
    values = derived(make_facts([200] * 15, (300, 400), num_unlabeled=131))
    assert values == {
        "basenet.arch": "mobilenetv2_100",
        "model.fpn_channels": 96,
        "model.head_convs": 2,
        "params.image_size": (128, 160),
        "model.anchor_sizes": (32, 64, 128, 256, 512),
        "model.anchor_octaves": (1, 2 ** (1 / 3), 2 ** (2 / 3)),
        "soft_teacher.unlabeled_ratio": 1,
        "params.batch_size": 8,
        "params.accumulate": 1,
        "optimizer.lr": 5e-4,
        "basenet.lr_backbone": 5e-4,
        "soft_teacher.burn_in_steps": 600,
        "params.iterations": 4000,
        "soft_teacher.ema_decay": 0.995,
        "soft_teacher.ramp_steps": 170,
        "params.evaluate_every": 400,
    }


def test_what_was_asked_for_stays_and_the_rest_follows_it(make_facts: Make) -> None:
    facts = make_facts()
    values = derived(facts, params__batch_size=16, params__iterations=1000)
    assert "params.batch_size" not in values
    assert values["optimizer.lr"] == 1e-3
    assert values["basenet.lr_backbone"] == 1e-3
    assert values["soft_teacher.burn_in_steps"] == 400
    assert values["soft_teacher.ema_decay"] == 0.99
    assert values["params.evaluate_every"] == 100
    assert derived(facts, soft_teacher__burn_in_steps=2000)["params.iterations"] == 5400
    # None is the default of the schema, a fifth of the run.
    assert derived(facts, soft_teacher__burn_in_steps=None)["params.iterations"] == 4000
    assert derived(facts, optimizer__lr=1e-2)["basenet.lr_backbone"] == 1e-2
    assert derived(facts, optimizer__which="SGD")["optimizer.lr"] == 5e-3
    assert derived(facts, basenet__arch="Res50")["optimizer.lr"] == 1e-4
    small = derived(make_facts([42] * 20), params__image_size=(160, 160))
    assert small["model.anchor_sizes"] == (16, 32, 64, 128, 256)
    assert derived(make_facts([42] * 20), params__image_size=(320, 320))["model.anchor_sizes"][0] == 32


def test_passes_that_were_asked_for_are_heeded(make_facts: Make) -> None:
    values = derived(make_facts(num_labeled=100), params__epoch=50)
    assert values["params.iterations"] == 625
    assert values["soft_teacher.burn_in_steps"] == 250
    without = derived(make_facts(num_labeled=100), params__epoch=50, params__iterations=None)
    assert "params.iterations" not in without
    assert without["params.evaluate_every"] == 100


@pytest.mark.parametrize(
    ("memory", "images", "devices", "batch", "pieces"),
    [
        (24, 1000, 1, 8, 1),
        (40, 1000, 1, 16, 1),
        (80, 1000, 1, 32, 1),
        (80, 140, 1, 16, 1),  # 32 of so few images would be much the same each time
        (80, 15, 1, 8, 1),
        (8, 1000, 1, 8, 2),
        (3, 1000, 1, 8, 8),
        (0.5, 1000, 1, 8, 8),
        (80, 2000, 4, 128, 1),
        (8, 1000, 4, 32, 2),
        (80, 40, 4, 8, 1),  # no more of them in a step than with one GPU
        (80, 40, 8, 16, 1),  # two each, for pairs
        (0, 1000, 1, 8, 1),
    ],
)
def test_the_batch_fits_the_gpu(
    memory: float, images: int, devices: int, batch: int, pieces: int, make_facts: Make
) -> None:
    machine = Machine("cuda", memory, devices)
    facts = make_facts([100] * 10, (640, 640), num_labeled=images, machine=machine)
    values = derived(facts)
    assert (values["params.batch_size"], values["params.accumulate"]) == (batch, pieces)
    assert values["optimizer.lr"] == pytest.approx(1e-4 * batch / 8)
    assert (values["basenet.arch"], values["model.fpn_channels"], values["model.head_convs"]) == ("Res50", 256, 4)


def test_images_that_are_mixed_stay_in_pairs(make_facts: Make) -> None:
    facts = make_facts([100] * 10, (640, 640), num_labeled=1000, machine=Machine("cuda", 3, 1))
    for key in ("params__mixup", "params__paste"):
        assert derived(facts, **{key: 0.5})["params.accumulate"] == 4


def test_a_gpu_looks_at_more_unlabeled_images_where_there_are_many(make_facts: Make) -> None:
    gpu = Machine("cuda", 80.0)
    ratio = "soft_teacher.unlabeled_ratio"
    assert derived(make_facts(num_unlabeled=201, machine=gpu))[ratio] == 2
    assert derived(make_facts(num_unlabeled=200, machine=gpu))[ratio] == 1
    assert derived(make_facts(num_unlabeled=201))[ratio] == 1


@pytest.mark.parametrize(
    ("number", "text"), [(5e-4, "5e-4"), (2.5e-4, "2.5e-4"), (0.25, "0.25"), (32.0, "32"), (0.0, "0"), (1e-12, "1e-12")]
)
def test_numbers_are_written_as_people_do(number: float, text: str) -> None:
    assert short(number) == text
