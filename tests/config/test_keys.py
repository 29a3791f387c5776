"""Every key of the config has an effect: each has a row with something that can be seen to change with it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import timm
import torch
from safetensors.torch import save_file

from softdet import builders
from softdet.config import Config, keys, load_config
from softdet.engine.trainer import Trainer
from softdet.errors import DataError, WeightsError
from softdet.evaluation.inference import detections_over
from softdet.evaluation.run import RunFolder
from softdet.report.looks import read_looks
from softdet.structures import AugmentedBatch, StepOutput, TrainBatch

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Made:
    """All that can be made of a config, each when it's asked for."""

    config: Config

    @cached_property
    def data(self) -> builders.Data:
        return builders.load_data(self.config)

    @cached_property
    def trainer(self) -> Trainer:
        fabric = builders.make_fabric(self.config)
        fabric.launch()
        return builders.make_trainer(self.config, fabric, self.data, resume=False)

    @cached_property
    def model(self) -> Any:
        return self.trainer.student.module

    @cached_property
    def batches(self) -> list[TrainBatch]:
        """The micro-batches of the first step."""
        return next(iter(self.trainer.batches(range(1))))

    @cached_property
    def views(self) -> AugmentedBatch:
        return self.trainer.augment(self.batches[0])

    @cached_property
    def step(self) -> StepOutput:
        torch.manual_seed(0)
        return next(iter(self.trainer.method.step([self.views])))

    @cached_property
    def detections(self) -> list[dict[str, Any]]:
        card = builders.make_card(self.config, self.data.train)
        return detections_over(self.model.eval(), card, self.data.valid, device=CPU, batch_size=8)

    def rates(self, step: int) -> list[float]:
        """Learning rates at a step: of the backbone's first group and of the heads' last."""
        self.trainer.set_learning_rate(step)
        groups = self.trainer.optimizer.param_groups
        return [groups[0]["lr"], groups[-1]["lr"]]


class Row(NamedTuple):
    """What to set, and what then is different."""

    change: str
    seen: Callable[[Made], object]
    base: tuple[str, ...] = ()


@dataclass(frozen=True)
class Places:
    """Files that some rows need."""

    folder: Path
    squares: Path
    trained: Path

    def make(self, overrides: tuple[str, ...]) -> Made:
        places = {"folder": self.folder, "squares": self.squares, "trained": self.trained}
        filled = [text.format(**places) for text in ("model.exp_path={folder}/run", *overrides)]
        return Made(load_config(self.squares / "tiny.yaml", filled))

    def write(self) -> None:
        train = json.loads((self.squares / "train.json").read_text())
        train["images"] = train["images"][:4]
        (self.folder / "few.json").write_text(json.dumps(train))
        valid = json.loads((self.squares / "valid.json").read_text())
        valid["images"] = valid["images"][:3]
        (self.folder / "few_valid.json").write_text(json.dumps(valid))
        valid = json.loads((self.squares / "valid.json").read_text())
        valid["images"] = valid["images"][3:]
        (self.folder / "rest_valid.json").write_text(json.dumps(valid))
        (self.folder / "classes.txt").write_text("red\nblue\n")
        backbone = timm.create_model("test_resnet", pretrained=False, features_only=True)
        save_file(dict(backbone.state_dict()), self.folder / "backbone.safetensors")


def lists(made: Made) -> object:
    try:
        data = made.data
        return [len(index) if index else 0 for index in (data.train, data.valid, data.unlabeled, data.test)]
    except DataError as error:
        return type(error)


def started(made: Made) -> object:
    try:
        return made.model.class_head.output.bias.sum().item()
    except WeightsError as error:
        return type(error)


def fabric_call(made: Made) -> dict[str, Any]:
    """The devices that would be asked for on a machine with two GPUs."""
    calls: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "device_count", lambda: 2)
        patch.setattr(builders.trainer, "Fabric", lambda **arguments: calls.append(arguments))
        builders.make_fabric(made.config)
    return calls[0]


def num_learning(made: Made) -> int:
    return sum(parameter.numel() for parameter in made.model.parameters() if parameter.requires_grad)


def losses(made: Made) -> dict[str, float]:
    return {name: loss.item() for name, loss in made.step.losses.items()} | {"loss": made.step.loss.item()}


def statistic(name: str) -> Callable[[Made], object]:
    return lambda made: made.step.statistics[name]


def matrices(branch: str) -> Callable[[Made], object]:
    return lambda made: getattr(made.views, branch).matrices.tolist()


def is_recoloured(branch: str) -> Callable[[Made], bool]:
    def seen(made: Made) -> bool:
        view = getattr(made.views, branch)
        return not torch.equal(view.images, view.clean)

    return seen


def arms(made: Made) -> object:
    return [(arm.soft_teacher.enabled, arm.model.exp_path.name) for arm in builders.arms_of(made.config, made.data, 1)]


def intervals(made: Made) -> object:
    return made.trainer.intervals


def student_ap(made: Made) -> object:
    assert made.trainer.evaluator.probe is not None
    return made.trainer.evaluator.probe(made.trainer.method.evaluation_model).get("valid_AP_student")


def watched(made: Made) -> object:
    """What an evaluation shows of the unlabeled images."""
    assert made.trainer.evaluator.show is not None
    made.trainer.evaluator.show(made.trainer.method.evaluation_model, 1)
    return len(read_looks(made.config.model.exp_path / "gallery.jsonl")[0].images)


def threshold_after_starving(made: Made) -> object:
    """A copy of the method and its monitor see a hundred steps without a pseudo box."""
    monitor = copy.deepcopy(made.trainer.monitor)
    nothing = dict.fromkeys(("loss", "supervised_class", "supervised_box", "pseudo_boxes", "skipped_steps"), 0.0)
    nothing |= {"pseudo_candidates": 10.0, "empty_images": 1.0, "teacher_finite": 1.0}
    for step in range(100):
        monitor.observe_step(step, nothing)  # type: ignore[union-attr]
    return monitor.knobs.score_threshold  # type: ignore[union-attr]


def anchors(made: Made) -> object:
    return made.model.anchors_at((64, 64)).tolist()


# A teacher that sees something, and asks for unlabeled images from the first step.
TRAINED = ("model.model_path={trained}", "soft_teacher.burn_in_steps=0")
PLAIN = ("soft_teacher.strong_colour=False", "soft_teacher.erase=False")

ROWS: dict[str, Row] = {
    "data.train": Row("{folder}/few.json", lists, ("data.root={squares}/images",)),
    "data.valid": Row("{folder}/few_valid.json", lists, ("data.root={squares}/images",)),
    "data.unlabeled": Row("{squares}/train.json", lists),
    "data.test": Row(
        "{folder}/rest_valid.json", lists, ("data.root={squares}/images", "data.valid={folder}/few_valid.json")
    ),
    "data.root": Row("{squares}/images", lists, ("data.train={folder}/few.json",)),
    # Kept in memory, an image is decoded once.
    "data.cache_gb": Row("0", lambda made: made.trainer.batches.args[0][0] is made.trainer.batches.args[0][0]),  # type: ignore
    "basenet.arch": Row("test_efficientnet", lambda made: sum(p.numel() for p in made.model.backbone.parameters())),
    "basenet.pretrained": Row(
        "{folder}/backbone.safetensors", lambda made: next(made.model.backbone.parameters()).sum().item()
    ),
    "basenet.lr_backbone": Row("1e-5", lambda made: made.rates(20)),
    "basenet.frozen_stages": Row("2", num_learning),
    "basenet.frozen_batchnorm": Row("True", num_learning),
    "optimizer.which": Row("SGD", lambda made: type(made.trainer.optimizer.optimizer)),
    "optimizer.lr": Row("1e-5", lambda made: made.rates(20)),
    "optimizer.weight_decay": Row(
        "0.5", lambda made: {group["weight_decay"] for group in made.trainer.optimizer.param_groups}
    ),
    "optimizer.schedule": Row("cosine", lambda made: made.rates(20)),
    "optimizer.milestones": Row("[0.2, 0.4]", lambda made: made.rates(20), ("optimizer.schedule=step",)),
    "optimizer.warmup_steps": Row("0", lambda made: made.rates(0)),
    "optimizer.clip_norm": Row("0.1", lambda made: made.trainer.update.clip_norm),
    "params.batch_size": Row("2", lambda made: len(made.batches[0].labeled)),
    "params.epoch": Row("3", lambda made: made.trainer.num_steps, ("params.iterations=None",)),
    "params.random_seed": Row("1", matrices("labeled")),
    "params.image_size": Row("96x64", lambda made: made.views.labeled.size),
    "params.classes": Row(
        "{folder}/classes.txt", lambda made: builders.make_card(made.config, made.data.train).class_names
    ),
    "params.data_worker": Row("2", lambda made: made.trainer.batches.keywords["num_workers"]),  # type: ignore
    "params.iterations": Row("7", lambda made: made.trainer.num_steps),
    "params.accumulate": Row("2", lambda made: len(made.batches)),
    "params.resize": Row("stretch", lambda made: made.batches[0].labeled.content.tolist()),
    "params.flip": Row("0.0", lambda made: (made.views.labeled.matrices[:, 0, 0] < 0).any().item()),
    "params.quarter_turn": Row("1.0", lambda made: made.views.labeled.matrices[:, 0, 1].any().item()),
    "params.scale": Row("[0.5, 0.6]", matrices("labeled")),
    "params.colour": Row("True", is_recoloured("labeled")),
    "params.box_loss": Row("giou", lambda made: float(made.step.losses["supervised_box"])),
    "params.paste": Row("1.0", lambda made: float(made.views.labeled.images.sum())),
    "params.mixup": Row("1.0", lambda made: [len(targets) for targets in made.views.targets]),
    "params.repeat_rare": Row("1.0", lambda made: made.trainer.batches.keywords["weights"] is None),  # type: ignore
    "params.precision": Row("bf16-mixed", fabric_call, ("cuda.using=True",)),
    "params.evaluate_every": Row("5", intervals),
    "params.evaluate_student": Row("False", student_ap, TRAINED),
    "params.checkpoint_every": Row("5", intervals),
    "params.log_every": Row("5", intervals),
    "params.gallery_images": Row("2", watched),
    "params.tensorboard": Row("True", lambda made: [type(logger) for logger in made.trainer.loggers.others]),  # type: ignore
    "soft_teacher.enabled": Row("False", lambda made: type(made.trainer.method)),
    "soft_teacher.control": Row("True", arms),
    "soft_teacher.pseudo_cls_th": Row("0.1", statistic("pseudo_boxes"), TRAINED),
    "soft_teacher.class_targets": Row("any", losses, TRAINED),
    "soft_teacher.max_loss_ratio": Row("1e-6", losses, TRAINED),
    "soft_teacher.unsup_loss_weight": Row("4", losses, TRAINED),
    "soft_teacher.ema_decay": Row("0.5", lambda made: made.trainer.method.teacher.decay),  # type: ignore
    "soft_teacher.pseudo_box_th": Row("0.05", statistic("pseudo_boxes_regressed"), TRAINED),
    "soft_teacher.unlabeled_ratio": Row("2", lambda made: len(made.batches[0].unlabeled or ()), TRAINED),
    "soft_teacher.burn_in_steps": Row("0", lambda made: made.batches[0].unlabeled is None),
    "soft_teacher.ramp_steps": Row("10", losses, TRAINED),
    "soft_teacher.background": Row("none", losses, TRAINED),
    "soft_teacher.doubtful_th": Row("0.06", losses, (*TRAINED, "soft_teacher.background=ignore")),
    "soft_teacher.box_reliability": Row("anchors", statistic("uncertainty_threshold"), TRAINED),
    "soft_teacher.uncertainty_th": Row("0.01", statistic("uncertainty_threshold"), TRAINED),
    "soft_teacher.empty_image_weight": Row("1", losses, (*TRAINED, "soft_teacher.pseudo_cls_th=0.999")),
    "soft_teacher.weak_scale": Row("[0.5, 0.6]", matrices("weak"), TRAINED),
    "soft_teacher.translate": Row("0.3", matrices("strong"), TRAINED),
    "soft_teacher.rotate": Row("30", matrices("strong"), TRAINED),
    "soft_teacher.shear": Row("30", matrices("strong"), TRAINED),
    "soft_teacher.strong_colour": Row("True", is_recoloured("strong"), (*TRAINED, *PLAIN)),
    "soft_teacher.erase": Row("True", is_recoloured("strong"), (*TRAINED, *PLAIN)),
    "soft_teacher.mixup": Row("True", losses, TRAINED),
    "soft_teacher.paste": Row("1.0", losses, TRAINED),
    "soft_teacher.labeled_too": Row("True", lambda made: len(made.trainer.batches.args[1])),  # type: ignore
    "soft_teacher.missing_labels": Row("ignore", losses, (*TRAINED, "soft_teacher.pseudo_cls_th=0.05")),
    "soft_teacher.far_images": Row("leave_out", lambda made: made.trainer.pool.action),  # type: ignore
    "soft_teacher.mitigate": Row("True", threshold_after_starving, (*TRAINED, "soft_teacher.pseudo_cls_th=0.5")),
    "inference.cls_th": Row("0.3", lambda made: len(made.detections), TRAINED),
    "inference.nms_th": Row("0.9", lambda made: len(made.detections), TRAINED),
    "inference.top_k": Row("2", lambda made: len(made.detections), TRAINED),
    "inference.batch_size": Row("3", lambda made: made.trainer.evaluator.score.batch_size),  # type: ignore
    "model.model_path": Row("{trained}", lambda made: made.model.class_head.output.bias.sum().item()),
    "model.exp_path": Row("{folder}/another", lambda made: made.trainer.checkpoint),
    "model.is_finetune": Row("True", started, ("model.model_path={trained}", "params.classes={folder}/classes.txt")),
    "model.fpn_channels": Row("16", lambda made: made.model.class_head.output.in_channels),
    "model.head_convs": Row("2", lambda made: len(made.model.class_head.convs)),
    "model.anchor_sizes": Row("[16, 32, 64, 128, 256]", anchors),
    "model.anchor_octaves": Row("[1, 1.5]", anchors),
    "model.anchor_ratios": Row("[0.5, 2]", anchors),
    "cuda.using": Row("False", lambda made: fabric_call(made).get("accelerator"), ("cuda.using=True",)),
    "cuda.gpu_id": Row("[0, 1]", fabric_call, ("cuda.using=True",)),
    "cuda.num_nodes": Row("2", fabric_call, ("cuda.using=True",)),
}


def test_every_key_has_a_row_and_every_row_a_key() -> None:
    assert set(ROWS) == set(keys())


@pytest.fixture(scope="module")
def places(squares: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Places:
    places = Places(tmp_path_factory.mktemp("keys"), squares, RunFolder(tiny_run).best)
    places.write()
    return places


@pytest.fixture(scope="module")
def make(places: Places) -> Callable[[tuple[str, ...]], Made]:
    """Make a config of overrides; the same ones are made once."""
    made: dict[tuple[str, ...], Made] = {}

    def make(overrides: tuple[str, ...]) -> Made:
        if overrides not in made:
            made[overrides] = places.make(overrides)
        return made[overrides]

    return make


@pytest.mark.parametrize("key", keys())
def test_something_changes_with_the_key(key: str, make: Callable[[tuple[str, ...]], Made]) -> None:
    row = ROWS[key]
    before = row.seen(make(row.base))
    after = row.seen(make((*row.base, f"{key}={row.change}")))
    assert before != after


def test_nothing_changes_with_nothing(make: Callable[[tuple[str, ...]], Made], places: Places) -> None:
    again = {row.base: places.make(row.base) for row in ROWS.values()}
    for key, row in ROWS.items():
        assert row.seen(make(row.base)) == row.seen(again[row.base]), key
