"""A training batch as the student sees it: labeled views with their boxes, strong views with their pseudo boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from softdet.report.drawing import draw_boxes
from softdet.report.sheets import SIDE, save_sheet, titled_rows
from softdet.semi.labeling import Labeler
from softdet.structures import AugmentedBatch, Targets, TrainBatch

_MOST_IMAGES = 6


@torch.no_grad()
def picture_batch(
    path: Path,
    batches: Callable[[range], Iterator[list[TrainBatch]]],
    augment: Callable[[TrainBatch], AugmentedBatch],
    labeler: Labeler | None,
    class_names: Sequence[str],
    *,
    step: int,
    device: torch.device,
) -> None:
    """Draw the first micro-batch of a step, whole, as the run has seen it but for the teacher, which is that of now.

    Args:
        path: of the JPEG.
        batches: from a range of steps to micro-batches.
        augment: from stored images to views.
        labeler: of a run with unlabeled images; None for one without.
        class_names: by label.
        step: counted from 0.
        device: of the teacher.
    """
    views = augment(next(batches(range(step, step + 1)))[0].to(device))
    rows = [
        (f"step {step + 1}: labeled, with the true boxes", _drawn(views.labeled.images, views.targets, class_names))
    ]
    if labeler is not None and views.strong is not None:
        lesson = labeler.prepare(views, labeler.label(views))
        assert lesson is not None, "there are unlabeled views"
        title = "unlabeled, strong views with the boxes whose class is taught, the true ones of what is mixed in too"
        rows.append((title, _drawn(lesson.images, lesson.targets, class_names)))
    save_sheet(path, titled_rows(rows))


def _drawn(images: Tensor, targets: Sequence[Targets], class_names: Sequence[str]) -> list[Image.Image]:
    pictures = []
    for pixels, target in list(zip(images, targets, strict=True))[:_MOST_IMAGES]:
        array = (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        picture = Image.fromarray(array)
        factor = SIDE / max(picture.size)
        larger = picture.resize((round(picture.width * factor), round(picture.height * factor)))
        pictures.append(draw_boxes(larger, (target.boxes * factor).tolist(), target.labels.tolist(), class_names))
    return pictures
