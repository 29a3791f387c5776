"""From a config to a trainer: steps, arms, devices, and the weights to start from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from trainers import trainer_of

from softdet import builders
from softdet.config import Config, load_config, save_config
from softdet.engine.checkpoint import load_checkpoint
from softdet.engine.trainer import Trainer
from softdet.errors import ConfigError, WeightsError
from softdet.evaluation.detector import load_detector
from softdet.evaluation.run import RunFolder
from softdet.semi.soft_teacher import SoftTeacher
from softdet.semi.supervised import Supervised

Make = Callable[..., Config]


@pytest.mark.parametrize(
    ("overrides", "num_images", "steps"),
    [
        (["params.epoch=30", "params.batch_size=8"], 118_287, 443_577),
        (["params.epoch=1", "params.batch_size=8"], 17, 3),
        (["params.epoch=1", "params.batch_size=8"], 3, 1),
        (["params.epoch=7", "params.iterations=5"], 100, 5),
    ],
)
def test_an_epoch_is_one_pass_over_the_labeled_images(
    tiny_config: Make, overrides: list[str], num_images: int, steps: int
) -> None:
    assert builders.count_steps(tiny_config("params.iterations=None", *overrides), num_images) == steps


@pytest.mark.parametrize(
    ("override", "num_steps", "burn_in"),
    [
        ("soft_teacher.burn_in_steps=None", 1000, 200),
        ("soft_teacher.burn_in_steps=None", 443_577, 5000),
        ("soft_teacher.burn_in_steps=None", 3, 0),
        ("soft_teacher.burn_in_steps=0", 1000, 0),
        ("soft_teacher.burn_in_steps=700", 1000, 700),
        ("soft_teacher.enabled=False", 1000, 1000),
    ],
)
def test_the_burn_in_is_a_fifth_of_the_run_unless_it_is_given(
    tiny_config: Make, override: str, num_steps: int, burn_in: int
) -> None:
    assert builders.count_burn_in(tiny_config(override), num_steps) == burn_in


def test_the_control_asks_for_no_unlabeled_images_and_so_for_no_ratio(tiny_config: Make, tmp_path: Path) -> None:
    overrides = ["params.batch_size=1", "soft_teacher.unlabeled_ratio=0.1", "soft_teacher.enabled=False"]
    trainer = trainer_of(tiny_config(f"model.exp_path={tmp_path}", *overrides))
    assert all(batch.unlabeled is None for batches in trainer.batches(range(2)) for batch in batches)


def test_the_control_differs_in_its_method_alone(tiny_config: Make, tmp_path: Path) -> None:
    semi = trainer_of(tiny_config(f"model.exp_path={tmp_path / 'a'}"))
    control = trainer_of(tiny_config(f"model.exp_path={tmp_path / 'b'}", "soft_teacher.enabled=False"))
    assert isinstance(semi.method, SoftTeacher)
    assert isinstance(control.method, Supervised)
    assert semi.num_steps == control.num_steps
    for one, other in zip(semi.student.parameters(), control.student.parameters(), strict=True):
        assert torch.equal(one, other)
    one_step, other_step = (next(iter(t.batches(range(1))))[0] for t in (semi, control))
    assert torch.equal(semi.augment(one_step).labeled.images, control.augment(other_step).labeled.images)


def test_without_a_gpu_any_id_or_list_is_one_process_on_the_cpu(tiny_config: Make) -> None:
    for gpu_id in ("0", "7", "[0, 1]"):
        fabric = builders.make_fabric(
            tiny_config("cuda.using=False", f"cuda.gpu_id={gpu_id}", "params.precision=16-mixed")
        )
        assert (fabric.device.type, fabric.world_size) == ("cpu", 1)
        assert fabric.strategy.precision.precision == "32-true"


def on_two_gpus(config: Config) -> dict[str, Any]:
    """What Fabric would be asked for on a machine with two GPUs."""
    calls: list[dict[str, Any]] = []

    def note(**arguments: Any) -> Fabric:
        calls.append(arguments)
        return Fabric(accelerator="cpu", devices=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "device_count", lambda: 2)
        patch.setattr(builders.trainer, "Fabric", note)
        builders.make_fabric(config)
    return calls[0]


@pytest.mark.parametrize(
    ("gpu_id", "devices", "strategy"),
    [("0", [0], "auto"), ("1", [1], "auto"), ("[1]", [1], "auto"), ("[0, 1]", [0, 1], "ddp")],
)
def test_one_id_is_that_one_device_and_a_list_is_data_parallel(
    tiny_config: Make, gpu_id: str, devices: list[int], strategy: str
) -> None:
    asked = on_two_gpus(tiny_config("cuda.using=True", f"cuda.gpu_id={gpu_id}", "params.precision=bf16-mixed"))
    assert asked == {
        "accelerator": "cuda",
        "devices": devices,
        "num_nodes": 1,
        "strategy": strategy,
        "precision": "bf16-mixed",
    }


def test_a_gpu_that_is_not_there_is_named(tiny_config: Make) -> None:
    with pytest.raises(ConfigError, match=r"cuda\.gpu_id = \(0, 2\): this machine has 2 GPUs"):
        on_two_gpus(tiny_config("cuda.using=True", "cuda.gpu_id=[0, 2]"))


def frozen(trainer: Trainer) -> tuple[bool, bool]:
    """Whether any stage is frozen, and any BatchNorm."""
    card = trainer.evaluator.score.card  # type: ignore[attr-defined]
    return card.architecture["num_frozen_stages"] > 0, card.architecture["freeze_batchnorm"]


def test_trained_weights_freeze_the_first_stages_and_batchnorm_and_a_fresh_start_does_not(
    tiny_config: Make, tmp_path: Path, tiny_run: Path
) -> None:
    start = f"model.model_path={RunFolder(tiny_run).best}"
    run = f"model.exp_path={tmp_path}"
    assert frozen(trainer_of(tiny_config(run))) == (False, False)
    assert frozen(trainer_of(tiny_config(run, start))) == (True, True)
    given = ["basenet.frozen_stages=0", "basenet.frozen_batchnorm=False"]
    assert frozen(trainer_of(tiny_config(run, start, *given))) == (False, False)
    assert frozen(trainer_of(tiny_config(run, "basenet.frozen_stages=1", "basenet.frozen_batchnorm=True"))) == (
        True,
        True,
    )


def test_starting_from_a_detector_takes_its_weights_and_a_fresh_optimizer(
    tiny_config: Make, tmp_path: Path, tiny_run: Path
) -> None:
    best = RunFolder(tiny_run).best
    trainer = trainer_of(tiny_config(f"model.exp_path={tmp_path}", f"model.model_path={best}"))
    wanted = load_detector(best).model.state_dict()
    for name, value in trainer.student.module.state_dict().items():
        assert torch.equal(value, wanted[name]), name
    for name, value in trainer.method.evaluation_model.state_dict().items():
        assert torch.equal(value, wanted[name]), name
    assert trainer.state.step == 0
    assert not trainer.optimizer.state_dict()["state"]


def test_a_detector_with_other_classes_is_for_finetuning_only(own_squares: Path, tiny_run: Path) -> None:
    for path in (own_squares / "train.json", own_squares / "valid.json"):
        path.write_text(path.read_text().replace('"red"', '"green"'))
    overrides = [f"model.exp_path={own_squares / 'run'}", f"model.model_path={RunFolder(tiny_run).best}"]
    with pytest.raises(WeightsError, match=r"\['blue', 'red'\].*\['blue', 'green'\].*is_finetune"):
        trainer_of(load_config(own_squares / "tiny.yaml", overrides))
    trainer = trainer_of(load_config(own_squares / "tiny.yaml", [*overrides, "model.is_finetune=True"]))
    bias = trainer.student.module.class_head.output.bias.view(-1, 2)
    old = load_detector(RunFolder(tiny_run).best).model.state_dict()["class_head.output.bias"].view(-1, 2)
    assert torch.equal(bias[:, 0], old[:, 0])
    assert not torch.equal(bias[:, 1], old[:, 1])


@pytest.mark.parametrize(
    "changes",
    [
        ["optimizer.lr=3e-4", "basenet.lr_backbone=3e-4", "optimizer.weight_decay=0.5"],
        ["optimizer.lr=3e-4"],
        ["optimizer.weight_decay=0"],
    ],
)
def test_the_configs_rates_stand_above_the_checkpoints(
    tiny_config: Make, tmp_path: Path, changes: Sequence[str]
) -> None:
    """What `optimizer.lr a tenth as large` and --resume are advised for."""
    path = f"model.exp_path={tmp_path / 'run'}"
    trainer = trainer_of(tiny_config(path))
    trainer.save()
    changed = tiny_config(path, *changes)
    groups, fresh = (trainer_of(changed, resume=resume).optimizer.param_groups for resume in (True, False))
    options = [{key: value for key, value in group.items() if key != "params"} for group in groups]
    assert options == [{key: value for key, value in group.items() if key != "params"} for group in fresh]
    assert ("optimizer.lr=3e-4" in changes) == (3e-4 in {group["base_lr"] for group in groups})


@pytest.mark.parametrize(
    "override",
    ["model.anchor_sizes=[12,20,40,80,161]", "model.anchor_ratios=[2.0]", "model.anchor_octaves=[1.5]"],
)
def test_a_detector_with_other_anchors_is_no_start(
    tiny_config: Make, tiny_run: Path, tmp_path: Path, override: str
) -> None:
    start = RunFolder(tiny_run).best
    key = override.split("=")[0]
    config = tiny_config(f"model.exp_path={tmp_path / 'run'}", f"model.model_path={start}", override)
    with pytest.raises(WeightsError, match="was trained with other anchors") as raised:
        trainer_of(config)
    # What the message says to give is taken.
    (given,) = [word for word in str(raised.value).split() if word.startswith(f"{key}=")]
    trainer_of(tiny_config(f"model.exp_path={tmp_path / 'run'}", f"model.model_path={start}", given.rstrip(",")))


def test_resuming_needs_none_of_the_weights_that_the_run_started_from(
    tiny_config: Make, tmp_path: Path, tiny_run: Path
) -> None:
    start = tmp_path / "start.safetensors"
    start.write_bytes(RunFolder(tiny_run).best.read_bytes())
    config = tiny_config(f"model.exp_path={tmp_path / 'run'}", f"model.model_path={start}", "params.iterations=2")
    trainer = trainer_of(config)
    save_config(config, RunFolder(tmp_path / "run").config)
    trainer.save()
    start.unlink()
    resumed = trainer_of(config, resume=True)
    assert load_checkpoint(resumed.checkpoint)["student"].keys() == resumed.student.module.state_dict().keys()
    for one, other in zip(trainer.student.parameters(), resumed.student.parameters(), strict=True):
        assert torch.equal(one, other)
    assert [p.requires_grad for p in trainer.student.parameters()] == [
        p.requires_grad for p in resumed.student.parameters()
    ]


@pytest.mark.parametrize(
    ("overrides", "evaluate", "checkpoint"),
    [
        (["params.evaluate_every=0", "params.iterations=1000"], 100, 100),
        (["params.evaluate_every=0", "params.iterations=3"], 1, 1),
        (["params.evaluate_every=50"], 50, 50),
        (["params.evaluate_every=50", "params.checkpoint_every=7"], 50, 7),
    ],
)
def test_a_run_is_evaluated_ten_times_unless_it_says_else(
    tiny_config: Make, tmp_path: Path, overrides: list[str], evaluate: int, checkpoint: int
) -> None:
    intervals = trainer_of(tiny_config(f"model.exp_path={tmp_path}", *overrides)).intervals
    assert (intervals.evaluate, intervals.checkpoint) == (evaluate, checkpoint)
