from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from softdet.models.criterion import classification_loss
from softdet.ops.losses import focal_loss
from softdet.semi.class_targets import object_loss, quality_focal_loss, unsupervised_class_loss
from softdet.semi.labeling import Lesson
from softdet.structures import DenseOutput


def logits(*shape: int) -> torch.Tensor:
    return 4 * torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def test_quality_focal_loss_is_focal_loss_where_the_scores_are_certain() -> None:
    values, labels = logits(50, 4), torch.arange(50) % 5
    one_hot = torch.nn.functional.one_hot(labels, 5)[:, :4].float()
    labels[labels == 4] = -1
    torch.testing.assert_close(quality_focal_loss(values, one_hot), focal_loss(values, labels))


def test_quality_focal_loss_is_zero_at_the_scores_themselves() -> None:
    values = logits(20, 3).requires_grad_()
    loss = quality_focal_loss(values, values.detach().sigmoid()).sum()
    (gradient,) = torch.autograd.grad(loss, values)
    assert loss.item() == pytest.approx(0.0, abs=1e-9)
    assert gradient.abs().max() < 1e-6


def test_object_loss_of_one_class_is_focal_loss() -> None:
    values = logits(50, 1)
    torch.testing.assert_close(object_loss(values), focal_loss(values, torch.zeros(50, dtype=torch.int64)))


def test_object_loss_asks_for_any_class_and_favours_none() -> None:
    values = torch.tensor([[-3.0, 2.0, -3.0], [2.0, -3.0, -3.0], [-3.0, -3.0, -3.0]])
    first, second, nothing = object_loss(values)
    assert first == second < nothing
    even = torch.zeros(1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(object_loss(even).sum(), even)
    assert gradient[0].tolist() == pytest.approx([gradient[0, 0].item()] * 3)
    assert gradient[0, 0] < 0


@pytest.mark.parametrize("value", [-80.0, 80.0])
def test_object_loss_is_finite_for_any_belief(value: float) -> None:
    values = torch.full((2, 5), value, requires_grad=True)
    loss = object_loss(values).sum()
    (gradient,) = torch.autograd.grad(loss, values)
    assert loss.isfinite()
    assert gradient.isfinite().all()


@pytest.fixture
def lesson(make_method: Callable[..., object], batch: object) -> Lesson:
    labeler = make_method(class_targets="soft").labeler  # type: ignore[attr-defined]
    lesson = labeler.prepare(batch, labeler.label(batch))
    assert lesson.classes.positive.any()
    return lesson


@pytest.fixture
def output(make_output: Callable[..., DenseOutput], lesson: Lesson) -> DenseOutput:
    images, anchors, classes = lesson.beliefs.shape  # type: ignore[union-attr]
    return DenseOutput(logits(images, anchors, classes), torch.zeros(images, anchors, 4), torch.zeros(anchors, 4))


def test_hard_is_the_focal_loss_of_the_lesson(lesson: Lesson, output: DenseOutput) -> None:
    expected = classification_loss(output, lesson.classes, lesson.weights)
    assert torch.equal(unsupervised_class_loss(output, lesson, "hard"), expected)


def test_soft_is_hard_where_the_teacher_is_sure_of_its_own_labels(lesson: Lesson, output: DenseOutput) -> None:
    sure = torch.full_like(output.logits, -60.0)
    positive = lesson.classes.positive
    sure[positive, lesson.classes.labels[positive]] = 60.0
    certain = replace(lesson, beliefs=sure)
    hard = unsupervised_class_loss(output, lesson, "hard")
    torch.testing.assert_close(unsupervised_class_loss(output, certain, "soft"), hard)
    assert not torch.isclose(unsupervised_class_loss(output, lesson, "soft"), hard)


@pytest.mark.parametrize("targets", ["soft", "any"])
def test_background_is_the_same_whatever_is_said_of_classes(lesson: Lesson, output: DenseOutput, targets: str) -> None:
    values = output.logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(
        unsupervised_class_loss(output._replace(logits=values), lesson, targets),  # type: ignore[arg-type]
        values,
    )
    (hard,) = torch.autograd.grad(unsupervised_class_loss(output._replace(logits=values), lesson, "hard"), values)
    positive = lesson.classes.positive
    assert torch.equal(gradient[~positive], hard[~positive])
    assert not torch.allclose(gradient[positive], hard[positive])


def test_dense_asks_for_the_teachers_scores_everywhere(lesson: Lesson, output: DenseOutput) -> None:
    beliefs = lesson.beliefs
    assert beliefs is not None
    expected = quality_focal_loss(output.logits, beliefs.sigmoid()).sum()
    torch.testing.assert_close(unsupervised_class_loss(output, lesson, "dense"), expected)
    agreed = unsupervised_class_loss(output._replace(logits=beliefs), lesson, "dense")
    assert agreed.item() == pytest.approx(0.0, abs=1e-6)


def test_dense_leaves_unreadable_images_out(lesson: Lesson, output: DenseOutput) -> None:
    assert lesson.beliefs is not None
    blind = replace(lesson, readable=torch.tensor([False] + [True] * (len(lesson.readable) - 1)))
    rest = quality_focal_loss(output.logits, lesson.beliefs.sigmoid())[1:].sum()
    torch.testing.assert_close(unsupervised_class_loss(output, blind, "dense"), rest)


def test_any_has_the_same_say_whatever_the_pseudo_class(lesson: Lesson, output: DenseOutput) -> None:
    labels = lesson.classes.labels
    others = torch.where(lesson.classes.positive, (labels + 1) % output.logits.shape[-1], labels)
    renamed = replace(lesson, classes=replace(lesson.classes, labels=others))
    assert torch.equal(unsupervised_class_loss(output, lesson, "any"), unsupervised_class_loss(output, renamed, "any"))


def test_none_teaches_nothing(lesson: Lesson, output: DenseOutput) -> None:
    assert unsupervised_class_loss(output, lesson, "none").item() == 0
