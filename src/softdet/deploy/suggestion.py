"""Which unlabeled images to label next: those in which the detector is in doubt, each unlike the others.

Uncertainty and diversity together, as in Active Teacher (arXiv 2303.08348) and its forerunners; a box is in doubt where
its score is neither high nor low, and where the detector sees it differently in the mirror.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torchvision.ops import box_iou

from softdet.data.datasets import ImageDataset, Sample
from softdet.data.index import ImageRecord
from softdet.engine.detector import Detector
from softdet.models.postprocess import detect, on_cpu
from softdet.semi.far_images import image_features
from softdet.structures import Instances

# Below this nearly everything is background, and there is a lot of it.
_MIN_SCORE = 0.1
_DOUBTFUL = 0.5
_SHAKEN = 0.5
# A class with a ninth of the boxes of the mean class counts three times.
_MOST_RARITY = 3.0
# With less than half of the mean class's boxes.
_RARE = 2**0.5
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Look:
    """What a detector sees in an image.

    Attributes:
        path: the image.
        labels: (N,) of its detections.
        doubt: (N,) in [0, 1]: 1 - |2 score - 1|.
        shaken: (N,) in [0, 1]: the score, times 1 - IoU with the nearest box of its class in the mirrored image.
        feature: (C,) of the image, of length 1.
    """

    path: Path
    labels: Tensor
    doubt: Tensor
    shaken: Tensor
    feature: Tensor


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An image to label.

    Attributes:
        path: the image.
        value: what a label is expected to teach, for comparison within one list alone.
        doubtful: boxes in doubt by class.
        rare: those classes of which there are few labeled boxes.
        num_shaken: boxes that the mirrored image doesn't show.
        distance: cosine distance to the nearest image that is labeled or was suggested before.
    """

    path: Path
    value: float
    doubtful: Counter[int]
    rare: frozenset[int]
    num_shaken: int
    distance: float

    def reason(self, class_names: Sequence[str]) -> str:
        """Why it's suggested, for people."""
        parts = []
        if self.doubtful:
            named = [
                f"{class_names[label]} {count}{', few labeled' if label in self.rare else ''}"
                for label, count in self.doubtful.most_common(_MOST_NAMED)
            ]
            parts.append(f"{_boxes(self.doubtful.total())} in doubt ({'; '.join(named)})")
        if self.num_shaken:
            parts.append(f"{_boxes(self.num_shaken)} that its mirror image doesn't show")
        return "; ".join([*parts, f"{self.distance:.2f} from the nearest image known"])


def _boxes(number: int) -> str:
    return "1 box" if number == 1 else f"{number} boxes"


@torch.inference_mode()
def look_over(
    detector: Detector, records: Sequence[ImageRecord], *, device: torch.device, batch_size: int
) -> Iterator[Look | None]:
    """Look at images, and at their mirror images.

    Args:
        detector: in evaluation mode, on `device`.
        records: the images.
        device: where to compute.
        batch_size: images per forward pass.

    Yields:
        One for each image; None where it can't be read.
    """
    card, model = detector.card, detector.model
    dataset = ImageDataset(records, card.image_size, card.resize)
    for start in range(0, len(records), batch_size):
        chosen = range(start, min(start + batch_size, len(records)))
        samples = [dataset[place] for place in chosen]
        view = torch.stack([sample.image for sample in samples]).to(device).float() / 255
        content = torch.tensor([sample.content for sample in samples], device=device)
        features = image_features(model, view, content).cpu()
        seen, mirrored = (
            detect(
                model(images),
                card.image_size,
                score_threshold=_MIN_SCORE,
                iou_threshold=card.iou_threshold,
                top_k=card.top_k,
            )
            for images in (view, view.flip(3))
        )
        for place, sample, feature, found, other in zip(chosen, samples, features, seen, mirrored, strict=True):
            yield _look(records[place].path, sample, feature, on_cpu(found), on_cpu(other), card.image_size[1])


def _look(
    path: Path, sample: Sample, feature: Tensor, found: Instances, mirrored: Instances, width: int
) -> Look | None:
    if sample.failure is not None or not feature.isfinite().all():
        return None
    back = torch.stack(
        [width - mirrored.boxes[:, 2], mirrored.boxes[:, 1], width - mirrored.boxes[:, 0], mirrored.boxes[:, 3]], 1
    )
    same_class = found.labels[:, None] == mirrored.labels
    iou = torch.cat([box_iou(found.boxes, back) * same_class, torch.zeros(len(found), 1)], 1).amax(1)
    doubt = 1 - (2 * found.scores - 1).abs()
    return Look(path, found.labels, doubt, found.scores * (1 - iou), feature)


def suggest_images(
    looks: Sequence[Look], labeled: Tensor | None, num_boxes: Tensor, num_suggestions: int
) -> list[Suggestion]:
    """Choose images, each for what it holds beyond those before it.

    The value of an image is the doubt about its boxes, more for classes with few labeled boxes, times its distance to
    the nearest image that is labeled or already chosen.

    Args:
        looks: at the images to choose from.
        labeled: (L, C) features of the labeled images; None where there are none to compare with.
        num_boxes: (K,) labeled boxes of each class.
        num_suggestions: how many to choose.

    Returns:
        The best first; all of them where there are no more.
    """
    if not looks:
        return []
    counts = num_boxes.float().clamp(min=1)
    rarity = (counts.mean() / counts).sqrt().clamp(1 / _MOST_RARITY, _MOST_RARITY)
    doubt = torch.tensor([float((rarity[look.labels] * (look.doubt + look.shaken)).sum()) for look in looks])
    # Images in which nothing is seen at all still differ in how new they are.
    doubt = doubt + 1e-3
    features = torch.stack([look.feature for look in looks])
    distance = torch.ones(len(looks)) if labeled is None else (1 - features @ labeled.T).amin(1)
    is_open = torch.ones(len(looks), dtype=torch.bool)
    chosen = []
    for _ in range(min(num_suggestions, len(looks))):
        value = torch.where(is_open, doubt * distance.clamp(min=0), -1)
        best = int(value.argmax())
        look = looks[best]
        doubtful = Counter(look.labels[look.doubt >= _DOUBTFUL].tolist())
        num_shaken = int((look.shaken >= _SHAKEN).sum())
        rare = frozenset(label for label in doubtful if rarity[label] > _RARE)
        chosen.append(Suggestion(look.path, float(value[best]), doubtful, rare, num_shaken, float(distance[best])))
        is_open[best] = False
        distance = torch.minimum(distance, 1 - features @ features[best])
    return chosen
