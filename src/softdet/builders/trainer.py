"""A run, or an arm of one, put together."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers import TensorBoardLogger
from torch import nn

from softdet.builders.arms import count_burn_in, count_steps, has_control, planned_burn_in
from softdet.builders.data import Data, batch_sizes, make_augmenter, make_batches, require_pairs
from softdet.builders.detector import architecture_of, make_card, pretrained_of, require_same_anchors
from softdet.builders.pictures import make_show
from softdet.config import Config
from softdet.config.auto import undecided
from softdet.data.datasets import ImageDataset
from softdet.data.density import labeled_density
from softdet.data.index import Index
from softdet.engine.evaluator import Evaluator
from softdet.engine.loggers import CsvLogger, Logger, Loggers
from softdet.engine.optimization import learning_rate_factor, make_optimizer, set_learning_rate
from softdet.engine.protocols import Method
from softdet.engine.train_state import Intervals
from softdet.engine.trainer import Trainer
from softdet.errors import ConfigError
from softdet.evaluation.detector import start_from
from softdet.evaluation.inference import detections_over, device_for
from softdet.evaluation.metrics import evaluate_detections, load_truth
from softdet.evaluation.run import RunFolder
from softdet.evaluation.uncertainty import uncertainty_correlation
from softdet.evaluation.validation import Validator
from softdet.models.retinanet import build_retinanet
from softdet.report.history import read_history
from softdet.semi.health import HealthMonitor
from softdet.semi.labeling import Labeler
from softdet.semi.soft_teacher import SoftTeacher
from softdet.semi.supervised import Supervised
from softdet.semi.teacher import Teacher
from softdet.semi.thresholds import ScoreThresholds, UncertaintyThreshold

_EVALUATIONS_A_RUN = 10


def device_of(config: Config) -> torch.device:
    """Where a run of this config is evaluated: the first of its devices."""
    return device_for(config.cuda.using, _gpu_ids(config)[0])


def make_fabric(config: Config) -> Fabric:
    """Choose the devices; not yet launched."""
    device = device_for(config.cuda.using)
    ids = _gpu_ids(config)
    if device.type != "cuda":
        return Fabric(accelerator=device.type, devices=1, precision="32-true")
    # Fabric advises TF32 for matrix products; the convolutions, which are all of the work here, have it already.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if max(ids) >= torch.cuda.device_count():
        raise ConfigError(f"cuda.gpu_id = {config.cuda.gpu_id}: this machine has {torch.cuda.device_count()} GPUs")
    parallel = len(ids) > 1 or config.cuda.num_nodes > 1
    return Fabric(
        accelerator="cuda",
        devices=list(ids),
        num_nodes=config.cuda.num_nodes,
        strategy="ddp" if parallel else "auto",
        precision=config.params.precision,
    )


def make_trainer(config: Config, fabric: Fabric, data: Data, *, resume: bool, keep_burn_in: bool = False) -> Trainer:
    """Put a run, or an arm of one, together.

    Args:
        config: of the run; of an arm, as `arms_of` gives it.
        fabric: launched.
        data: from `load_data`.
        resume: go on from the checkpoint; weights to start from are neither read nor downloaded then.
        keep_burn_in: keep the state at the end of the burn-in for the other arm: this is its control.
    """
    assert not undecided(config), f"left to derive: {undecided(config)}"
    params, run = config.params, RunFolder(config.model.exp_path)
    num_steps = count_steps(config, len(data.train))
    burn_in = count_burn_in(config, num_steps)
    require_pairs(config, fabric.world_size)
    batches, pool = make_batches(config, data, fabric, burn_in)
    shares_burn_in = has_control(config) and not resume

    torch.manual_seed(params.random_seed)
    if fabric.device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        # The check for reads of uninitialised memory that comes with it costs 4% of a step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    pretrained = False if resume or shares_burn_in else pretrained_of(config)
    model = build_retinanet(**architecture_of(config), num_classes=len(data.train.class_names), pretrained=pretrained)
    if config.model.model_path and not (resume or shares_burn_in):
        require_same_anchors(config, config.model.model_path)
        start_from(model, config.model.model_path, data.train.class_names, classes_may_differ=config.model.is_finetune)
    teacher = Teacher(model, config.soft_teacher.ema_decay)
    optimizer = make_optimizer(
        model,
        config.optimizer.which,
        lr=config.optimizer.lr,
        lr_backbone=config.basenet.lr_backbone,
        weight_decay=config.optimizer.weight_decay,
    )
    student, optimizer = fabric.setup(model, optimizer)
    teacher.model.to(fabric.device)
    validator = Validator(
        run,
        data.valid,
        load_truth(config.data.valid),
        make_card(config, data.train),
        fabric.device,
        config.inference.batch_size,
        fabric.global_rank,
    )
    method = _method(config, data.train, student, teacher, fabric, burn_in)
    trial = _method(config, data.train, student.module, teacher, fabric, burn_in) if fabric.world_size > 1 else None
    augment = make_augmenter(config)
    labeler = method.labeler if isinstance(method, SoftTeacher) else None
    # Loader processes would be started for a single batch.
    shown = partial(batches, num_workers=0)
    trainer = Trainer(
        fabric=fabric,
        method=method,
        student=student,
        optimizer=optimizer,
        augment=augment,
        batches=batches,
        set_learning_rate=_learning_rate(config, optimizer, num_steps),
        evaluator=Evaluator(
            validator,
            _probe(config, validator, method),
            make_show(config, data.unlabeled, validator.card, labeler, shown, augment, fabric.device),
            read_history(run.control.metrics).of("valid_AP") if has_control(config) else {},
        ),
        monitor=_monitor(config, method, data, fabric, burn_in) if isinstance(method, SoftTeacher) else None,
        num_steps=num_steps,
        semi_from=burn_in,
        intervals=_intervals(config, num_steps),
        clip_norm=config.optimizer.clip_norm,
        seed=params.random_seed,
        checkpoint=run.checkpoint,
        burn_in_checkpoint=run.burn_in if keep_burn_in else None,
        loggers=None,
        pool=pool,
        trial=trial,
    )
    if resume:
        trainer.resume()
    elif shares_burn_in:
        if fabric.is_global_zero:
            # The rows of the burn-in; the logger drops those that come after it.
            shutil.copyfile(run.control.metrics, run.metrics)
        trainer.start_from(run.control.burn_in)
    if fabric.is_global_zero:
        trainer.loggers = _loggers(config, run, trainer.state.step)
    return trainer


def _gpu_ids(config: Config) -> tuple[int, ...]:
    ids = config.cuda.gpu_id
    return (ids,) if isinstance(ids, int) else ids


def _method(config: Config, train: Index, student: Any, teacher: Teacher, fabric: Fabric, burn_in: int) -> Method:
    if not config.soft_teacher.enabled:
        return Supervised(student, teacher, box_loss=config.params.box_loss)
    semi = config.soft_teacher
    fixed = None if semi.pseudo_cls_th == "auto" else semi.pseudo_cls_th
    labeler = Labeler(
        teacher,
        score_thresholds=ScoreThresholds(fixed, tuple(labeled_density(train).by_class.values())),
        box_score_threshold=semi.pseudo_box_th,
        uncertainty_threshold=UncertaintyThreshold(semi.uncertainty_th),
        background=semi.background,
        doubtful_threshold=semi.doubtful_th,
        box_reliability=semi.box_reliability,
        empty_image_weight=semi.empty_image_weight,
        mixup=semi.mixup,
        wants_beliefs=semi.class_targets in {"soft", "dense"},
        class_names=train.class_names,
        autocast=fabric.autocast,
    )
    return SoftTeacher(
        student,
        teacher,
        labeler,
        class_targets=semi.class_targets,
        box_loss=config.params.box_loss,
        unsupervised_weight=semi.unsup_loss_weight,
        burn_in_steps=burn_in,
        ramp_steps=semi.ramp_steps,
        max_loss_ratio=semi.max_loss_ratio,
        missing_labels=semi.missing_labels,
    )


def _monitor(config: Config, method: SoftTeacher, data: Data, fabric: Fabric, burn_in: int) -> HealthMonitor:
    return HealthMonitor(
        labeled_density(data.train),
        method,
        images_per_step=batch_sizes(config, fabric.world_size)[1],
        settled_from=burn_in + config.soft_teacher.ramp_steps,
        mitigate=config.soft_teacher.mitigate,
        gentler=_gentler(config),
    )


def _gentler(config: Config) -> str:
    """What the default does and the original's settings, with which photographs collapsed, don't (docs/results.md)."""
    if config.soft_teacher.class_targets == "dense" and config.soft_teacher.mixup:
        return ""
    return "set soft_teacher.class_targets to dense and soft_teacher.mixup to True"


def _probe(config: Config, validator: Validator, method: Method) -> Callable[[nn.Module], dict[str, float]]:
    def more_numbers(student: nn.Module) -> dict[str, float]:
        numbers = {}
        where: Any = {"device": validator.device, "batch_size": validator.batch_size, "rank": validator.rank}
        if config.params.evaluate_student:
            detections = detections_over(student, validator.card, validator.index, **where)
            numbers["valid_AP_student"] = float(evaluate_detections(validator.truth, detections)["AP"])
        if isinstance(method, SoftTeacher) and config.soft_teacher.box_reliability != "none":
            images = ImageDataset(validator.index.images, config.params.image_size, config.params.resize)
            numbers["uncertainty_correlation"] = uncertainty_correlation(method.labeler, images, **where)
        return numbers

    return more_numbers


def _learning_rate(config: Config, optimizer: Any, num_steps: int) -> Callable[[int], None]:
    options = config.optimizer

    def set_at(step: int) -> None:
        factor = learning_rate_factor(
            step,
            num_steps,
            options.schedule,
            milestones=options.milestones,
            warmup_steps=min(options.warmup_steps, num_steps // 10),
        )
        set_learning_rate(optimizer, factor)

    return set_at


def _intervals(config: Config, num_steps: int) -> Intervals:
    evaluate = config.params.evaluate_every or max(1, math.ceil(num_steps / _EVALUATIONS_A_RUN))
    checkpoint = config.params.checkpoint_every or evaluate
    return Intervals(config.params.log_every, evaluate, checkpoint, planned_burn_in(config, num_steps))


def _loggers(config: Config, run: RunFolder, first_step: int) -> Loggers:
    others: list[Logger] = []
    if config.params.tensorboard:
        try:
            others.append(TensorBoardLogger(root_dir=run.path, name="tensorboard", version=""))
        except ModuleNotFoundError as error:
            raise ConfigError(
                "params.tensorboard=True needs a package that isn't here: pip install tensorboard"
            ) from error
    return Loggers(CsvLogger(run.metrics, first_step + 1), others)
