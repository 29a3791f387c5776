"""Does the teacher's box uncertainty tell how wrong a box is? Measured where the truth is known."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_iou

from softdet.data.datasets import ImageDataset, stack_images
from softdet.ops.distributed import gather_rows, world_size
from softdet.semi.labeling import Labeler
from softdet.semi.pseudo_labels import PseudoLabels
from softdet.structures import Targets

_FEWEST_BOXES = 10


def uncertainty_correlation(
    labeler: Labeler, images: ImageDataset, *, device: torch.device, batch_size: int, rank: int = 0
) -> float:
    """Spearman's rank correlation of the uncertainty of pseudo boxes with 1 - IoU.

    Above 0 a threshold on the uncertainty keeps the better boxes; around 0 it keeps any.

    Args:
        labeler: whose boxes; those above its score thresholds count.
        images: labeled ones that nobody was trained on, at the canvas itself.
        device: where to compute.
        batch_size: images per forward pass.
        rank: of this process; each looks at its share.

    Returns:
        In [-1, 1], the same on every rank; nan with fewer than ten boxes, or where all are equal.
    """
    rows = [torch.zeros(0, 2, device=device)]
    mine = range(rank, len(images), world_size())
    for start in range(0, len(mine), batch_size):
        samples = [images[index] for index in mine[start : start + batch_size]]
        views = stack_images(samples, device)
        readable = torch.tensor([sample.failure is None for sample in samples], device=device)
        seen = labeler.look(views, readable)
        for labels, verdict, sample in zip(seen, labeler.judge(seen), samples, strict=True):
            rows.append(_errors(labels, verdict.teaches_class, sample.targets.to(device)))
    uncertainty, error = gather_rows(torch.cat(rows)).cpu().double().numpy().T
    return spearman(uncertainty, error) if len(error) >= _FEWEST_BOXES else float("nan")


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The correlation of the ranks, ties at their mean rank; nan where either is constant."""
    one, other = _ranks(first), _ranks(second)
    if one.std() == 0 or other.std() == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def _errors(labels: PseudoLabels, kept: Tensor, targets: Targets) -> Tensor:
    """(N, 2): uncertainty and 1 - IoU with the nearest true box, of the boxes that are kept."""
    if len(targets) == 0 or not kept.any():
        return labels.instances.boxes.new_zeros(0, 2)
    iou = box_iou(labels.instances.boxes[kept], targets.boxes).amax(1)
    return torch.stack([labels.uncertainty[kept], 1 - iou], 1)
