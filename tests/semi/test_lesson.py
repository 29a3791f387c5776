"""What the teacher makes of a batch: `SoftTeacher.label` and `SoftTeacher.prepare`."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou, clip_boxes_to_image

from softdet.config import Config
from softdet.data.augment import Policy, draw
from softdet.ops.affine import compose, invert, transform_boxes
from softdet.ops.box_coding import decode
from softdet.ops.matching import BACKGROUND, IGNORED
from softdet.semi.pseudo_labels import PseudoLabels
from softdet.structures import AugmentedBatch, Instances, View

SIZE = (64, 64)


def still(batch: AugmentedBatch) -> AugmentedBatch:
    """The same images with teacher and student on one geometry."""
    strong = View(batch.strong.images, batch.weak.matrices, batch.weak.images)
    return replace(batch, strong=strong)


def test_trap_3_a_pseudo_box_that_fits_no_anchor_teaches_nothing(make_method, batch) -> None:
    method = make_method()
    anchors = method.teacher.model.anchors_at(SIZE)
    sliver = torch.tensor([[20.0, 2, 23, 62]])
    assert 0 < box_iou(sliver, anchors).max() < 0.4
    bad = PseudoLabels(Instances(sliver, torch.tensor([1]), torch.tensor([0.99])), torch.zeros(1))
    lesson = method.labeler.prepare(still(batch), [bad] * 4)
    assert (lesson.classes.labels == BACKGROUND).all()
    assert not lesson.boxes.positive.any()


def test_trap_4_the_default_strong_view_neither_rotates_nor_shears() -> None:
    defaults = Config.model_fields["soft_teacher"].default
    assert (defaults.rotate, defaults.shear) == (0, 0)
    strong = Policy(0.5, (0.6, 1.25), defaults.translate, defaults.rotate, defaults.shear, colour=True, erase=True)
    for position in range(50):
        matrix = torch.from_numpy(draw(strong, 0, 0, position, "strong", (80, 80), (80, 80), SIZE).matrix)
        moved = transform_boxes(torch.tensor([[10.0, 20, 50, 30]]), matrix)[0]
        area = (moved[2] - moved[0]) * (moved[3] - moved[1])
        assert area.item() == pytest.approx(400 * matrix[:2, :2].det().abs().item(), rel=1e-4)


def test_trap_4_a_turned_box_teaches_its_class_and_not_its_place(make_method, batch) -> None:
    method, view = make_method(), still(batch)
    pseudo = method.labeler.label(view)
    angle = torch.tensor(0.2)
    turn = torch.eye(3).repeat(4, 1, 1)
    turn[0, :2, :2] = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    turned = replace(view, strong=replace(view.strong, matrices=turn @ view.strong.matrices))
    upright, lesson = (method.labeler.prepare(each, pseudo) for each in (view, turned))
    assert upright.boxes.positive[0].any()
    assert lesson.classes.positive[0].any()
    assert not lesson.boxes.positive[0].any()
    assert torch.equal(lesson.boxes.positive[1:], upright.boxes.positive[1:])


def test_a_box_turned_by_a_quarter_teaches_its_place(make_method, batch) -> None:
    method, view = make_method(), still(batch)
    pseudo = method.labeler.label(view)
    quarter = torch.tensor([[0.0, -1, SIZE[0]], [1, 0, 0], [0, 0, 1]])
    turned = replace(view, strong=replace(view.strong, matrices=quarter @ view.strong.matrices))
    lesson = method.labeler.prepare(turned, pseudo)
    image, anchor = lesson.boxes.positive.nonzero(as_tuple=True)
    taught = decode(lesson.boxes.deltas, method.teacher.model.anchors_at(SIZE)[anchor])
    back = compose(view.weak.matrices, invert(turned.strong.matrices))
    assert len(taught)
    for i in image.unique().tolist():
        found, labels = transform_boxes(taught[image == i], back[i]), pseudo[i]
        assert (box_iou(found, labels.instances.boxes).amax(1) > 0.99).all()


def test_statistics_count_what_was_taught(make_method, batch) -> None:
    method = make_method()
    pseudo = method.labeler.label(batch)
    taught = [labels.uncertainty[labels.instances.scores > 0.3] for labels in pseudo]
    method.labeler.uncertainty_threshold.fixed = torch.cat(taught).median().item()
    lesson = method.labeler.prepare(batch, pseudo)
    assert lesson.statistics["pseudo_candidates"] == sum(map(len, pseudo)) / 4
    assert 0 < lesson.statistics["pseudo_boxes_regressed"] < lesson.statistics["pseudo_boxes"]
    assert lesson.statistics["pseudo_boxes"] <= sum(int((p.instances.scores > 0.3).sum()) for p in pseudo) / 4


def test_pseudo_boxes_travel_from_the_weak_to_the_strong_view(make_method, batch) -> None:
    method = make_method(uncertainty=10.0)
    pseudo = method.labeler.label(batch)
    lesson = method.labeler.prepare(batch, pseudo)
    anchors = method.teacher.model.anchors_at(SIZE)
    image, anchor = lesson.boxes.positive.nonzero(as_tuple=True)
    taught = decode(lesson.boxes.deltas, anchors[anchor])
    weak, strong = (view.matrices.double() for view in (batch.weak, batch.strong))
    for number in (0, 2):
        confident = pseudo[number].instances.scores > 0.3
        moved = transform_boxes(pseudo[number].instances.boxes[confident], strong[number] @ weak[number].inverse())
        distance = (taught[image == number][:, None] - clip_boxes_to_image(moved, SIZE)[None]).abs().amax(-1)
        assert len(distance) > 0
        assert distance.amin(1).max() < 1e-2, "each anchor learns one of the moved boxes"
    label = lesson.classes.labels[image[0], anchor[0]]
    assert label in pseudo[0].instances.labels[pseudo[0].instances.scores > 0.3]


def test_soft_background_weighs_what_the_teacher_believes_of_the_clean_strong_view(make_method, batch) -> None:
    method = make_method(background="soft", empty_image_weight=1.0)
    lesson = method.labeler.prepare(batch, method.labeler.label(batch))
    with torch.no_grad():
        scores = method.teacher.model(batch.strong.clean).logits.sigmoid().amax(-1)
    positive = lesson.classes.positive
    torch.testing.assert_close(lesson.weights[~positive], 1 - scores[~positive], atol=1e-6, rtol=0)
    assert (lesson.weights[positive] == 1).all()


def test_ignored_background_lies_around_doubtful_boxes(make_method, batch) -> None:
    batch, method = still(batch), make_method(background="ignore", doubtful_threshold=0.2)
    anchors = method.teacher.model.anchors_at(SIZE)
    rows = [(2 * 8 + 6) * 9 + 4, 576 + (2 * 4 + 1) * 9 + 4, (6 * 8 + 6) * 9 + 4]  # inside the view, far from each other
    found = Instances(anchors[rows], torch.tensor([2, 1, 0]), torch.tensor([0.95, 0.25, 0.19]))
    lesson = method.labeler.prepare(batch, [PseudoLabels(found, torch.zeros(3))] * 4)
    assert lesson.classes.labels[:, rows].tolist() == [[2, IGNORED, BACKGROUND]] * 4
    near = box_iou(anchors, clip_boxes_to_image(found.boxes, SIZE)[1:2])[:, 0] >= 0.4
    assert (lesson.classes.labels[:, near] != BACKGROUND).all()
    assert (lesson.weights == 1).all()


@pytest.mark.parametrize("reliability", ["cluster", "anchors", "none"])
def test_places_are_taught_by_the_boxes_that_are_agreed_upon(make_method, batch, reliability: str) -> None:
    method = make_method(box_reliability=reliability)
    pseudo = method.labeler.label(batch)
    everything = method.labeler.prepare(batch, pseudo)
    uncertainty = torch.cat([labels.uncertainty[labels.instances.scores > 0.3] for labels in pseudo])
    method.labeler.uncertainty_threshold.fixed = uncertainty.median().item()
    agreed = method.labeler.prepare(batch, pseudo)
    for count in (
        lambda lesson: lesson.boxes.positive.sum(),
        lambda lesson: lesson.statistics["pseudo_boxes_regressed"],
    ):
        assert count(agreed) > 0
        assert (count(agreed) < count(everything)) == (reliability != "none")
    assert torch.equal(agreed.classes.labels, everything.classes.labels), "the class is taught all the same"
    assert (uncertainty == 0).all() == (reliability == "none")


def test_the_three_kinds_of_uncertainty_differ(make_method, batch) -> None:
    labels = (make_method(box_reliability=kind).labeler.label(batch) for kind in ("cluster", "anchors", "none"))
    kinds = [torch.cat([image.uncertainty for image in images]) for images in labels]
    assert not kinds[2].any()
    assert kinds[1].all(), "lone boxes have one too"
    assert kinds[0].any()
    assert not kinds[0].all()
    assert not np.allclose(kinds[0], kinds[1])


def test_the_teacher_runs_in_the_precision_asked_for(make_method, batch) -> None:
    low = make_method(autocast=lambda: torch.autocast("cpu", torch.bfloat16)).labeler.label(batch)[0].instances
    full = make_method().labeler.label(batch)[0].instances
    assert low.scores.max().item() == pytest.approx(full.scores.max().item(), abs=0.1)
    assert low.scores[0] != full.scores[0]
