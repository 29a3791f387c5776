"""What is known of a trained detector, gathered from its run: on what it was trained, and how good it is."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softdet.data.index import Index
from softdet.evaluation.comparison import Gain, bootstrap_interval
from softdet.evaluation.detector import DetectorCard
from softdet.evaluation.metrics import load_detections, load_truth
from softdet.evaluation.operating_point import Counts, counts_above
from softdet.evaluation.run import RunFolder
from softdet.evaluation.validation import kept_detections_are_fresh, read_evaluation
from softdet.files import digest


@dataclass(frozen=True, slots=True)
class Labeled:
    """The labeled images that a detector has learned from.

    Attributes:
        name: of their list.
        num_images: in it.
        boxes: of each class, by name.
        sides: the 5th and the 95th percentile of the boxes' sides (the root of the area), in pixels of the canvas.
    """

    name: str
    num_images: int
    boxes: dict[str, int]
    sides: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Training:
    """How a detector came about.

    Attributes:
        method: in words.
        labeled: None where the list is gone, or isn't the one of then.
        unlabeled: how many images, and the name of their folder or list; None where none were used or they are gone.
        start: what the weights started from, in words.
        environment: versions and device of then.
    """

    method: str
    labeled: Labeled | None
    unlabeled: tuple[int, str] | None
    start: str
    environment: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scores:
    """How good a detector is on images that it wasn't trained on.

    Attributes:
        name: of the list of validation images.
        metrics: see `metrics.evaluate_detections`.
        interval: of the mAP, 95%; None where the images or their detections are gone.
        counts: right and shown boxes at the operating threshold, by category id; None likewise.
        test: the metrics on the test images, if there are any.
    """

    name: str
    metrics: dict[str, Any]
    interval: tuple[float, float] | None
    counts: dict[int | str, Counts] | None
    test: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Brought:
    """What the unlabeled images brought, of a run with a control.

    Attributes:
        winner: `soft_teacher` or `supervised`.
        split: on whose images.
        gain: of Soft Teacher over the control.
    """

    winner: str
    split: str
    gain: Gain


def describe_labeled(index: Index, card: DetectorCard) -> Labeled:
    """Count a list of labeled images, and measure its objects on a detector's canvas."""
    counts = Counter(label for record in index.images for label in record.labels.tolist())
    rows, columns = card.image_size
    sides = [np.zeros(0)]
    for record in index.images:
        assert record.size is not None, "a labeled list states the size of each image"
        factors = rows / record.size[0], columns / record.size[1]
        scale = min(factors) if card.resize == "letterbox" else float(np.sqrt(factors[0] * factors[1]))
        width_height = record.boxes[:, 2:] - record.boxes[:, :2]
        sides.append(np.sqrt(width_height.prod(1)) * scale)
    low, high = np.percentile(np.concatenate(sides), [5, 95]) if counts else (0.0, 0.0)
    return Labeled(
        index.source.name,
        len(index),
        {name: counts[label] for label, name in enumerate(index.class_names)},
        (float(low), float(high)),
    )


def read_scores(run: RunFolder, valid: Path, card: DetectorCard) -> Scores | None:
    """Read a run's numbers, if they are those of its result of now."""
    metrics = read_evaluation(run)
    if metrics is None or metrics["weights"] != digest(run.best):
        return None
    interval, counts = None, None
    if kept_detections_are_fresh(run, valid):
        truth, detections = load_truth(valid), load_detections(run.detections)
        interval = bootstrap_interval(truth, detections)
        counts = counts_above(truth, detections, card.operating_threshold)
    test = _read(run.test_evaluation)
    if test is not None and test.get("weights") != metrics["weights"]:
        test = None
    return Scores(valid.name, metrics, interval, counts, test)


def read_brought(run: RunFolder) -> Brought | None:
    """Read what a run with a control came to; None where there was none."""
    outcome = _read(run.outcome)
    if outcome is None:
        return None
    split = outcome["reported_on"]
    return Brought(outcome["winner"], split, Gain(**outcome["gains"][split]))


def read_environment(run: RunFolder) -> dict[str, Any]:
    """Versions and device of a run; empty where they weren't noted."""
    return _read(run.environment) or {}


def is_still(path: Path, card: DetectorCard, name: str) -> bool:
    """Whether a list is there and still the one that a detector's card remembers under a name."""
    return path.is_file() and card.digests.get(name) in (None, digest(path))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content
