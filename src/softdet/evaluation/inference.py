"""Inference over an index and its mAP; the same code inside training and in `softdet evaluate`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from softdet.data.datasets import ImageDataset, Sample, stack_images
from softdet.data.images import MAX_UNREADABLE
from softdet.data.index import ImageRecord, Index
from softdet.errors import DataError
from softdet.evaluation.detector import DetectorCard
from softdet.models.postprocess import detect, on_cpu
from softdet.ops.distributed import gather_lists, world_size
from softdet.structures import Instances


def infer(
    model: nn.Module, card: DetectorCard, records: Sequence[ImageRecord], *, device: torch.device, batch_size: int
) -> Iterator[tuple[ImageRecord, Instances]]:
    """Detect in images.

    Args:
        model: in evaluation mode, on `device`.
        card: preprocessing and thresholds.
        records: the images.
        device: where to compute.
        batch_size: images per forward pass.

    Yields:
        Each image that can be read with its detections, in pixels of the upright image itself.

    Raises:
        DataError: more than 5% of the images can't be read, and more than one.
    """
    failures: list[str] = []
    yield from _infer(model, card, records, failures, device=device, batch_size=batch_size)
    check_failures(failures, len(records))


@torch.inference_mode()
def _infer(
    model: nn.Module,
    card: DetectorCard,
    records: Sequence[ImageRecord],
    failures: list[str],
    *,
    device: torch.device,
    batch_size: int,
) -> Iterator[tuple[ImageRecord, Instances]]:
    """See `infer`; a line for each image that can't be read is put on the list of failures."""
    dataset = ImageDataset(records, card.image_size, card.resize)
    for start in range(0, len(records), batch_size):
        chosen = range(start, min(start + batch_size, len(records)))
        samples = [dataset[index] for index in chosen]
        found = detect_samples(model, card, samples, device=device)
        for index, sample, instances in zip(chosen, samples, found, strict=True):
            if sample.failure is None:
                yield records[index], instances
            else:
                failures.append(sample.failure)


@torch.inference_mode()
def detect_samples(
    model: nn.Module, card: DetectorCard, samples: Sequence[Sample], *, device: torch.device
) -> list[Instances]:
    """Detect in one batch of stored images; gives each one's detections in pixels of the upright image itself."""
    images = stack_images(samples, device)
    found = detect(
        model(images),
        card.image_size,
        score_threshold=card.score_threshold,
        iou_threshold=card.iou_threshold,
        top_k=card.top_k,
    )
    return [_in_own_pixels(on_cpu(each), sample) for each, sample in zip(found, samples, strict=True)]


def check_failures(failures: Sequence[str], num_images: int, *, says: bool = True) -> None:
    """Say which images were skipped, and stop where they are too many to go on with.

    Args:
        failures: a line for each.
        num_images: of the list.
        says: whether to warn of a few.

    Raises:
        DataError: more than 5% of the images can't be read, and more than one; or all.
    """
    if not failures:
        return
    found = f"{len(failures)} of {num_images} images can't be read"
    listed = "\n  ".join(failures[:5])
    if len(failures) == num_images or len(failures) > max(1, MAX_UNREADABLE * num_images):
        raise DataError(f"{found}, more than {MAX_UNREADABLE:.0%}. The first:\n  {listed}")
    if says:
        warnings.warn(f"{found} and are skipped. The first:\n  {listed}", RuntimeWarning, stacklevel=2)


def to_coco(record: ImageRecord, instances: Instances, class_ids: Sequence[int | None]) -> list[dict[str, Any]]:
    """Write detections as COCO results, `bbox` as [x, y, width, height].

    Args:
        record: the image.
        instances: in its pixels.
        class_ids: the user's id of each label; detections of a class without one are left out.
    """
    sides = instances.boxes[:, 2:] - instances.boxes[:, :2]
    boxes = torch.cat([instances.boxes[:, :2], sides], 1).tolist()
    return [
        {
            "image_id": record.id,
            "category_id": class_ids[label],
            "bbox": [round(value, 3) for value in box],
            "score": round(score, 6),
        }
        for box, label, score in zip(boxes, instances.labels.tolist(), instances.scores.tolist(), strict=True)
        if class_ids[label] is not None
    ]


def detections_over(
    model: nn.Module, card: DetectorCard, index: Index, *, device: torch.device, batch_size: int, rank: int = 0
) -> list[dict[str, Any]]:
    """Detect in all images of an index, each rank in its share of them.

    Returns:
        COCO results with the index's own category ids, on every rank the same list: by image in the order of the index.

    Raises:
        DataError: on every rank, where more than 5% of the images can't be read, and more than one.
    """
    places = range(rank, len(index), world_size())
    place_of = {index.images[place].id: place for place in places}
    records, failures = [index.images[place] for place in places], list[str]()
    own = [
        (place_of[record.id], to_coco(record, instances, index.category_ids))
        for record, instances in _infer(model, card, records, failures, device=device, batch_size=batch_size)
    ]
    # Of all together: a rank that gives up on its own share would leave the others waiting for it.
    check_failures(gather_lists(failures), len(index), says=rank == 0)
    found = dict(gather_lists(own))
    return [entry for place in sorted(found) for entry in found[place]]


def describe_metrics(metrics: dict[str, Any], title: str) -> str:
    """A line for people: mAP in percent."""
    return (
        f"{title}: mAP {100 * metrics['AP']:.1f}, AP50 {100 * metrics['AP50']:.1f}, AP75 {100 * metrics['AP75']:.1f} "
        f"({metrics['num_images']} images, {metrics['num_boxes']} boxes)"
    )


def _in_own_pixels(instances: Instances, sample: Sample) -> Instances:
    factor_x, factor_y = sample.scale
    factors = torch.tensor([factor_x, factor_y, factor_x, factor_y])
    boxes: Tensor = clip_boxes_to_image(instances.boxes / factors, own_size(sample))
    has_area = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return Instances(boxes[has_area], instances.labels[has_area], instances.scores[has_area])


def own_size(sample: Sample) -> tuple[int, int]:
    """Rows and columns of the upright image that a sample was made of."""
    factor_x, factor_y = sample.scale
    return round(sample.content[0] / factor_y), round(sample.content[1] / factor_x)


def device_for(using: bool, gpu_id: int = 0) -> torch.device:
    """CUDA, else Apple's MPS, else the CPU; the CPU where no accelerator is wanted."""
    if using and torch.cuda.is_available():
        # A run may be evaluated on a machine with fewer GPUs than it was trained on.
        return torch.device("cuda", gpu_id if gpu_id < torch.cuda.device_count() else 0)
    if using and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
