"""An unlabeled and a labeled image in one picture, with the labels of both."""

from dataclasses import replace

import pytest
import torch

from softdet.data.mixup import mix_images
from softdet.models.criterion import Assignment, assign
from softdet.ops.matching import BACKGROUND, IGNORED
from softdet.semi.labeling import Lesson
from softdet.semi.mixing import mix_beliefs, partners
from softdet.structures import AugmentedBatch


@pytest.mark.parametrize(("unlabeled", "labeled"), [(8, 8), (16, 8), (4, 8), (6, 4), (12, 8)])
def test_parts_of_a_batch_have_the_partners_that_the_whole_has(unlabeled: int, labeled: int) -> None:
    whole = partners(unlabeled, labeled)
    half = partners(unlabeled // 2, labeled // 2)
    assert whole == [*half, *(other + labeled // 2 for other in half)]
    assert 0 <= min(whole) <= max(whole) < labeled
    if unlabeled >= labeled:
        assert set(whole) == set(range(labeled)), "each labeled image has its turn"


def test_a_true_box_is_certain_and_the_rest_is_as_the_teacher_believes() -> None:
    logits = torch.randn(1, 5, 3)
    mixed = mix_beliefs(logits, Assignment(torch.tensor([[BACKGROUND, 2, BACKGROUND, IGNORED, 0]]), torch.zeros(2, 4)))
    assert mixed.sigmoid()[0, 1, 2] == mixed.sigmoid()[0, 4, 0] == 1
    same = torch.ones(1, 5, 3, dtype=torch.bool)
    same[0, 1, 2] = same[0, 4, 0] = False
    assert torch.equal(mixed[same], logits[same])


@pytest.fixture
def lessons(make_method, batch) -> tuple[Lesson, Lesson]:
    """Of the same batch: as it is, and mixed."""
    return tuple(_lesson(make_method(mixup=mixup, class_targets="soft"), batch) for mixup in (False, True))


def _lesson(method, batch: AugmentedBatch) -> Lesson:
    return method.labeler.prepare(batch, method.labeler.label(batch))


def test_a_mixed_lesson_teaches_the_pseudo_and_the_true_boxes(make_method, batch, lessons) -> None:
    plain, mixed = lessons
    anchors = make_method().teacher.model.anchors_at(batch.strong.size)
    true = assign(anchors, batch.targets, allow_low_quality=False)
    assert true.positive.any()
    assert plain.boxes.positive.any()
    for part in ("classes", "boxes"):
        assert torch.equal(getattr(mixed, part).positive, getattr(plain, part).positive | true.positive)
    only_true = true.positive & ~plain.classes.positive
    assert torch.equal(mixed.classes.labels[only_true], true.labels[only_true])
    assert (mixed.beliefs.sigmoid().amax(-1)[true.positive] == 1).all()
    assert torch.equal(mixed.images, mix_images(batch.strong.images, batch.labeled.images))


def test_pseudo_boxes_alone_are_counted(lessons) -> None:
    plain, mixed = lessons
    assert mixed.statistics == plain.statistics


def test_an_image_of_which_the_teacher_is_sure_of_nothing_stays_without_weight(lessons) -> None:
    plain, mixed = lessons
    empty = ~plain.weights.any(1)
    assert empty.any()
    assert torch.equal(~mixed.weights.any(1), empty)


@pytest.mark.parametrize("part", ["labeled_readable", "unlabeled_readable"])
def test_a_picture_with_an_unreadable_half_teaches_nothing(make_method, batch, backward, part: str) -> None:
    unreadable = replace(batch, **{part: torch.zeros(4, dtype=torch.bool)})
    lesson = _lesson(make_method(mixup=True, class_targets="soft"), unreadable)
    assert not lesson.readable.any()
    assert not lesson.weights.any()
    _, (output,) = backward(make_method(mixup=True), [unreadable])
    assert output.losses["unsupervised_class"] == output.losses["unsupervised_box"] == 0
