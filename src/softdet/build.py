"""The only translation of a config into objects; a config never goes further than this file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers import TensorBoardLogger

from softdet.config import Config, dump_config
from softdet.data.augment import Augmenter, Policy
from softdet.data.checks import require_disjoint
from softdet.data.datasets import ImageDataset, stored_canvas
from softdet.data.index import Index, load_labeled, load_unlabeled, read_class_names
from softdet.data.loaders import train_batches
from softdet.engine.detector import DetectorCard, start_from
from softdet.engine.evaluation import device_for
from softdet.engine.loggers import CsvLogger, Logger, Loggers
from softdet.engine.metrics import load_truth
from softdet.engine.optimization import learning_rate_factor, make_optimizer, set_learning_rate
from softdet.engine.run import RunFolder
from softdet.engine.trainer import Intervals, Method, Trainer
from softdet.engine.validation import Validator
from softdet.errors import ConfigError, DataError
from softdet.files import digest
from softdet.models.retinanet import build_retinanet
from softdet.semi.soft_teacher import SoftTeacher
from softdet.semi.supervised import Supervised
from softdet.semi.teacher import Teacher
from softdet.semi.thresholds import UncertaintyThreshold

_MAX_BURN_IN = 5000
_EVALUATIONS_A_RUN = 10


@dataclass(frozen=True, slots=True)
class Data:
    """The three lists of images, with one numbering of the classes."""

    train: Index
    valid: Index
    unlabeled: Index | None


def load_data(config: Config) -> Data:
    """Read the lists that the config names, and check them against each other."""
    names = read_class_names(config.params.classes) if config.params.classes else None
    root = config.data.root
    train = load_labeled(config.data.train, names, root)
    valid = load_labeled(config.data.valid, train.class_names, root)
    require_disjoint(valid, train, "data.train")
    if not any(len(record.labels) for record in train.images):
        raise DataError(f"data.train ({train.source}) has {len(train)} images and not one box to learn from")
    if not config.soft_teacher.enabled:
        return Data(train, valid, None)
    if config.data.unlabeled is None:
        raise ConfigError(
            "data.unlabeled is missing: Soft Teacher learns from unlabeled images, a folder of them will do. "
            "To train on the labeled ones alone, add --supervised."
        )
    unlabeled = load_unlabeled(config.data.unlabeled, root)
    require_disjoint(valid, unlabeled, "data.unlabeled")
    return Data(train, valid, unlabeled)


def load_valid(config: Config, class_names: Sequence[str]) -> Index:
    """Read the validation list alone, with the classes of a detector."""
    return load_labeled(config.data.valid, class_names, config.data.root)


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


def make_trainer(config: Config, fabric: Fabric, data: Data, *, resume: bool) -> Trainer:
    """Put a run together.

    Args:
        config: of the run.
        fabric: launched.
        data: from `load_data`.
        resume: go on from the checkpoint; weights to start from are neither read nor downloaded then.
    """
    params, run = config.params, RunFolder(config.model.exp_path)
    num_steps = count_steps(config, len(data.train))
    burn_in = count_burn_in(config, num_steps)
    batch_size, unlabeled_batch_size = _batch_sizes(config, fabric.world_size)

    torch.manual_seed(params.random_seed)
    if fabric.device.type == "cpu":
        torch.use_deterministic_algorithms(True)
    pretrained = False if resume else _pretrained(config)
    model = build_retinanet(**_architecture(config), num_classes=len(data.train.class_names), pretrained=pretrained)
    if config.model.model_path and not resume:
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
    trainer = Trainer(
        fabric=fabric,
        method=_method(config, student, teacher, fabric, burn_in),
        student=student,
        optimizer=optimizer,
        augment=_augmenter(config),
        batches=partial(
            train_batches,
            _dataset(config, data.train),
            _dataset(config, data.unlabeled) if data.unlabeled else None,
            seed=params.random_seed,
            batch_size=batch_size,
            unlabeled_batch_size=unlabeled_batch_size,
            unlabeled_from=burn_in,
            accumulate=params.accumulate,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
            num_workers=params.data_worker,
        ),
        set_learning_rate=_learning_rate(config, optimizer, num_steps),
        evaluate=Validator(
            run,
            data.valid,
            load_truth(config.data.valid),
            make_card(config, data.train),
            fabric.device,
            config.inference.batch_size,
            fabric.global_rank,
        ),
        num_steps=num_steps,
        semi_from=burn_in,
        intervals=_intervals(config, num_steps),
        clip_norm=config.optimizer.clip_norm,
        seed=params.random_seed,
        checkpoint=run.checkpoint,
        loggers=None,
    )
    if resume:
        trainer.resume()
    if fabric.is_global_zero:
        trainer.loggers = _loggers(config, run, trainer.state.step)
    return trainer


def count_steps(config: Config, num_images: int) -> int:
    """Optimizer steps of the run."""
    return config.params.iterations or math.ceil(config.params.epoch * num_images / config.params.batch_size)


def count_burn_in(config: Config, num_steps: int) -> int:
    """Steps on labeled images alone."""
    if not config.soft_teacher.enabled:
        return num_steps
    asked = config.soft_teacher.burn_in_steps
    return min(num_steps // 5, _MAX_BURN_IN) if asked is None else asked


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
    lists = {"train": config.data.train, "valid": config.data.valid, "unlabeled": config.data.unlabeled}
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


def _batch_sizes(config: Config, world_size: int) -> tuple[int, int]:
    labeled = config.params.batch_size
    unlabeled = round(labeled * config.soft_teacher.unlabeled_ratio)
    parts = world_size * config.params.accumulate
    sizes = {"params.batch_size": labeled}
    if config.soft_teacher.enabled:
        sizes["params.batch_size * soft_teacher.unlabeled_ratio"] = unlabeled
    for key, size in sizes.items():
        if size < parts or size % parts:
            raise ConfigError(
                f"{key} = {size} can't be shared out over {world_size} processes x params.accumulate = "
                f"{config.params.accumulate}; it must be a multiple of {parts}"
            )
    return labeled, unlabeled


def _dataset(config: Config, index: Index) -> ImageDataset:
    canvas = stored_canvas(config.params.image_size)
    return ImageDataset(index.images, canvas, config.params.resize, int(config.data.cache_gb * 1e9))


def _augmenter(config: Config) -> Augmenter:
    params, semi = config.params, config.soft_teacher
    return Augmenter(
        labeled=Policy(params.flip, params.scale, colour=params.colour),
        weak=Policy(params.flip, semi.weak_scale),
        strong=Policy(
            params.flip, params.scale, semi.translate, semi.rotate, semi.shear, semi.strong_colour, semi.erase
        ),
        size=params.image_size,
        seed=params.random_seed,
    )


def _method(config: Config, student: Any, teacher: Teacher, fabric: Fabric, burn_in: int) -> Method:
    if not config.soft_teacher.enabled:
        return Supervised(student, teacher)
    semi = config.soft_teacher
    return SoftTeacher(
        student,
        teacher,
        score_threshold=semi.pseudo_cls_th,
        box_score_threshold=semi.pseudo_cls_th if semi.pseudo_box_th is None else semi.pseudo_box_th,
        background=semi.background,
        doubtful_threshold=semi.doubtful_th,
        box_reliability=semi.box_reliability,
        uncertainty_threshold=UncertaintyThreshold(semi.uncertainty_th),
        unsupervised_weight=semi.unsup_loss_weight,
        burn_in_steps=burn_in,
        ramp_steps=semi.ramp_steps,
        empty_image_weight=semi.empty_image_weight,
        autocast=fabric.autocast,
    )


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
    return Intervals(config.params.log_every, evaluate, config.params.checkpoint_every or evaluate)


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
