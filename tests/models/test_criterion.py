import math

import pytest
import torch
from torch import Tensor

from softdet.models.criterion import Assignment, assign, classification_loss, regression_loss
from softdet.ops.box_coding import encode
from softdet.ops.matching import BACKGROUND, IGNORED
from softdet.structures import DenseOutput, Targets

BOXES = torch.tensor([[4.0, 4, 28, 28], [22, 24, 52, 54], [1, 40, 6, 46]])
NO_BOX = BOXES[:0]


def targets(*labels: int, ignored: Tensor = NO_BOX) -> Targets:
    return Targets(BOXES[: len(labels)], torch.tensor(labels, dtype=torch.int64), ignored)


def iou(a: list[float], b: list[float]) -> float:
    inter = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def slow_labels(anchors: Tensor, target: Targets, *, allow_low_quality: bool) -> list[int]:
    boxes = target.boxes.tolist()
    overlaps = [[iou(anchor, box) for box in boxes] for anchor in anchors.tolist()]
    best_of_box = [max(row[n] for row in overlaps) for n in range(len(boxes))]
    labels = []
    for anchor, row in zip(anchors.tolist(), overlaps, strict=True):
        best = max(row, default=0.0)
        is_best = any(math.isclose(mine, top, rel_tol=1e-6) for mine, top in zip(row, best_of_box, strict=True))
        label = BACKGROUND if best < 0.4 else IGNORED
        if best >= 0.5 or (allow_low_quality and is_best):
            label = int(target.labels[row.index(best)])
        for region in target.ignored.tolist():
            inter = max(0.0, min(anchor[2], region[2]) - max(anchor[0], region[0]))
            inter *= max(0.0, min(anchor[3], region[3]) - max(anchor[1], region[1]))
            share = inter / ((anchor[2] - anchor[0]) * (anchor[3] - anchor[1]))
            if label == BACKGROUND and (iou(anchor, region) >= 0.4 or share >= 0.5):
                label = IGNORED
        labels.append(label)
    return labels


def slow_focal(logits: Tensor, label: int) -> float:
    total = 0.0
    for k, logit in enumerate(logits.double().tolist()):
        p = 1 / (1 + math.exp(-logit))
        total += -0.25 * (1 - p) ** 2 * math.log(p) if k == label else -0.75 * p**2 * math.log(1 - p)
    return total


def slow_box(deltas: Tensor, expected: Tensor) -> float:
    total = 0.0
    for d, e in zip(deltas.double().tolist(), expected.double().tolist(), strict=True):
        error = abs(d - e)
        total += error - 1 / 18 if error >= 1 / 9 else 4.5 * error**2
    return total


@pytest.mark.parametrize("allow_low_quality", [True, False])
def test_assignment_is_that_of_a_slow_loop(make_output, allow_low_quality: bool) -> None:
    anchors = make_output().anchors
    crowd = torch.tensor([[30.0, 0, 64, 30], [0, 30, 20, 34]])
    batch = [targets(2, 0, 1, ignored=crowd), targets(1), targets(ignored=crowd), targets()]
    assignment = assign(anchors, batch, allow_low_quality=allow_low_quality)
    for row, target in zip(assignment.labels.tolist(), batch, strict=True):
        assert row == slow_labels(anchors, target, allow_low_quality=allow_low_quality)
    assert set(assignment.labels.flatten().tolist()) == {IGNORED, BACKGROUND, 0, 1, 2}


def test_offsets_lie_in_the_order_of_the_positive_anchors(make_output) -> None:
    anchors = make_output().anchors
    batch = [targets(2, 0), targets(1)]
    assignment = assign(anchors, batch, allow_low_quality=False)
    start = 0
    for row, target in zip(assignment.labels, batch, strict=True):
        for anchor, label in zip(anchors[row >= 0], row[row >= 0].tolist(), strict=True):
            box = target.boxes[target.labels.tolist().index(label)]
            torch.testing.assert_close(assignment.deltas[start], encode(box, anchor))
            start += 1
    assert start == len(assignment.deltas) > 2


def test_an_object_in_a_crowd_is_still_taught(make_output) -> None:
    anchors = make_output().anchors
    everywhere = torch.tensor([[0.0, 0, 64, 64]])
    with_crowd = assign(anchors, [targets(2, 0, ignored=everywhere)], allow_low_quality=True)
    without = assign(anchors, [targets(2, 0)], allow_low_quality=True)
    assert torch.equal(with_crowd.positive, without.positive)
    assert (with_crowd.labels == BACKGROUND).sum() < (without.labels == BACKGROUND).sum()


def test_losses_are_those_of_a_slow_loop(make_output) -> None:
    output = make_output()
    assignment = assign(output.anchors, [targets(2, 0), targets(1)], allow_low_quality=True)
    weights = torch.rand(2, len(output.anchors), generator=torch.Generator().manual_seed(1))
    class_sum, box_sum, number = 0.0, 0.0, 0
    for image in range(2):
        for a in range(len(output.anchors)):
            label, weight = int(assignment.labels[image, a]), float(weights[image, a])
            if label != IGNORED:
                class_sum += weight * slow_focal(output.logits[image, a], label)
            if label >= 0:
                box_sum += weight * slow_box(output.deltas[image, a], assignment.deltas[number])
                number += 1
    assert float(classification_loss(output, assignment, weights)) == pytest.approx(class_sum, rel=1e-4)
    assert float(regression_loss(output, assignment, weights)) == pytest.approx(box_sum, rel=1e-4)


def test_batched_sums_are_sums_of_single_images(make_output) -> None:
    output = make_output(3)
    batch = [targets(2, 0), targets(), targets(1, ignored=BOXES[1:2])]
    weights = torch.rand(3, 1)
    assignment = assign(output.anchors, batch, allow_low_quality=True)
    singles = output.split([1, 1, 1])
    for loss in (classification_loss, regression_loss):
        alone = [
            loss(single, assign(output.anchors, [target], allow_low_quality=True), weight[None])
            for single, target, weight in zip(singles, batch, weights, strict=True)
        ]
        torch.testing.assert_close(loss(output, assignment, weights), torch.stack(alone).sum())


def test_an_empty_image_gives_finite_gradients_and_no_box_loss(make_output) -> None:
    output = make_output(1)
    output = DenseOutput(output.logits.requires_grad_(), output.deltas.requires_grad_(), output.anchors)
    assignment = assign(output.anchors, [Targets.empty()], allow_low_quality=True)
    box_loss = regression_loss(output, assignment, torch.ones(1, 1))
    class_loss = classification_loss(output, assignment, torch.ones(1, 1))
    (box_loss + class_loss).backward()
    assert box_loss == 0 < class_loss
    assert torch.equal(output.deltas.grad, torch.zeros_like(output.deltas))
    assert output.logits.grad.isfinite().all()
    assert (output.logits.grad > 0).all(), "every class of every anchor is pushed down"


def test_wild_outputs_still_have_finite_gradients(make_output) -> None:
    output = make_output(1)
    logits = (output.logits.sign() * 1e4).requires_grad_()
    deltas = (output.deltas.sign() * 1e4).requires_grad_()
    wild = DenseOutput(logits, deltas, output.anchors)
    assignment = assign(output.anchors, [targets(2, 0)], allow_low_quality=True)
    loss = classification_loss(wild, assignment, torch.ones(1, 1)) + regression_loss(wild, assignment, torch.ones(1, 1))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    assert deltas.grad.isfinite().all()


@pytest.mark.parametrize("label", [0, 2])
def test_trap_7_perfect_outputs_cost_nothing_for_the_first_and_the_last_label(make_output, label: int) -> None:
    output = make_output(1)
    assignment = assign(output.anchors, [targets(label)], allow_low_quality=True)
    positive = assignment.positive[0]
    logits = torch.full_like(output.logits, -20.0)
    logits[0, positive, label] = 20.0
    deltas = torch.zeros_like(output.deltas)
    deltas[0, positive] = assignment.deltas
    perfect = DenseOutput(logits, deltas, output.anchors)
    weights = torch.ones(1, 1)
    assert positive.any()
    assert float(classification_loss(perfect, assignment, weights)) < 1e-6
    assert float(regression_loss(perfect, assignment, weights)) < 1e-6
    wrong = DenseOutput(logits.roll(1, dims=2), deltas + 1, output.anchors)
    assert float(classification_loss(wrong, assignment, weights)) > 1
    assert float(regression_loss(wrong, assignment, weights)) > 1


def test_ignored_anchors_and_weight_zero_get_no_gradient(make_output) -> None:
    output = make_output(2)
    output = DenseOutput(output.logits.requires_grad_(), output.deltas.requires_grad_(), output.anchors)
    assignment = assign(output.anchors, [targets(2, 0), targets(1)], allow_low_quality=True)
    weights = torch.tensor([[1.0], [0.0]])
    loss = classification_loss(output, assignment, weights) + regression_loss(output, assignment, weights)
    loss.backward()
    silent = assignment.labels[0] == IGNORED
    assert silent.any()
    assert not output.logits.grad[0, silent].any()
    assert output.logits.grad[0, ~silent].all()
    assert not output.logits.grad[1].any()
    assert not output.deltas.grad[1].any()


def test_the_loss_is_float32_whatever_the_outputs_are(make_output) -> None:
    output = make_output(1)
    low = DenseOutput(output.logits.bfloat16(), output.deltas.bfloat16(), output.anchors)
    assignment: Assignment = assign(output.anchors, [targets(2)], allow_low_quality=True)
    for loss in (classification_loss, regression_loss):
        value = loss(low, assignment, torch.ones(1, 1))
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, loss(output, assignment, torch.ones(1, 1)), rtol=0.02, atol=0)
