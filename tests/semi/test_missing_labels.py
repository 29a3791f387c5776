"""What nobody boxed in a labeled image: left alone where the teacher is sure of it."""

from dataclasses import replace

import pytest
import torch

from softdet.models.criterion import assign
from softdet.ops.matching import BACKGROUND, IGNORED
from softdet.semi.missing_labels import with_missing_ignored
from softdet.semi.supervised import Supervised
from softdet.structures import AugmentedBatch, Instances, Targets, View

TRUE = torch.tensor([[0.0, 0, 20, 20], [40, 40, 60, 60]])
CROWD = torch.tensor([[30.0, 0, 64, 10]])


def found(*boxes: tuple[float, float, float, float]) -> Instances:
    count = len(boxes)
    return Instances(torch.tensor(boxes).view(-1, 4), torch.arange(count), torch.full((count,), 0.9))


def without_boxes(batch: AugmentedBatch) -> AugmentedBatch:
    """The same labeled images, as if nobody had drawn a box."""
    return replace(batch, targets=tuple(Targets.empty() for _ in batch.targets))


def test_a_sure_box_that_no_true_box_overlaps_becomes_a_region() -> None:
    targets = Targets(TRUE, torch.tensor([2, 0]), CROWD)
    # IoU with the first true box: 1, .4 (8 of 20 rows), .35, 0; the class plays no part.
    seen = found((0, 0, 20, 20), (0, 0, 20, 8), (0, 0, 20, 7), (20, 20, 40, 40))
    completed = with_missing_ignored(targets, seen)
    assert completed.ignored.tolist() == [[30, 0, 64, 10], [0, 0, 20, 7], [20, 20, 40, 40]]
    assert torch.equal(completed.boxes, TRUE)
    assert completed.labels.tolist() == [2, 0]
    assert len(targets.ignored) == 1


def test_nothing_boxed_and_nothing_found() -> None:
    assert with_missing_ignored(Targets.empty(), found((1, 2, 3, 4))).ignored.tolist() == [[1, 2, 3, 4]]
    for targets in (Targets.empty(), Targets(TRUE, torch.tensor([0, 1]), CROWD)):
        completed = with_missing_ignored(targets, found())
        assert torch.equal(completed.ignored, targets.ignored)
        assert completed.ignored.shape == (len(targets.ignored), 4)


def test_anchors_near_it_teach_neither_background_nor_an_object(make_model) -> None:
    anchors = make_model().anchors_at((64, 64))
    targets = Targets(TRUE, torch.tensor([2, 0]), TRUE[:0])
    before, after = (
        assign(anchors, [each], allow_low_quality=True)
        for each in (targets, with_missing_ignored(targets, found((18, 18, 44, 44))))
    )
    changed = before.labels != after.labels
    assert changed.any()
    assert (before.labels[changed] == BACKGROUND).all()
    assert (after.labels[changed] == IGNORED).all()
    assert torch.equal(before.positive, after.positive)


def test_the_labeled_loss_leaves_out_what_the_teacher_is_sure_of(make_method, batch, backward) -> None:
    nobody_boxed = without_boxes(batch)
    method = make_method(missing_labels="ignore", unsupervised_weight=0.0)
    # The teacher's pseudo boxes on the labeled view, without its colours.
    clean = View(batch.labeled.clean, batch.labeled.matrices, batch.labeled.clean)
    seen = method.labeler.label(replace(batch, weak=clean, unlabeled_readable=batch.labeled_readable))
    sure = [labels.instances[labels.instances.scores > method.score_threshold] for labels in seen]
    assert sum(map(len, sure)) > 0
    targets = tuple(map(with_missing_ignored, nobody_boxed.targets, sure))

    gradients, (output,) = backward(method, [nobody_boxed])
    control = Supervised(method.student, method.teacher)
    expected, (of_regions,) = backward(control, [replace(nobody_boxed, targets=targets)])
    _, (of_background,) = backward(control, [nobody_boxed])
    assert output.losses["supervised_class"] == of_regions.losses["supervised_class"]
    assert output.losses["supervised_class"] < of_background.losses["supervised_class"]
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-5 * gradient.abs().max().item(), rtol=1e-4)


@pytest.mark.parametrize("missing_labels", ["background", "ignore"])
def test_the_burn_in_teaches_background_everywhere(make_method, make_batch, missing_labels: str) -> None:
    nobody_boxed = without_boxes(make_batch(4, unlabeled=False))
    method = make_method(missing_labels=missing_labels, burn_in_steps=10)
    (output,), (expected,) = (
        list(each.step([nobody_boxed])) for each in (method, Supervised(method.student, method.teacher))
    )
    assert torch.equal(output.loss, expected.loss)


def test_where_every_object_is_boxed_nothing_changes(make_method, batch) -> None:
    # The teacher's own boxes on that view, taken for the truth.
    clean = View(batch.labeled.clean, batch.labeled.matrices, batch.labeled.clean)
    method = make_method(missing_labels="ignore")
    seen = method.labeler.label(replace(batch, weak=clean, unlabeled_readable=batch.labeled_readable))
    truth = [labels.instances[labels.instances.scores > method.score_threshold] for labels in seen]
    targets = tuple(Targets(each.boxes, each.labels, each.boxes[:0]) for each in truth)
    outputs = [
        next(iter(make_method(missing_labels=each).step([replace(batch, targets=targets)])))
        for each in ("background", "ignore")
    ]
    assert torch.equal(outputs[0].loss, outputs[1].loss)
