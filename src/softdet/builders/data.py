"""From a config to images: the lists, what comes when, and what is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Protocol

from lightning_fabric import Fabric

from softdet.config import Config
from softdet.data.augment import Augmenter, Policy
from softdet.data.checks import require_disjoint
from softdet.data.datasets import ImageDataset, stored_canvas
from softdet.data.index import ImageRecord, Index
from softdet.data.index_reading import load_labeled, load_unlabeled, read_class_names
from softdet.data.loaders import train_batches
from softdet.data.rare_classes import repeat_factors
from softdet.engine.unlabeled_pool import UnlabeledPool
from softdet.errors import ConfigError, DataError
from softdet.evaluation.run import RunFolder
from softdet.structures import TrainBatch

# Among so many images a few are looked for that can be read.
_LOOKED_AT = 64


class Batches(Protocol):
    """From a range of steps to this rank's micro-batches, in the run's loader processes or as many as are named."""

    def __call__(self, steps: range, *, num_workers: int = ...) -> Iterator[list[TrainBatch]]:
        """Serve these steps."""


@dataclass(frozen=True, slots=True)
class Data:
    """The lists of images, with one numbering of the classes."""

    train: Index
    valid: Index
    unlabeled: Index | None
    test: Index | None = None


def load_data(config: Config) -> Data:
    """Read the lists that the config names, and check them against each other."""
    names = read_class_names(config.params.classes) if config.params.classes else None
    root = config.data.root
    train = load_labeled(config.data.train, names, root)
    if not _has_boxes(train):
        reasons = [
            *train.dropped.items(),
            ("marked to be ignored", sum(len(record.ignored) for record in train.images)),
        ]
        left_out = ", ".join(f"{count} {reason}" for reason, count in reasons if count)
        raise DataError(
            f"data.train ({train.source}) has {len(train)} images and not one box to learn from"
            + (f"; left out were boxes: {left_out}" if left_out else "")
            + ". Is it the right file, and was it exported with its boxes ([x, y, width, height] in pixels)?"
        )
    valid = load_valid(config, train.class_names)
    require_disjoint(valid, train, "data.train")
    test = load_test(config, train.class_names) if config.data.test else None
    if test is not None:
        require_disjoint(test, train, "data.train", "data.test")
        require_disjoint(test, valid, "data.valid", "data.test")
    if not config.soft_teacher.enabled:
        return Data(train, valid, None, test)
    if config.data.unlabeled is None:
        raise ConfigError(
            "data.unlabeled is missing: Soft Teacher learns from unlabeled images, a folder of them will do. "
            "To train on the labeled ones alone, add --supervised."
        )
    unlabeled = load_unlabeled(config.data.unlabeled, root)
    require_disjoint(valid, unlabeled, "data.unlabeled")
    if test is not None:
        require_disjoint(test, unlabeled, "data.unlabeled", "data.test")
    return Data(train, valid, unlabeled, test)


def load_valid(config: Config, class_names: Sequence[str]) -> Index:
    """Read the validation list alone, with the classes of a detector.

    Raises:
        DataError: it has no box, or as `load_labeled`.
    """
    return _with_boxes("data.valid", load_labeled(config.data.valid, class_names, config.data.root))


def load_test(config: Config, class_names: Sequence[str]) -> Index:
    """Read the test list alone, with the classes of a detector.

    Raises:
        ConfigError: the config names none.
        DataError: it has no box, or as `load_labeled`.
    """
    if config.data.test is None:
        raise ConfigError("data.test is missing: no list of test images is named. Leave out --split test.")
    return _with_boxes("data.test", load_labeled(config.data.test, class_names, config.data.root))


def make_batches(
    config: Config, data: Data, fabric: Fabric, unlabeled_from: int
) -> tuple[Batches, UnlabeledPool | None]:
    """From a range of steps to this rank's micro-batches, and who knows which unlabeled images serve.

    Args:
        config: of the run.
        data: from `load_data`.
        fabric: launched.
        unlabeled_from: the first step that asks for unlabeled images.

    Raises:
        ConfigError: as `batch_sizes`.
    """
    batch_size, unlabeled_batch_size = batch_sizes(config, fabric.world_size)
    rooms = cache_rooms(config, len(data.train))
    labeled = ImageDataset(data.train.images, stored_canvas(config.params.image_size), config.params.resize, rooms[0])
    unlabeled = _unlabeled_dataset(config, data, rooms[1])
    pool = _pool(config, data, fabric, labeled, unlabeled)
    power = config.params.repeat_rare
    batches = partial(
        train_batches,
        labeled,
        unlabeled,
        seed=config.params.random_seed,
        batch_size=batch_size,
        unlabeled_batch_size=unlabeled_batch_size,
        unlabeled_from=unlabeled_from,
        accumulate=config.params.accumulate,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        num_workers=config.params.data_worker,
        weights=repeat_factors([record.labels for record in data.train.images], power) if power else None,
    )
    return (partial(batches, serving=pool.serving), pool) if pool else (batches, None)


def batch_sizes(config: Config, world_size: int) -> tuple[int, int]:
    """Labeled and unlabeled images per optimizer step, over all processes.

    Raises:
        ConfigError: they can't be shared out over the processes and micro-batches.
    """
    labeled = config.params.batch_size
    unlabeled = round(labeled * config.soft_teacher.unlabeled_ratio)
    accumulate = config.params.accumulate
    parts = world_size * accumulate
    sizes = {"params.batch_size": labeled}
    if config.soft_teacher.enabled:
        sizes["params.batch_size * soft_teacher.unlabeled_ratio"] = unlabeled
    for key, size in sizes.items():
        if size < parts or size % parts:
            raise ConfigError(
                f"{key} = {size} can't be shared out over {world_size} processes x params.accumulate = "
                f"{accumulate}; it must be a multiple of {parts}"
            )
    return labeled, unlabeled


def require_pairs(config: Config, world_size: int) -> None:
    """Make sure that labeled images that are to be mixed have the image beside them in their micro-batch.

    Raises:
        ConfigError: they don't, and would silently stay as they are.
    """
    labeled, accumulate = config.params.batch_size, config.params.accumulate
    parts = world_size * accumulate
    if parts > 1 and (labeled // parts) % 2 and (config.params.mixup or config.params.paste):
        raise ConfigError(
            f"params.batch_size = {labeled} over {world_size} processes x params.accumulate = {accumulate} is "
            f"{labeled // parts} at once, and labeled images are mixed and pasted in pairs. Take a multiple of "
            f"{2 * parts}, or params.mixup=0 and params.paste=0."
        )


def make_augmenter(config: Config) -> Augmenter:
    """From stored images to views."""
    params, semi = config.params, config.soft_teacher
    return Augmenter(
        labeled=Policy(
            params.flip,
            params.scale,
            colour=params.colour,
            mixup=params.mixup,
            paste=params.paste,
            quarter_turn=params.quarter_turn,
        ),
        weak=Policy(params.flip, semi.weak_scale),
        strong=Policy(
            params.flip,
            params.scale,
            semi.translate,
            semi.rotate,
            semi.shear,
            semi.strong_colour,
            semi.erase,
            paste=semi.paste,
            quarter_turn=params.quarter_turn,
        ),
        size=params.image_size,
        seed=params.random_seed,
    )


def _with_boxes(key: str, index: Index) -> Index:
    if not _has_boxes(index):
        raise DataError(
            f"{key} ({index.source}) has {len(index)} images and not one box to score against. Is it the right file, "
            "and was it exported with its boxes?"
        )
    return index


def _has_boxes(index: Index) -> bool:
    return any(len(record.labels) for record in index.images)


def cache_rooms(config: Config, num_labeled: int) -> tuple[int, int]:
    """How many decoded images of the labeled and of the unlabeled list a process may keep, `data.cache_gb` in all.

    Loader processes hold images of one list each. Without them the labeled ones come first, which are fewer as a rule.
    """
    rows, columns = stored_canvas(config.params.image_size)
    room = int(config.data.cache_gb * 1e9) // (3 * rows * columns)
    of_labeled = min(room, num_labeled)
    return of_labeled, room if config.params.data_worker else room - of_labeled


def some_readable(index: Index, count: int) -> Index:
    """A few images that can be read, to try things on: a bad one among a few would count for more than among all."""
    tried = ImageDataset(index.images[:_LOOKED_AT], (32, 32), "letterbox")
    good = (record for number, record in enumerate(index.images[:_LOOKED_AT]) if tried[number].failure is None)
    return replace(index, images=tuple(islice(good, count)) or index.images[:count])


def _unlabeled_dataset(config: Config, data: Data, num_cached: int) -> ImageDataset | None:
    if data.unlabeled is None:
        return None
    # Behind the others, so that these keep their places in the order of a seed and in the pool.
    too = data.train.images if config.soft_teacher.labeled_too else ()
    records = [*data.unlabeled.images, *(ImageRecord.plain(r.id, r.path, r.size) for r in too)]
    return ImageDataset(records, stored_canvas(config.params.image_size), config.params.resize, num_cached)


def _pool(
    config: Config, data: Data, fabric: Fabric, labeled: ImageDataset, unlabeled: ImageDataset | None
) -> UnlabeledPool | None:
    action = config.soft_teacher.far_images
    if data.unlabeled is None or unlabeled is None or action == "keep":
        return None
    return UnlabeledPool(
        labeled,
        unlabeled,
        num_unlabeled=len(data.unlabeled),
        action=action,
        size=config.params.image_size,
        file=RunFolder(config.model.exp_path).far_images,
        seed=config.params.random_seed,
        batch_size=config.inference.batch_size,
        num_workers=config.params.data_worker,
        device=fabric.device,
        rank=fabric.global_rank,
        autocast=fabric.autocast,
    )
