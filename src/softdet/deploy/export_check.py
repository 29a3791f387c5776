"""Does an exported file say what the detector says? Both are run on the same canvases, in batches of 1, 3 and 8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from softdet.data.datasets import ImageDataset
from softdet.data.index import ImageRecord
from softdet.deploy.export_files import DENSE_OUTPUTS, DETECTION_OUTPUTS, Runner, outputs_of
from softdet.deploy.export_graph import DenseGraph
from softdet.evaluation.detector import Detector, DetectorCard
from softdet.models.postprocess import detect
from softdet.structures import Instances

BATCHES = (1, 3, 8)
MOST_BOX_DIFFERENCE = 0.1
MOST_SCORE_DIFFERENCE = 1e-4
# Two boxes that overlap by exactly the threshold are one box or two, as the last digit of their places has it.
_TIE = 1e-4


@dataclass(frozen=True, slots=True)
class Parity:
    """How far an exported file is from its detector.

    Attributes:
        num_images: looked at.
        num_boxes: compared: detections, or every anchor's box where the file has no suppression.
        box_difference: the largest between a box and its own in the file, in pixels of the canvas.
        score_difference: likewise.
        num_lost: detections that the file lacks.
        num_invented: those that it has and the detector hasn't.
    """

    num_images: int
    num_boxes: int
    box_difference: float
    score_difference: float
    num_lost: int = 0
    num_invented: int = 0

    @property
    def holds(self) -> bool:
        """Whether the file may take the detector's place."""
        near = self.box_difference < MOST_BOX_DIFFERENCE and self.score_difference < MOST_SCORE_DIFFERENCE
        return near and not (self.num_lost or self.num_invented)


def canvases_of(records: Sequence[ImageRecord], card: DetectorCard) -> NDArray[np.uint8]:
    """Read as many images as the batches take, evenly spread over a list; (n, H, W, 3), empty if none can be read."""
    places = np.linspace(0, len(records) - 1, min(len(records), sum(BATCHES))).round().astype(int).tolist()
    dataset = ImageDataset([records[place] for place in places], card.image_size, card.resize)
    samples = [dataset[number] for number in range(len(dataset))]
    images = [sample.image.permute(1, 2, 0).numpy() for sample in samples if sample.failure is None]
    return np.array(images, np.uint8).reshape(-1, *card.image_size, 3)


def patterns(card: DetectorCard) -> NDArray[np.uint8]:
    """Blotches of random colours, for want of images."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(sum(BATCHES), 3, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=card.image_size, mode="bicubic").clamp(0, 1)
    return (smooth * 255).byte().permute(0, 2, 3, 1).numpy()


@torch.inference_mode()
def check_parity(detector: Detector, runner: Runner, canvases: NDArray[np.uint8], *, with_nms: bool) -> Parity:
    """Run the detector and its exported file on the same images.

    Args:
        detector: on the CPU, in evaluation mode.
        runner: the file.
        canvases: (n, H, W, 3), at least one; taken again from the start where the batches need more.
        with_nms: whether the file gives detections.
    """
    order = np.arange(sum(BATCHES)) % len(canvases)
    parts = [canvases[chosen] for chosen in np.split(order, np.cumsum(BATCHES)[:-1])]
    compare = _compare_detections if with_nms else _compare_dense
    # And one where likely nothing is found: programs have been seen to fail on that alone.
    parts.append(np.full_like(canvases[:1], 128))
    found = [compare(detector, runner, part) for part in parts]
    return Parity(
        num_images=min(len(canvases), sum(BATCHES)),
        num_boxes=sum(each.num_boxes for each in found),
        # NumPy's, since a number that isn't one must not get lost.
        box_difference=float(np.max([each.box_difference for each in found])),
        score_difference=float(np.max([each.score_difference for each in found])),
        num_lost=sum(each.num_lost for each in found),
        num_invented=sum(each.num_invented for each in found),
    )


def _compare_dense(detector: Detector, runner: Runner, images: NDArray[np.uint8]) -> Parity:
    boxes, scores = (output.numpy() for output in DenseGraph(detector)(torch.from_numpy(images)))
    found = outputs_of(runner, images, DENSE_OUTPUTS)
    differences = _largest(boxes - found["boxes"]), _largest(scores - found["scores"])
    return Parity(len(images), boxes.shape[0] * boxes.shape[1], *differences)


def _compare_detections(detector: Detector, runner: Runner, images: NDArray[np.uint8]) -> Parity:
    found = outputs_of(runner, images, DETECTION_OUTPUTS)
    looser, exact, stricter = (_detect(detector, images, by) for by in (_TIE, 0.0, -_TIE))
    differences, num_lost, num_invented = [(0.0, 0.0)], 0, 0
    for place in range(len(images)):
        rows = found["image_index"] == place
        own = Instances(*(torch.from_numpy(found[name][rows]) for name in ("boxes", "labels", "scores")))
        # What stays whichever way the ties fall must be there, and nothing beside what may be there.
        sure = exact[place][_among(exact[place], looser[place]) & _among(exact[place], stricter[place])]
        invented = ~(_among(own, exact[place]) | _among(own, looser[place]) | _among(own, stricter[place]))
        num_lost += int((~_among(sure, own)).sum())
        num_invented += int(invented.sum())
        differences += _to_nearest(sure, own)
    box_difference, score_difference = np.max(differences, axis=0).tolist()
    num_boxes = sum(len(each) for each in exact)
    return Parity(len(images), num_boxes, box_difference, score_difference, num_lost, num_invented)


def _detect(detector: Detector, images: NDArray[np.uint8], by: float) -> list[Instances]:
    card = detector.card
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return detect(
        detector.model(pixels),
        card.image_size,
        score_threshold=card.score_threshold - by,
        iou_threshold=card.iou_threshold + by,
        top_k=card.top_k,
    )


def _among(these: Instances, those: Instances) -> torch.Tensor:
    """Which of these stand among those, within the tolerance; (N,) bool."""
    boxes, scores = _distances(these, those)
    return ((boxes < MOST_BOX_DIFFERENCE) & (scores < MOST_SCORE_DIFFERENCE)).any(1)


def _to_nearest(these: Instances, those: Instances) -> list[tuple[float, float]]:
    """The differences in box and score between each of these and the nearest of those, where there is one."""
    boxes, scores = _distances(these, those)
    if not len(those):
        return []
    nearest = boxes.argmin(1, keepdim=True)
    pairs = zip(boxes.gather(1, nearest).flatten().tolist(), scores.gather(1, nearest).flatten().tolist(), strict=True)
    return [pair for pair in pairs if pair[0] < float("inf")]


def _distances(these: Instances, those: Instances) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest difference of a coordinate, infinite between classes, and that of the scores; (N, M) each."""
    boxes = (these.boxes[:, None] - those.boxes[None]).abs().amax(2)
    boxes[these.labels[:, None] != those.labels[None]] = float("inf")
    return boxes, (these.scores[:, None] - those.scores[None]).abs()


def _largest(differences: NDArray[Any]) -> float:
    return float(np.abs(differences).max(initial=0.0))
