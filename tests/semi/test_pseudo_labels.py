import pytest
import torch

from softdet.models.criterion import assign
from softdet.semi.pseudo_labels import PseudoLabels, classification_targets, doubtful, regression_targets
from softdet.structures import Instances

INF = float("inf")


@pytest.fixture
def pseudo() -> PseudoLabels:
    boxes = torch.tensor([[4.0, 4, 28, 28], [30, 30, 62, 62], [30, 2, 54, 26], [2, 36, 26, 60]])
    scores = torch.tensor([0.95, 0.9, 0.5, 0.3])
    return PseudoLabels(Instances(boxes, torch.tensor([2, 0, 1, 0]), scores), torch.tensor([0.05, 0.01, 0.02, 0.0]))


@pytest.mark.parametrize(("threshold", "labels"), [(0.9, [2]), (0.4, [2, 0, 1]), (0.0, [2, 0, 1, 0]), (0.95, [])])
def test_classes_are_taught_strictly_above_the_threshold(
    pseudo: PseudoLabels, threshold: float, labels: list[int]
) -> None:
    targets = classification_targets(pseudo, threshold)
    assert targets.labels.tolist() == labels
    assert torch.equal(targets.boxes, pseudo.instances.boxes[: len(labels)])
    assert targets.ignored.shape == (0, 4)


@pytest.mark.parametrize(
    ("threshold", "limit", "labels"),
    [
        (0.4, INF, [2, 0, 1]),
        (0.4, 0.02, [0, 1]),
        (0.4, 0.011, [0]),
        (0.9, 0.05, [2]),
        (0.9, 0.049, []),
        (0.0, 0.0, [0]),
    ],
)
def test_places_are_taught_where_score_and_agreement_are_high(
    pseudo: PseudoLabels, threshold: float, limit: float, labels: list[int]
) -> None:
    assert regression_targets(pseudo, threshold, limit).labels.tolist() == labels


def test_every_box_is_taught_doubtful_or_background_and_never_two_of_them(pseudo: PseudoLabels) -> None:
    taught = classification_targets(pseudo, 0.9).boxes
    unsure = doubtful(pseudo, 0.3, 0.9)
    assert torch.equal(torch.cat([taught, unsure]), pseudo.instances.boxes)
    assert len(doubtful(pseudo, 0.31, 0.9)) == 2


def test_an_image_without_detections_teaches_nothing(pseudo: PseudoLabels) -> None:
    nothing = PseudoLabels(pseudo.instances[torch.zeros(4, dtype=torch.bool)], torch.zeros(0))
    assert len(nothing) == len(classification_targets(nothing, 0.1)) == len(regression_targets(nothing, 0.1, INF)) == 0
    assert doubtful(nothing, 0.1, 0.9).shape == (0, 4)


def test_trap_7_pseudo_labels_keep_their_numbers_on_the_anchors(make_output) -> None:
    anchors = make_output().anchors
    chosen = torch.tensor([10, 300, 600, 770])
    found = Instances(anchors[chosen], torch.tensor([2, 0, 1, 0]), torch.tensor([0.95, 0.9, 0.8, 0.7]))
    targets = classification_targets(PseudoLabels(found, torch.zeros(4)), 0.5)
    assignment = assign(anchors, [targets], allow_low_quality=False)
    assert assignment.labels[0, chosen].tolist() == [2, 0, 1, 0]
