"""What a report is drawn from: plain numbers, whoever measured them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softdet.report.history import History
from softdet.report.looks import Look

# TIDE's kinds of errors, in words.
TIDE_WORDS = {
    "Cls": "right place, wrong class",
    "Loc": "right class, place too loose",
    "Both": "wrong class and loose place",
    "Dupe": "found twice",
    "Bkg": "nothing is there",
    "Miss": "missed",
}


@dataclass(frozen=True, slots=True)
class ImageSet:
    """One list of images.

    Attributes:
        source: its file or folder.
        num_images: how many.
        boxes_by_class: in the order of the classes; None where nothing is labeled.
    """

    source: str
    num_images: int
    boxes_by_class: tuple[int, ...] | None = None

    @property
    def num_boxes(self) -> int:
        """Of all classes."""
        return sum(self.boxes_by_class or ())

    @property
    def density(self) -> float:
        """Boxes an image."""
        return self.num_boxes / max(1, self.num_images)


@dataclass(frozen=True, slots=True)
class Box:
    """A true or a found box in a picture.

    Attributes:
        corners: xyxy in parts of the picture's width and height.
        label: the class.
        score: None for a true box.
        is_right: a found box that matches a true one, or a true one that was found.
    """

    corners: tuple[float, float, float, float]
    label: int
    score: float | None
    is_right: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """A validation image with what was found in it at the operating point.

    Attributes:
        name: as its list calls it.
        path: the file.
        size: rows and columns, as its list states them.
        truth: true boxes.
        found: detections.
        f1: of this image.
    """

    name: str
    path: Path
    size: tuple[int, int] | None
    truth: tuple[Box, ...]
    found: tuple[Box, ...]
    f1: float

    @property
    def counts(self) -> tuple[int, int, int]:
        """Right, wrong, and missed boxes."""
        right = sum(box.is_right for box in self.found)
        return right, len(self.found) - right, sum(not box.is_right for box in self.truth)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A true box that the detector surely sees otherwise: perhaps the label is wrong.

    Attributes:
        image: its name.
        labeled: the class of the label; None where nothing is labeled there.
        seen: the class that was detected.
        score: of the detection.
    """

    image: str
    labeled: str | None
    seen: str
    score: float


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the detections on the validation images tell.

    Attributes:
        recall: (R,) the grid of the next.
        precision: (K, R) at IoU .5, best precision at that recall or more; nan for a class without a true box.
        thresholds: (T,) scores.
        macro: (3, T) precision, recall and F1 above each threshold at IoU .5, averaged over the classes.
        class_points: (K, 2) precision and recall of each class at the operating point; nan where undefined.
        confusion: (K + 1, K + 1) counts at the operating point; rows are true, the last row and column are nothing.
        tide: AP50 lost to each kind of error, by its short name.
        calibration: (N, 3) mean score, share of right detections and their number, by bins of score.
        calibration_error: the expected one.
        images: all of them, judged at the operating point.
        suspects: surest first.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    macro: NDArray[np.float64]
    class_points: NDArray[np.float64]
    confusion: NDArray[np.int64]
    tide: dict[str, float]
    calibration: NDArray[np.float64]
    calibration_error: float
    images: tuple[Judged, ...]
    suspects: tuple[Suspect, ...]

    def confused(self, class_names: Sequence[str], most: int) -> list[tuple[str, str, int, int]]:
        """The classes most often taken for others: true, detected, how often, of how many."""
        between = self.confusion[:-1, :-1].copy()
        np.fill_diagonal(between, 0)
        order = np.argsort(-between, axis=None, kind="stable")[:most]
        rows, columns = np.unravel_index(order, between.shape)
        return [
            (class_names[row], class_names[column], int(between[row, column]), int(self.confusion[row].sum()))
            for row, column in zip(rows, columns, strict=True)
            if between[row, column]
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """All that is known of a run; whatever it lacks is empty or None, and named in `missing`.

    Attributes:
        path: its folder.
        line: the closing line.
        class_names: by label.
        is_semi: whether it trains on unlabeled images.
        num_steps: as planned; None where the config can't be read.
        history: its metrics.
        control: the metrics of its supervised control.
        outcome: content of outcome.json.
        evaluation: content of eval/valid.json.
        test: content of eval/test.json.
        interval: the 95% interval of the validation AP.
        operating_point: the score above which boxes are shown.
        step: the step of the result.
        diagnosis: from the detections on the validation images.
        labeled: the training images.
        valid: the validation images.
        unlabeled: the unlabeled ones.
        threshold: the pseudo-label threshold as the config states it.
        looks: the gallery, by step.
        gallery: the folder of its thumbnails.
        doctor: content of doctor.json.
        doctor_command: that has doctor look at this run's data; may be empty.
        num_far: unlabeled images that look unlike the labeled ones.
        config: the text of config.yaml.
        environment: versions and the device.
        missing: what isn't there, each with how to get it.
    """

    path: Path
    line: str = ""
    class_names: tuple[str, ...] = ()
    is_semi: bool = False
    num_steps: int | None = None
    history: History = field(default_factory=History)
    control: History | None = None
    outcome: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    test: dict[str, Any] | None = None
    interval: tuple[float, float] | None = None
    operating_point: float | None = None
    step: int | None = None
    diagnosis: Diagnosis | None = None
    labeled: ImageSet | None = None
    valid: ImageSet | None = None
    unlabeled: ImageSet | None = None
    threshold: float | str | None = None
    looks: tuple[Look, ...] = ()
    gallery: Path | None = None
    doctor: dict[str, Any] | None = None
    doctor_command: str = ""
    num_far: int = 0
    config: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether the last planned step was logged."""
        return self.num_steps is None or self.history.last_step >= self.num_steps

    def arms_by_class(self) -> dict[str, tuple[float, float, int]]:
        """AP of the control and of Soft Teacher by class name, and boxes; of the last weights of both.

        Empty where it wasn't measured; a class without a true box is left out.
        """
        rows = (self.outcome or {}).get("per_class") or []
        arms = {row["name"]: (row["before"], row["after"], row["num_boxes"]) for row in rows}
        return {name: row for name, row in arms.items() if min(row[:2]) >= 0}

    def gain_by_class(self) -> dict[str, float]:
        """The difference of the two."""
        return {name: after - before for name, (before, after, _) in self.arms_by_class().items()}
