"""The only translation of a config into objects, with `build_data`; a config never goes further than these files."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers import TensorBoardLogger
from torch import nn

from softdet.build_data import Data as Data
from softdet.build_data import batch_sizes, make_augmenter, make_batches
from softdet.build_data import load_data as load_data
from softdet.build_data import load_test as load_test
from softdet.build_data import load_valid as load_valid
from softdet.build_pictures import make_show
from softdet.config import Config, dump_config
from softdet.config.auto import undecided
from softdet.data.datasets import ImageDataset
from softdet.data.index import Index
from softdet.engine.detector import DetectorCard, start_from
from softdet.engine.evaluation import detections_over, device_for
from softdet.engine.loggers import CsvLogger, Logger, Loggers
from softdet.engine.metrics import evaluate_detections, load_truth
from softdet.engine.optimization import learning_rate_factor, make_optimizer, set_learning_rate
from softdet.engine.outcome import read_column
from softdet.engine.run import RunFolder
from softdet.engine.trainer import Intervals, Method, Trainer
from softdet.engine.uncertainty import uncertainty_correlation
from softdet.engine.validation import Validator
from softdet.errors import ConfigError
from softdet.files import digest
from softdet.models.retinanet import build_retinanet
from softdet.semi.health import HealthMonitor, labeled_density
from softdet.semi.labeling import Labeler
from softdet.semi.soft_teacher import SoftTeacher
from softdet.semi.supervised import Supervised
from softdet.semi.teacher import Teacher
from softdet.semi.thresholds import ScoreThresholds, UncertaintyThreshold

_MAX_BURN_IN = 5000
_EVALUATIONS_A_RUN = 10


def make_fabric(config: Config) -> Fabric:
    """Choose the devices; not yet launched."""
    device = device_for(config.cuda.using)
    ids = (config.cuda.gpu_id,) if isinstance(config.cuda.gpu_id, int) else config.cuda.gpu_id
    if device.type != "cuda":
        return Fabric(accelerator=device.type, devices=1, precision="32-true")
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
    batches, pool = make_batches(config, data, fabric, burn_in)
    shares_burn_in = has_control(config) and not resume

    torch.manual_seed(params.random_seed)
    if fabric.device.type == "cpu":
        torch.use_deterministic_algorithms(True)
    pretrained = False if resume or shares_burn_in else _pretrained(config)
    model = build_retinanet(**_architecture(config), num_classes=len(data.train.class_names), pretrained=pretrained)
    if config.model.model_path and not (resume or shares_burn_in):
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
        evaluate=validator,
        probe=_probe(config, validator, method),
        monitor=_monitor(config, method, data, fabric, burn_in) if isinstance(method, SoftTeacher) else None,
        num_steps=num_steps,
        semi_from=burn_in,
        intervals=_intervals(config, num_steps),
        clip_norm=config.optimizer.clip_norm,
        seed=params.random_seed,
        checkpoint=run.checkpoint,
        burn_in_checkpoint=run.burn_in if keep_burn_in else None,
        control_ap=read_column(run.control.metrics, "valid_AP") if has_control(config) else {},
        loggers=None,
        pool=pool,
        trial=trial,
        show=make_show(config, data.unlabeled, validator.card, labeler, shown, augment, fabric.device),
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


def count_steps(config: Config, num_images: int) -> int:
    """Optimizer steps of the run."""
    return config.params.iterations or math.ceil(config.params.epoch * num_images / config.params.batch_size)


def count_burn_in(config: Config, num_steps: int) -> int:
    """Steps on labeled images alone."""
    return _planned_burn_in(config, num_steps) if config.soft_teacher.enabled else num_steps


def _planned_burn_in(config: Config, num_steps: int) -> int:
    asked = config.soft_teacher.burn_in_steps
    return min(num_steps // 5, _MAX_BURN_IN) if asked is None else asked


def has_control(config: Config) -> bool:
    """Whether the supervised control is trained in the same run."""
    return config.soft_teacher.enabled and config.soft_teacher.control


def arms_of(config: Config, data: Data, world_size: int) -> tuple[Config, ...]:
    """What one training trains, in this order: the control where it is asked for, and the run itself.

    Args:
        config: of the run.
        data: from `load_data`.
        world_size: number of processes.

    Returns:
        A config for each; the control's is that of a run of its own, in the folder `control` of the run.

    Raises:
        ConfigError: an arm can't be trained. Said here, before the hours that the first one takes.
    """
    batch_sizes(config, world_size)
    if not has_control(config):
        return (config,)
    num_steps = count_steps(config, len(data.train))
    burn_in = count_burn_in(config, num_steps)
    if burn_in >= num_steps:
        raise ConfigError(
            f"soft_teacher.control: the run has {num_steps} steps and a burn-in of {burn_in}, so its two arms are the "
            "same. Take more params.iterations or fewer soft_teacher.burn_in_steps."
        )
    semi = config.soft_teacher.model_copy(update={"enabled": False, "control": False})
    model = config.model.model_copy(update={"exp_path": RunFolder(config.model.exp_path).control.path})
    return config.model_copy(update={"soft_teacher": semi, "model": model}), config


def make_card(config: Config, index: Index) -> DetectorCard:
    """What the result says of itself."""
    taken = [category_id for category_id in index.category_ids if isinstance(category_id, int)]
    # A class of the list that no labeled image has yet still needs an id of its own.
    free = iter(range(max(taken, default=0) + 1, max(taken, default=0) + 1 + len(index.class_names)))
    return DetectorCard(
        architecture=_architecture(config),
        class_names=index.class_names,
        class_ids=tuple(next(free) if category_id is None else category_id for category_id in index.category_ids),
        image_size=config.params.image_size,
        resize=config.params.resize,
        score_threshold=config.inference.cls_th,
        iou_threshold=config.inference.nms_th,
        top_k=config.inference.top_k,
        digests=_digests(config),
    )


def _digests(config: Config) -> dict[str, str]:
    data = config.data
    lists = {"train": data.train, "valid": data.valid, "unlabeled": data.unlabeled, "test": data.test}
    of_data = {name: digest(path) for name, path in lists.items() if path and path.is_file()}
    # The same bytes, so the same digest, as config.yaml in the run folder.
    return of_data | {"config": hashlib.sha256(dump_config(config).encode()).hexdigest()}


def _architecture(config: Config) -> dict[str, Any]:
    starts_trained = _starts_trained(config)
    stages, norms = config.basenet.frozen_stages, config.basenet.frozen_batchnorm
    return {
        "arch": config.basenet.arch,
        "num_frozen_stages": (2 if starts_trained else 0) if stages == "auto" else stages,
        "freeze_batchnorm": starts_trained if norms == "auto" else norms,
        "fpn_channels": config.model.fpn_channels,
        "head_convs": config.model.head_convs,
        "anchor_sizes": config.model.anchor_sizes,
        "anchor_octaves": config.model.anchor_octaves,
        "anchor_ratios": config.model.anchor_ratios,
    }


def _starts_trained(config: Config) -> bool:
    return bool(config.basenet.pretrained) or config.model.model_path is not None


def _pretrained(config: Config) -> bool | Path:
    # A whole detector brings its own backbone: nothing to download.
    return False if config.model.model_path else config.basenet.pretrained


def _method(config: Config, train: Index, student: Any, teacher: Teacher, fabric: Fabric, burn_in: int) -> Method:
    if not config.soft_teacher.enabled:
        return Supervised(student, teacher)
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
    )


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
    return Intervals(config.params.log_every, evaluate, checkpoint, _planned_burn_in(config, num_steps))


def _loggers(config: Config, run: RunFolder, first_step: int) -> Loggers:
    others: list[Logger] = []
    if config.params.tensorboard:
        try:
            others.append(TensorBoardLogger(root_dir=run.path, name="tensorboard", version=""))
        except ModuleNotFoundError as error:
            raise ConfigError(
                "params.tensorboard=True needs a package that isn't here: pip install 'softdet[tensorboard]'"
            ) from error
    return Loggers(CsvLogger(run.metrics, first_step + 1), others)
