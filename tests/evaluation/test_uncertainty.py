import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from softdet.data.datasets import ImageDataset
from softdet.data.index_reading import load_labeled
from softdet.evaluation.uncertainty import spearman, uncertainty_correlation
from softdet.models.retinanet import RetinaNet
from softdet.semi.labeling import Labeler
from softdet.semi.pseudo_labels import PseudoLabels
from softdet.semi.teacher import Teacher
from softdet.semi.thresholds import ScoreThresholds, UncertaintyThreshold
from softdet.structures import Instances


def test_spearman_is_one_for_any_rising_relation() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert spearman(values, np.exp(values)) == pytest.approx(1.0)
    assert spearman(values, -(values**3)) == pytest.approx(-1.0)


def test_spearman_with_ties_as_worked_by_hand() -> None:
    # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5.
    assert spearman(np.array([1.0, 2, 2, 9]), np.array([0.1, 0.2, 0.3, 0.4])) == pytest.approx(4.5 / math.sqrt(22.5))


def test_spearman_of_a_constant_is_nan() -> None:
    assert math.isnan(spearman(np.zeros(5), np.arange(5.0)))


class Shifted(Labeler):
    """Each true box, moved by some pixels, as uncertain as it is moved; one of ten is too doubtful to teach."""

    sign = 1.0

    def look(self, images: torch.Tensor, readable: torch.Tensor) -> list[PseudoLabels]:
        labels = []
        for _ in images:
            targets = self.images[self.seen].targets
            self.seen += 1
            moved = torch.arange(float(len(targets) * 5)) % 7
            boxes = targets.boxes.repeat(5, 1) + moved[:, None]
            scores = torch.where(torch.arange(len(boxes)) % 10 == 0, 0.1, 0.9)
            uncertainty = torch.where(scores < 0.5, -self.sign * 99, self.sign * moved)
            labels.append(PseudoLabels(Instances(boxes, targets.labels.repeat(5), scores), uncertainty))
        return labels


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_it_is_the_correlation_of_the_boxes_that_would_teach(
    sign: float, squares: Path, make_model: Callable[..., RetinaNet]
) -> None:
    index = load_labeled(squares / "valid.json")
    images = ImageDataset(index.images, (64, 64), "letterbox")
    labeler = Shifted(
        Teacher(make_model(), 0.9),
        score_thresholds=ScoreThresholds(0.5, (1.0,) * len(index.class_names)),
        box_score_threshold=None,
        uncertainty_threshold=UncertaintyThreshold(None),
        background="none",
        doubtful_threshold=0.1,
        box_reliability="cluster",
        empty_image_weight=0.0,
    )
    labeler.images, labeler.seen, labeler.sign = images, 0, sign  # type: ignore[attr-defined]
    found = uncertainty_correlation(labeler, images, device=torch.device("cpu"), batch_size=3)
    assert sign * found > 0.8


def test_a_teacher_that_sees_nothing_gives_nan(squares: Path, make_model: Callable[..., RetinaNet]) -> None:
    images = ImageDataset(load_labeled(squares / "valid.json").images, (64, 64), "letterbox")
    labeler = Labeler(
        Teacher(make_model(), 0.9),
        score_thresholds=ScoreThresholds(0.99, (1.0, 1.0, 1.0)),
        box_score_threshold=None,
        uncertainty_threshold=UncertaintyThreshold(None),
        background="none",
        doubtful_threshold=0.1,
        box_reliability="cluster",
        empty_image_weight=0.0,
    )
    assert math.isnan(uncertainty_correlation(labeler, images, device=torch.device("cpu"), batch_size=3))
