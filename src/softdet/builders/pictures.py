"""From a config to what a run shows of itself while it trains; nothing of the training depends on it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import nn

from softdet.config import Config
from softdet.data.index import Index
from softdet.evaluation.batch_picture import picture_batch
from softdet.evaluation.detector import DetectorCard
from softdet.evaluation.gallery import Gallery, choose_images
from softdet.evaluation.run import RunFolder
from softdet.semi.labeling import Labeler
from softdet.structures import AugmentedBatch, TrainBatch


def make_show(
    config: Config,
    unlabeled: Index | None,
    card: DetectorCard,
    labeler: Labeler | None,
    batches: Callable[[range], Iterator[list[TrainBatch]]],
    augment: Callable[[TrainBatch], AugmentedBatch],
    device: torch.device,
) -> Callable[[nn.Module, int], None]:
    """What rank 0 calls at each evaluation with the student and the steps behind it.

    It draws the last batch as the student saw it, and adds a line to the gallery. Where that fails, it warns once and
    does nothing from then on: a full disk or a picture that can't be read must not end a run.

    Args:
        config: of the run.
        unlabeled: images, if there are any.
        card: of the run's detectors.
        labeler: of a run with unlabeled images.
        batches: from a range of steps to micro-batches, loaded in this process.
        augment: from stored images to views.
        device: of the models.
    """
    run, count = RunFolder(config.model.exp_path), config.params.gallery_images
    gallery: Gallery | None = None
    if labeler is not None and unlabeled is not None and count:
        gallery = Gallery(
            labeler,
            choose_images(unlabeled.images, count, config.params.random_seed),
            card,
            class_targets=config.soft_teacher.class_targets,
            teaches_places=config.soft_teacher.rotate == config.soft_teacher.shear == 0,
            file=run.gallery,
            thumbnails=run.thumbnails,
            device=device,
            batch_size=config.inference.batch_size,
        )
    has_failed = False

    def show(student: nn.Module, step: int) -> None:
        nonlocal has_failed
        if has_failed:
            return
        try:
            picture = run.pictures / "train_batch.jpg"
            picture_batch(picture, batches, augment, labeler, card.class_names, step=max(step - 1, 0), device=device)
            if gallery is not None:
                gallery.look(student, step)
        except Exception as error:  # whatever it is, the training is worth more
            has_failed = True
            message = f"pictures and gallery can't be written ({type(error).__name__}: {error}); going on without them"
            warnings.warn(message, RuntimeWarning, stacklevel=2)

    return show
