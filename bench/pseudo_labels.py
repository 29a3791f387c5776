"""How good are a run's pseudo-labels? Its last weights look at unlabeled images of which the truth is known.

    python bench/pseudo_labels.py RUN data/raccoon/train.json data/raccoon/unlabeled_10_fold1.json

Prints what is found above two scores, how far a score keeps its word, and how well each sign of a good place tells:
Spearman's rank correlation with 1 - IoU over the boxes above .5, and how good the half is that it trusts most.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from softdet.data.datasets import ImageDataset, Sample
from softdet.data.index_reading import load_labeled, load_unlabeled
from softdet.errors import DataError, SoftdetError
from softdet.evaluation.detector import Detector, load_detector
from softdet.evaluation.run import RunFolder
from softdet.evaluation.uncertainty import spearman
from softdet.models.postprocess import candidates, suppress
from softdet.semi.labeling import MIN_SCORE, NMS_IOU, TOP_K
from softdet.semi.reliability import anchor_uncertainty, cluster_uncertainty

ON_OBJECT, GOOD = 0.4, 0.75
BANDS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
# The columns of `look`: what tells a good place, each the lower the better, then what is to be told.
SIGNS = ("cluster", "anchors", "flip", "score")
IOU, RIGHT = -2, -1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("truth", type=Path, help="COCO JSON with the true boxes of the unlabeled images")
    parser.add_argument("unlabeled", type=Path, help="which images they are")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        detector = load_detector(RunFolder(options.run).last)
        truth = load_labeled(options.truth, detector.card.class_names)
        paths = {record.path.resolve() for record in load_unlabeled(options.unlabeled).images}
        records = [record for record in truth.images if record.path.resolve() in paths]
        num_objects = sum(len(record.boxes) for record in records)
        if num_objects == 0:
            raise DataError(f"{options.truth} has no box in an image of {options.unlabeled}. Are they of the same set?")
    except SoftdetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    images = ImageDataset(records, detector.card.image_size, detector.card.resize)
    rows = np.concatenate([look(detector, sample) for sample in map(images.__getitem__, range(len(images)))])
    print(what_is_found(rows, num_objects))
    print(what_scores_mean(rows))
    print(what_tells_places(rows))
    return 0


@torch.no_grad()
def look(detector: Detector, sample: Sample) -> NDArray[np.float64]:
    """(N, 6): of each pseudo box its four signs, its IoU with the nearest true box, and whether the class is right."""
    view = sample.image[None].float() / 255
    size = (view.shape[-2], view.shape[-1])
    model = detector.model.eval()
    output, mirrored = model(view), model(view.flip(-1))
    before = candidates(output, size, score_threshold=MIN_SCORE, top_k=TOP_K)[0]
    found = suppress(before, NMS_IOU)
    again = candidates(mirrored, size, score_threshold=MIN_SCORE, top_k=TOP_K)[0].boxes
    again = torch.stack([size[1] - again[:, 2], again[:, 1], size[1] - again[:, 0], again[:, 3]], 1)
    # A box without area overlaps nothing, so that there is a nearest one where nothing was labeled or found again.
    nowhere, no_class = torch.zeros(1, 4), torch.tensor([-1])
    iou, nearest = box_iou(found.boxes, torch.cat([sample.targets.boxes, nowhere])).max(1)
    signs = (
        cluster_uncertainty(found, before),
        anchor_uncertainty(found, output, 0),
        1 - box_iou(found.boxes, torch.cat([again, nowhere])).amax(1),
        1 - found.scores,
    )
    right = torch.cat([sample.targets.labels, no_class])[nearest] == found.labels
    return torch.stack([*signs, iou, right.float()], 1).double().numpy()


def what_is_found(rows: NDArray[np.float64], num_objects: int) -> str:
    """A line for each of two scores."""
    lines = []
    for score in (0.5, 0.9):
        kept = above(rows, score)
        lines.append(f"above {score}: {len(kept) / num_objects:.2f} boxes an object, {places(kept)}, {classes(kept)}")
    return "\n".join(lines)


def what_scores_mean(rows: NDArray[np.float64]) -> str:
    """A line for each band of scores: a score that keeps its word is the share of boxes that are right."""
    scores = 1 - rows[:, SIGNS.index("score")]
    lines = ["scores, and how many of the boxes are on an object of their class:"]
    for low, high in pairwise(BANDS):
        band = rows[(scores > low) & (scores <= high)]
        right = (band[:, IOU] > ON_OBJECT) & (band[:, RIGHT] == 1)
        score = 1 - band[:, SIGNS.index("score")]
        lines.append(f"  {low} to {high}: {len(band)} boxes, mean score {_mean(score)}, {_mean(right)} right")
    return "\n".join(lines)


def what_tells_places(rows: NDArray[np.float64]) -> str:
    """A line for each sign."""
    rows = above(rows, 0.5)
    lines = [f"{len(rows)} boxes above 0.5: {places(rows)}"]
    for column, sign in enumerate(SIGNS):
        order = np.argsort(rows[:, column], kind="stable")
        told = spearman(rows[:, column], 1 - rows[:, IOU]) if len(rows) else float("nan")
        lines.append(f"  {sign:8} correlation {told:+.2f}; its better half: {places(rows[order[: len(rows) // 2]])}")
    return "\n".join(lines)


def above(rows: NDArray[np.float64], score: float) -> NDArray[np.float64]:
    """Those with a higher score."""
    return rows[1 - rows[:, SIGNS.index("score")] > score]


def places(rows: NDArray[np.float64]) -> str:
    """How many boxes lie on an object (IoU .4), and how well these fit it."""
    iou = rows[rows[:, IOU] > ON_OBJECT, IOU]
    return f"{_mean(rows[:, IOU] > ON_OBJECT)} on one with mean IoU {_mean(iou)}, {_mean(iou > GOOD)} above {GOOD}"


def classes(rows: NDArray[np.float64]) -> str:
    """How many of the boxes on an object have its class."""
    return f"{_mean(rows[rows[:, IOU] > ON_OBJECT, RIGHT])} of these of its class"


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> str:
    return f"{values.mean():.3f}" if len(values) else "-"


if __name__ == "__main__":
    sys.exit(main())
