import pytest
import torch

from softdet.models.criterion import assign
from softdet.semi.pseudo_labels import PseudoLabels, judge
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
    targets = pseudo.targets(judge(pseudo, threshold, 1.0, INF).teaches_class)
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
    assert pseudo.targets(judge(pseudo, 1.0, threshold, limit).teaches_place).labels.tolist() == labels


def test_every_box_is_taught_doubtful_or_background_and_never_two_of_them(pseudo: PseudoLabels) -> None:
    verdict = judge(pseudo, 0.9, 1.0, INF, doubtful_from=0.3)
    targets = pseudo.targets(verdict.teaches_class, ignored=verdict.is_doubtful)
    assert torch.equal(torch.cat([targets.boxes, targets.ignored]), pseudo.instances.boxes)
    assert judge(pseudo, 0.9, 1.0, INF, doubtful_from=0.31).is_doubtful.sum() == 2
    assert not judge(pseudo, 0.9, 1.0, INF).is_doubtful.any()


def test_each_class_has_its_own_threshold(pseudo: PseudoLabels) -> None:
    of_class = torch.tensor([0.2, 0.6, 0.96])
    verdict = judge(pseudo, of_class[pseudo.instances.labels], 1.0, INF, doubtful_from=0.1)
    assert verdict.teaches_class.tolist() == [False, True, False, True]
    assert verdict.is_doubtful.tolist() == [True, False, True, False]


def test_an_image_without_detections_teaches_nothing(pseudo: PseudoLabels) -> None:
    nothing = PseudoLabels(pseudo.instances[torch.zeros(4, dtype=torch.bool)], torch.zeros(0))
    verdict = judge(nothing, 0.1, 0.1, INF, doubtful_from=0.05)
    for chosen in (verdict.teaches_class, verdict.teaches_place):
        targets = nothing.targets(chosen, ignored=verdict.is_doubtful)
        assert (len(nothing), len(targets), targets.ignored.shape) == (0, 0, (0, 4))


def test_trap_7_pseudo_labels_keep_their_numbers_on_the_anchors(make_output) -> None:
    anchors = make_output().anchors
    chosen = torch.tensor([10, 300, 600, 770])
    found = Instances(anchors[chosen], torch.tensor([2, 0, 1, 0]), torch.tensor([0.95, 0.9, 0.8, 0.7]))
    pseudo = PseudoLabels(found, torch.zeros(4))
    targets = pseudo.targets(judge(pseudo, 0.5, 0.5, INF).teaches_class)
    assignment = assign(anchors, [targets], allow_low_quality=False)
    assert assignment.labels[0, chosen].tolist() == [2, 0, 1, 0]
