from dataclasses import replace

import pytest
import torch

from softdet.ops.losses import focal_loss, smooth_l1_loss
from softdet.ops.matching import IGNORED
from softdet.semi.losses import assign_labeled, normalisers, supervised_losses
from softdet.semi.supervised import Supervised
from softdet.semi.teacher import Teacher
from softdet.structures import Targets


@pytest.fixture
def method(make_model) -> Supervised:
    student = make_model(1)
    return Supervised(student, Teacher(student, 0.9))


@pytest.fixture(scope="module")
def batch(make_batch):
    return make_batch(6, unlabeled=False)


def test_normalisers_are_the_counts_and_at_least_one() -> None:
    assert normalisers(torch.tensor(7), 0, torch.tensor(0), 3).tolist() == [7.0, 1.0, 1.0, 3.0]


def test_normalisers_stay_on_the_device_of_the_first_count() -> None:
    # In the burn-in, the counts of unlabeled images are plain zeros; on a GPU the labeled one isn't on the CPU.
    assert normalisers(torch.zeros((), device="meta"), 0, 0).device.type == "meta"


def test_the_loss_is_the_batchs_sum_over_the_batchs_positives(method, batch) -> None:
    (output,) = method.step([batch])
    dense = method.student(batch.labeled.images)
    assignment = assign_labeled(method.teacher.model, batch)
    positive = assignment.positive
    count = positive.sum()
    classes = focal_loss(dense.logits, assignment.labels)[assignment.labels != IGNORED].sum() / count
    boxes = smooth_l1_loss(dense.deltas[positive], assignment.deltas).sum() / count
    torch.testing.assert_close(output.losses["supervised_class"], classes.detach())
    torch.testing.assert_close(output.losses["supervised_box"], boxes.detach())
    torch.testing.assert_close(output.loss, classes + boxes)
    assert not any(loss.requires_grad for loss in output.losses.values())


def test_every_true_box_is_taught_by_an_anchor(method, batch) -> None:
    labels = assign_labeled(method.teacher.model, batch).labels
    for row, targets in zip(labels, batch.targets, strict=True):
        assert set(row[row >= 0].tolist()) == set(targets.labels.tolist())


def test_trap_1_an_image_counts_over_the_positives_of_the_whole_batch(method, batch, take) -> None:
    assignment = assign_labeled(method.teacher.model, batch)
    per_image = assignment.positive.sum(1)
    assert per_image.min() == 0 < per_image.max(), "the batch needs an empty image"
    (together,) = method.step([batch])
    alone = [next(iter(method.step([take(batch, labeled=[image])]))).losses for image in range(6)]
    for name in ("supervised_class", "supervised_box"):
        sums = [losses[name] * count.clamp(min=1) for losses, count in zip(alone, per_image, strict=True)]
        torch.testing.assert_close(together.losses[name], torch.stack(sums).sum() / per_image.sum())


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_trap_1_micro_batches_give_the_whole_batchs_gradients(method, batch, backward, parts: int) -> None:
    whole, (output,) = backward(method, [batch])
    pieces, outputs = backward(method, batch.split(parts))
    assert len(outputs) == parts
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, atol=1e-5 * gradient.abs().max().item(), rtol=1e-4)
    torch.testing.assert_close(sum(part.loss for part in outputs), output.loss)


def test_an_unreadable_image_weighs_nothing(method, batch, take, backward) -> None:
    rest = [0, 1, 3, 4, 5]
    targets = tuple(Targets.empty() if number == 2 else target for number, target in enumerate(batch.targets))
    readable = torch.tensor([True, True, False, True, True, True])
    with_it, _ = backward(method, [replace(batch, targets=targets, labeled_readable=readable)])
    without, _ = backward(method, [take(batch, labeled=rest)])
    for name, gradient in without.items():
        torch.testing.assert_close(with_it[name], gradient, atol=1e-5 * gradient.abs().max().item(), rtol=1e-4)


def test_a_batch_of_empty_images_has_finite_gradients_and_no_box_loss(method, batch, backward) -> None:
    empty = replace(batch, targets=(Targets.empty(),) * 6)
    gradients, (output,) = backward(method, [empty])
    assert output.losses["supervised_box"] == 0 < output.losses["supervised_class"]
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert not gradients["box_head.output.weight"].any()


def test_a_batch_without_a_readable_image_gives_no_gradient(method, batch, backward) -> None:
    nothing = replace(batch, labeled_readable=torch.zeros(6, dtype=torch.bool))
    gradients, (output,) = backward(method, [nothing])
    assert output.loss == 0
    assert not any(gradient.any() for gradient in gradients.values())


def test_losses_scale_with_the_normaliser(method, batch) -> None:
    assignment = assign_labeled(method.teacher.model, batch)
    dense = method.student(batch.labeled.images)
    once, twice = (
        supervised_losses(dense, assignment, batch, torch.tensor(count), "smooth_l1") for count in (10.0, 20.0)
    )
    for name, loss in once.items():
        torch.testing.assert_close(twice[name], loss / 2)


def test_the_control_evaluates_the_average_and_restores_it(method, make_model) -> None:
    with torch.no_grad():
        method.student.class_head.output.bias += 1
    assert method.after_optimizer_step()
    assert torch.equal(method.evaluation_model.class_head.output.bias, method.student.class_head.output.bias)
    fresh = make_model(2)
    resumed = Supervised(fresh, Teacher(fresh, 0.9))
    resumed.load_state_dict(method.state_dict())
    assert torch.equal(resumed.evaluation_model.class_head.output.bias, method.student.class_head.output.bias)
    assert resumed.teacher.num_updates == 1
