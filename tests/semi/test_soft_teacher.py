from dataclasses import replace

import pytest
import torch
from torch import Tensor

from softdet.ops.losses import focal_loss, smooth_l1_loss
from softdet.ops.matching import IGNORED
from softdet.semi.losses import assign_labeled
from softdet.semi.supervised import Supervised
from softdet.semi.teacher import Teacher
from softdet.structures import StepOutput

SIZE = (64, 64)


def close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    for name, gradient in other.items():
        torch.testing.assert_close(one[name], gradient, atol=1e-5 * gradient.abs().max().item(), rtol=1e-4, msg=name)


def test_the_burn_in_is_the_supervised_control_exactly(make_method, make_batch, backward) -> None:
    batch = make_batch(4, unlabeled=False)
    method = make_method(burn_in_steps=10)
    mine, (output,) = backward(method, [batch])
    control, (expected,) = backward(Supervised(method.student, method.teacher), [batch])
    assert output.losses.keys() == expected.losses.keys() == {"supervised_class", "supervised_box"}
    assert torch.equal(output.loss, expected.loss)
    assert all(torch.equal(mine[name], gradient) for name, gradient in control.items())
    assert output.statistics == {}
    assert len(method.labeler.uncertainty_threshold.recent) == 0


def test_the_weight_is_zero_in_the_burn_in_then_ramps_then_stays(make_method) -> None:
    method = make_method(burn_in_steps=10, ramp_steps=4, unsupervised_weight=2.0)
    assert [method.weight_at(step) for step in (0, 9, 10, 11, 12, 13, 14, 1000)] == [0, 0, 0.5, 1, 1.5, 2, 2, 2]
    at_once = make_method(burn_in_steps=10, unsupervised_weight=2.0)
    assert [at_once.weight_at(step) for step in (9, 10, 11)] == [0, 2, 2]


def test_weight_zero_gives_the_supervised_gradients(make_method, batch, backward) -> None:
    method = make_method(unsupervised_weight=0.0)
    mine, (output,) = backward(method, [batch])
    control, (expected,) = backward(Supervised(method.student, method.teacher), [batch])
    assert output.losses["unsupervised_class"] > 0
    torch.testing.assert_close(output.loss, expected.loss)
    close(mine, control)


def test_the_ramp_takes_the_step_of_the_batch(make_method, make_batch) -> None:
    method = make_method(burn_in_steps=0, ramp_steps=4)
    for step in (0, 1, 7):
        (output,) = method.step([make_batch(4, step)])
        terms = output.losses
        expected = terms["supervised_class"] + terms["supervised_box"]
        expected = expected + method.weight_at(step) * (terms["unsupervised_class"] + terms["unsupervised_box"])
        torch.testing.assert_close(output.loss.detach(), expected)


def test_the_losses_are_those_of_the_lesson_over_the_batchs_positives(make_method, batch) -> None:
    method = make_method()
    (output,) = method.step([batch])
    lesson = method.labeler.prepare(batch, method.labeler.label(batch))
    dense = method.student(batch.strong.images)
    used = (lesson.classes.labels != IGNORED) * lesson.weights
    classes = (focal_loss(dense.logits, lesson.classes.labels) * used).sum() / lesson.classes.positive.sum()
    boxes = smooth_l1_loss(dense.deltas[lesson.boxes.positive], lesson.boxes.deltas).sum() / lesson.boxes.positive.sum()
    assert lesson.classes.positive.sum() > lesson.boxes.positive.sum() > 0
    torch.testing.assert_close(output.losses["unsupervised_class"], classes.detach())
    torch.testing.assert_close(output.losses["unsupervised_box"], boxes.detach())


def test_trap_1_pseudo_losses_are_over_the_positives_of_the_whole_batch(make_method, batch, take) -> None:
    # Every image counts, so that one without pseudo boxes would dominate if it were divided by its own positives.
    options = {"empty_image_weight": 1.0, "uncertainty": 10.0}
    method = make_method(**options)
    per_image = method.labeler.prepare(batch, method.labeler.label(batch)).classes.positive.sum(1)
    assert per_image.min() == 0 < per_image.max()
    (together,) = method.step([batch])
    alone = [next(iter(make_method(**options).step([take(batch, unlabeled=[image])]))) for image in range(4)]
    sums = [
        part.losses["unsupervised_class"] * count.clamp(min=1) for part, count in zip(alone, per_image, strict=True)
    ]
    torch.testing.assert_close(together.losses["unsupervised_class"], torch.stack(sums).sum() / per_image.sum())


def test_dense_scores_weigh_no_more_where_the_teacher_is_sure_of_nothing(make_method, batch, take) -> None:
    unlabeled = take(batch, unlabeled=[0, 1])
    method, unsure = (make_method(class_targets="dense", score_threshold=threshold) for threshold in (0.3, 1.0))
    taught = method.labeler.prepare(unlabeled, method.labeler.label(unlabeled)).classes.positive.sum()
    true = assign_labeled(method.teacher.model, unlabeled).positive.sum() * 2 / len(batch.labeled.images)
    (sure,), (without,) = method.step([unlabeled]), unsure.step([unlabeled])
    assert without.statistics["pseudo_boxes"] == 0
    # Without a pseudo box as many positives are taken as labeled images have, not one.
    torch.testing.assert_close(
        sure.losses["unsupervised_class"] * taught.maximum(true), without.losses["unsupervised_class"] * true
    )


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize(("background", "reliability"), [("soft", "cluster"), ("ignore", "none")])
def test_trap_1_micro_batches_give_the_whole_batchs_gradients(
    make_method, batch, backward, parts: int, background: str, reliability: str
) -> None:
    whole, pieces = (make_method(background=background, box_reliability=reliability) for _ in range(2))
    expected, (output,) = backward(whole, [batch])
    gradients, outputs = backward(pieces, batch.split(parts))
    close(gradients, expected)
    for name, loss in output.losses.items():
        torch.testing.assert_close(sum(part.losses[name] for part in outputs), loss)
    assert (0 < whole.labeler.uncertainty_threshold.value < 1) == (reliability == "cluster")
    assert pieces.labeler.uncertainty_threshold.value == pytest.approx(
        whole.labeler.uncertainty_threshold.value, abs=1e-6
    )


def test_trap_2_an_image_without_pseudo_boxes_is_not_background(make_method, batch, take, backward) -> None:
    method = make_method()
    lesson = method.labeler.prepare(batch, method.labeler.label(batch))
    has_boxes = lesson.classes.positive.any(1)
    assert has_boxes.tolist() == [True, False, True, False]
    assert lesson.statistics["empty_images"] == 0.5
    assert not lesson.weights[~has_boxes].any()
    assert lesson.weights[has_boxes].any()
    mine, _ = backward(method, [batch])
    without, _ = backward(make_method(), [take(batch, unlabeled=[0, 2])])
    close(mine, without)


@pytest.mark.parametrize("weight", [0.0, 0.01, 0.5])
def test_trap_2_the_gate_scales_an_empty_image(make_method, batch, take, weight: float) -> None:
    empty = take(batch, unlabeled=[1, 3])
    (full,) = make_method(empty_image_weight=1.0).step([empty])
    (gated,) = make_method(empty_image_weight=weight).step([empty])
    assert full.losses["unsupervised_class"] > 1e-3
    torch.testing.assert_close(gated.losses["unsupervised_class"], weight * full.losses["unsupervised_class"])
    assert gated.losses["unsupervised_box"] == full.losses["unsupervised_box"] == 0


def test_a_place_is_taught_where_no_class_is_sure(make_method, batch, take) -> None:
    # The gate holds back background; a box that is good enough to regress teaches all the same.
    unsure = take(batch, unlabeled=[0, 2])
    method = make_method(score_threshold=0.999, box_score_threshold=0.3, uncertainty=1.0)
    (output,) = method.step([unsure])
    lesson = method.labeler.prepare(unsure, method.labeler.label(unsure))
    deltas = method.student(unsure.strong.images).deltas[lesson.boxes.positive]
    assert output.losses["unsupervised_class"] == 0 < output.losses["unsupervised_box"]
    expected = smooth_l1_loss(deltas, lesson.boxes.deltas).mean()
    torch.testing.assert_close(output.losses["unsupervised_box"], expected.detach())


def test_trap_6_the_teacher_gets_no_gradient_and_no_statistics_from_a_step(
    make_method, make_model, batch, backward
) -> None:
    live = make_model(1, freeze_batchnorm=False).train()
    method = make_method(live, Teacher(make_model(0, freeze_batchnorm=False), 0.9))
    before = {name: tensor.clone() for name, tensor in method.teacher.model.state_dict().items()}
    backward(method, [batch])
    assert all(parameter.grad is None for parameter in method.teacher.model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.teacher.model.state_dict().items())
    assert not any(module.training for module in method.teacher.model.modules())
    assert method.after_optimizer_step()
    assert not all(torch.equal(tensor, before[name]) for name, tensor in method.teacher.model.state_dict().items())


def loss_ratio(output: StepOutput) -> float:
    """The unlabeled images' weighted losses against the labeled ones'."""
    known = sum(loss.item() for name, loss in output.losses.items() if name.startswith("supervised"))
    return output.loss.item() / known - 1


@pytest.mark.parametrize("weight", [1.0, 4.0])
def test_trap_9_the_ratio_of_the_losses_is_the_weight_times_theirs(make_method, batch, weight: float) -> None:
    (output,) = make_method(unsupervised_weight=weight).step([batch])
    terms = {name: loss.item() for name, loss in output.losses.items()}
    unsupervised = terms["unsupervised_class"] + terms["unsupervised_box"]
    expected = weight * unsupervised / (terms["supervised_class"] + terms["supervised_box"])
    assert loss_ratio(output) == pytest.approx(expected, rel=1e-5)


def test_an_unreadable_unlabeled_image_weighs_nothing(make_method, batch, take, backward) -> None:
    method, other = make_method(empty_image_weight=1.0), make_method(empty_image_weight=1.0)
    readable = torch.tensor([False, True, True, True])
    with_it, (output,) = backward(method, [replace(batch, unlabeled_readable=readable)])
    without, (expected,) = backward(other, [take(batch, unlabeled=[1, 2, 3])])
    assert len(make_method().labeler.label(batch)[0]) > 0, "the teacher sees boxes in it"
    close(with_it, without)
    assert torch.equal(method.labeler.uncertainty_threshold.recent, other.labeler.uncertainty_threshold.recent)
    torch.testing.assert_close(output.loss, expected.loss)


def test_soft_and_ignored_background_cost_less_than_believed_background(make_method, batch) -> None:
    losses = {}
    for background in ("soft", "ignore", "none"):
        (output,) = make_method(background=background, doubtful_threshold=0.06).step([batch])
        losses[background] = output.losses["unsupervised_class"].item()
    assert losses["soft"] < losses["none"]
    assert losses["ignore"] < losses["none"]
    lesson = make_method(background="none", empty_image_weight=1.0).labeler.prepare(
        batch, make_method().labeler.label(batch)
    )
    assert (lesson.weights == 1).all()


def test_nothing_agreed_upon_means_no_box_loss(make_method, batch) -> None:
    method = make_method(box_reliability="anchors", uncertainty=0.0)
    (output,) = method.step([batch])
    assert output.losses["unsupervised_box"] == 0 < output.losses["unsupervised_class"]
    assert output.statistics["pseudo_boxes_regressed"] == 0


def test_a_restored_method_goes_on_the_same(make_method, make_teacher, batch, backward) -> None:
    straight = make_method(teacher=make_teacher(0.999))
    straight.teacher.num_updates = 1000
    for _ in range(2):
        backward(straight, [batch])
        straight.after_optimizer_step()
    resumed = make_method(straight.student, make_teacher(0.999))
    resumed.load_state_dict(straight.state_dict())
    assert resumed.teacher.num_updates == 1002
    expected, (first,) = backward(straight, [batch])
    gradients, (second,) = backward(resumed, [batch])
    assert second.statistics == first.statistics
    assert first.losses["unsupervised_box"] > 0
    assert all(torch.equal(gradients[name], gradient) for name, gradient in expected.items())


def test_losses_of_unlabeled_images_stay_under_the_largest_ratio(make_method, batch, backward) -> None:
    _, (free,) = backward(make_method(), [batch])
    ratio = loss_ratio(free)
    _, (capped,) = backward(make_method(max_loss_ratio=ratio / 4), [batch])
    _, (roomy,) = backward(make_method(max_loss_ratio=ratio * 4), [batch])
    assert loss_ratio(capped) == pytest.approx(ratio / 4, rel=1e-4)
    assert capped.losses["unsupervised_box"] == free.losses["unsupervised_box"], "losses are told as they are"
    assert torch.equal(roomy.loss, free.loss)


def test_the_cap_shrinks_gradients_and_keeps_their_direction(make_method, batch, backward) -> None:
    known, _ = backward(make_method(unsupervised_weight=0.0), [batch])
    free, (output,) = backward(make_method(), [batch])
    capped, _ = backward(make_method(max_loss_ratio=loss_ratio(output) / 2), [batch])
    for name, gradient in free.items():
        torch.testing.assert_close(capped[name] - known[name], (gradient - known[name]) / 2, rtol=1e-3, atol=1e-5)


def test_automatic_thresholds_follow_what_the_teacher_finds(make_method, batch, backward) -> None:
    method = make_method(score_threshold=None)
    _, (output,) = backward(method, [batch])
    thresholds = method.labeler.score_thresholds
    kept = sum(
        (found.instances.scores > thresholds.of(found.instances.labels)).sum() for found in method.labeler.label(batch)
    )
    assert kept / 4 == output.statistics["pseudo_boxes"] <= 3.0
    assert ((thresholds.value >= 0.1) & (thresholds.value <= 1)).all()


def test_the_threshold_of_each_class_is_logged_where_it_is_automatic_lowered_or_not(make_method, batch) -> None:
    names = ("red", "green", "blue")
    columns = [f"threshold/{name}" for name in names]
    method = make_method(score_threshold=None, class_names=names)
    list(method.step([batch]))
    method.lower_score_thresholds(0.5, 0.05)
    (output,) = method.step([batch])
    assert [output.statistics[column] for column in columns] == method.labeler.score_thresholds.value.tolist()
    (fixed,) = make_method(class_names=names).step([batch])
    assert not set(columns) & set(fixed.statistics)


@pytest.mark.parametrize(
    ("threshold", "weight", "found"), [(0.9, 2, (0.45, 0)), (0.7, 2, (0.7, 0)), (0.9, 1, (0.45, 1))]
)
def test_what_was_turned_stands_until_its_key_is_changed(make_method, threshold, weight, found) -> None:
    method = make_method(score_threshold=0.9, unsupervised_weight=2)
    method.lower_score_thresholds(0.5, 0.2)
    method.set_unsupervised_weight(0.0)
    state = method.state_dict()
    # Nor does it come back with the next checkpoint.
    for _ in range(2):
        resumed = make_method(score_threshold=threshold, unsupervised_weight=weight)
        resumed.load_state_dict(state)
        assert (resumed.score_threshold, resumed.unsupervised_weight) == found
        state = resumed.state_dict()
