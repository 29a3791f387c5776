"""The gallery: what teacher and student see in the same unlabeled images, at every evaluation, as numbers in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from softdet.data.datasets import ImageDataset, Sample, stack_images
from softdet.data.images import read_image
from softdet.data.index import ImageRecord
from softdet.errors import DataError
from softdet.evaluation.detector import DetectorCard
from softdet.evaluation.inference import detect_samples, own_size
from softdet.files import whole_file
from softdet.report.looks import Fate, Look, Seen, Watched, append_look, drop_looks_after
from softdet.report.thumbnails import shrunk
from softdet.semi.labeling import Labeler
from softdet.semi.pseudo_labels import PseudoLabels
from softdet.structures import Instances

_GALLERY = 24  # keeps this draw apart from the others of a seed
_SIDE = 320
# Of each image; a box further down the list is hardly ever taught.
_MOST_BOXES = 40


def choose_images(records: Sequence[ImageRecord], count: int, seed: int) -> list[ImageRecord]:
    """Draw so many of the unlabeled images; all of them where there are fewer."""
    rng = np.random.default_rng([seed, _GALLERY])
    chosen = sorted(rng.choice(len(records), min(count, len(records)), replace=False).tolist())
    return [records[place] for place in chosen]


class Gallery:
    """Looks at the same images again and again; writes nothing before the first look.

    Nothing of the run depends on it: it draws nothing at random while it looks, and the thresholds don't follow what
    it sees.

    Args:
        labeler: whose teacher looks.
        records: the images; those that can't be read are passed over.
        card: how the student's boxes are found.
        class_targets: what is taught of a class, as the config calls it.
        teaches_places: whether boxes teach their place; turned ones don't.
        file: where each look becomes a line.
        thumbnails: folder of small copies of the images.
        device: where to compute.
        batch_size: images per forward pass.
    """

    def __init__(
        self,
        labeler: Labeler,
        records: Sequence[ImageRecord],
        card: DetectorCard,
        *,
        class_targets: str,
        teaches_places: bool,
        file: Path,
        thumbnails: Path,
        device: torch.device,
        batch_size: int,
    ) -> None:
        self.labeler = labeler
        self.card = card
        self.class_targets = class_targets
        self.teaches_places = teaches_places
        self.file = file
        self.device = device
        self.batch_size = batch_size
        self.records = list(records)
        self.thumbnails = thumbnails
        self._names: dict[Path, str] | None = None

    def look(self, student: nn.Module, step: int) -> None:
        """Add a line.

        Args:
            student: in evaluation mode, on the device.
            step: optimizer steps behind it.
        """
        if self._names is None:
            # What a resumed run has seen from here on it sees again.
            drop_looks_after(self.file, step - 1)
            named = [(r, _keep_thumbnail(r, self.thumbnails, number)) for number, r in enumerate(self.records, 1)]
            self._names = {record.path: name for record, name in named if name}
            self.records = [record for record, name in named if name]
        images = ImageDataset(self.records, self.card.image_size, self.card.resize)
        watched = []
        for start in range(0, len(images), self.batch_size):
            places = range(start, min(start + self.batch_size, len(images)))
            samples = [images[place] for place in places]
            views = stack_images(samples, self.device)
            readable = torch.tensor([sample.failure is None for sample in samples], device=self.device)
            labels = self.labeler.look(views, readable)
            seen = detect_samples(student, self.card, samples, device=self.device)
            for place, sample, of_teacher, of_student in zip(places, samples, labels, seen, strict=True):
                record = self.records[place]
                watched.append(
                    Watched(
                        self._names[record.path],
                        str(record.path),
                        self._of_teacher(of_teacher, sample),
                        _of_student(of_student, sample),
                    )
                )
        names = range(len(self.card.class_names))
        thresholds = self.labeler.score_thresholds.of(torch.tensor(list(names), device=self.device))
        append_look(self.file, Look(step, tuple(thresholds.tolist()), self.class_targets, tuple(watched)))

    def _of_teacher(self, labels: PseudoLabels, sample: Sample) -> tuple[Seen, ...]:
        teaches_classes = self.class_targets != "none"
        fates = fates_of(self.labeler, labels, teaches_classes=teaches_classes, teaches_places=self.teaches_places)
        # The view is the stored image itself, letterboxed into the upper left corner or stretched.
        height, width = sample.content
        sides = torch.tensor([width, height, width, height])
        boxes = (labels.instances.boxes.cpu() / sides).clamp(0, 1).tolist()
        rows = zip(boxes, labels.instances.labels.tolist(), labels.instances.scores.tolist(), strict=True)
        return tuple(
            Seen(_rounded(box), label, round(score, 4), fate, round(uncertainty, 4))
            for (box, label, score), fate, uncertainty in zip(rows, fates, labels.uncertainty.tolist(), strict=True)
        )[:_MOST_BOXES]


def fates_of(
    labeler: Labeler, labels: PseudoLabels, *, teaches_classes: bool, teaches_places: bool = True
) -> list[Fate]:
    """What becomes of each of the teacher's boxes, by the labeler's thresholds of now.

    Args:
        labeler: with the thresholds.
        labels: of one image.
        teaches_classes: whether the class of a box above its threshold is taught at all.
        teaches_places: whether its place is.
    """
    (verdict,) = labeler.judge([labels])
    has_class, has_place = verdict.teaches_class & teaches_classes, verdict.teaches_place & teaches_places
    fates: list[Fate] = []
    for by_class, by_place, ignored in zip(
        has_class.tolist(), has_place.tolist(), verdict.is_doubtful.tolist(), strict=True
    ):
        if by_class and by_place:
            fates.append("both")
        elif by_class or by_place:
            fates.append("class" if by_class else "place")
        else:
            fates.append("ignored" if ignored else "dropped")
    return fates


def _of_student(instances: Instances, sample: Sample) -> tuple[Seen, ...]:
    height, width = own_size(sample)
    order = instances.scores.argsort(descending=True)[:_MOST_BOXES]
    kept = instances[order]
    boxes = (kept.boxes / torch.tensor([width, height, width, height])).clamp(0, 1).tolist()
    rows = zip(boxes, kept.labels.tolist(), kept.scores.tolist(), strict=True)
    return tuple(Seen(_rounded(box), label, round(score, 4)) for box, label, score in rows)


def _rounded(box: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in box)


def _keep_thumbnail(record: ImageRecord, folder: Path, number: int) -> str:
    """The name of a small copy, made if it isn't there; empty where the image can't be read."""
    name = f"{number:02}_{record.path.stem}.jpg"
    if not (folder / name).is_file():
        try:
            small = shrunk(read_image(record.path, record.size), _SIDE)
        except DataError:
            return ""
        with whole_file(folder / name) as draft:
            draft.write_bytes(small.jpeg)
    return name
