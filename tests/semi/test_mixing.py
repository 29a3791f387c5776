"""An unlabeled and a labeled image in one picture, with the labels of both."""

from dataclasses import replace

import pytest
import torch

from softdet.data.mixup import mix_images
from softdet.data.pasting import covered_share
from softdet.models.criterion import Assignment, assign
from softdet.ops.matching import BACKGROUND, IGNORED
from softdet.semi.class_targets import unsupervised_class_loss
from softdet.semi.labeling import Lesson
from softdet.semi.mixing import Mixture, mix, mix_beliefs, overlay, partners
from softdet.structures import AugmentedBatch, DenseOutput, Targets


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


def _beliefs(mixture: Mixture, logits: torch.Tensor, anchors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    nowhere = torch.zeros(logits.shape[:2], dtype=torch.bool)
    return mixture.beliefs(logits, anchors, assign(anchors, mixture.true, allow_low_quality=True), nowhere)


def test_a_mixed_lesson_teaches_the_pseudo_and_the_true_boxes(make_method, batch, lessons) -> None:
    plain, mixed = lessons
    anchors = make_method().teacher.model.anchors_at(batch.strong.size)
    true = assign(anchors, batch.targets, allow_low_quality=True)
    assert true.positive.any()
    assert plain.boxes.positive.any()
    for part in ("classes", "boxes"):
        assert torch.equal(getattr(mixed, part).positive, getattr(plain, part).positive | true.positive)
    assert torch.equal(mixed.classes.labels[true.positive], true.labels[true.positive])
    only_guessed = plain.classes.positive & ~true.positive
    assert torch.equal(mixed.classes.labels[only_guessed], plain.classes.labels[only_guessed])
    assert (mixed.beliefs.sigmoid().amax(-1)[true.positive] == 1).all()
    assert torch.equal(mixed.images, mix_images(batch.strong.images, batch.labeled.images))


def test_pseudo_boxes_alone_are_counted(lessons) -> None:
    plain, mixed = lessons
    assert mixed.statistics == plain.statistics


def test_where_the_teacher_is_sure_of_nothing_only_the_partners_boxes_are_taught(make_method, batch, lessons) -> None:
    plain, mixed = lessons
    empty = ~plain.weights.any(1)
    assert empty.any()
    true = assign(make_method().teacher.model.anchors_at(batch.strong.size), batch.targets, allow_low_quality=True)
    assert torch.equal(mixed.weights[empty] > 0, true.positive[empty])


def test_what_is_known_comes_before_what_is_guessed() -> None:
    def boxes(*rows: float) -> torch.Tensor:
        return torch.tensor(rows)[:, None].expand(-1, 4)

    true = Assignment(torch.tensor([[1, IGNORED, BACKGROUND, IGNORED, BACKGROUND]]), boxes(1.0))
    guessed = Assignment(torch.tensor([[0, 2, IGNORED, BACKGROUND, BACKGROUND]]), boxes(2.0, 3.0))
    both = overlay(true, guessed)
    assert both.labels.tolist() == [[1, 2, IGNORED, IGNORED, BACKGROUND]]
    assert torch.equal(both.deltas, boxes(1.0, 3.0))
    nothing = Assignment(torch.full((1, 5), BACKGROUND), torch.zeros(0, 4))
    for same in (overlay(true, nothing), overlay(nothing, true)):
        assert torch.equal(same.labels, true.labels)
        assert torch.equal(same.deltas, true.deltas)


@pytest.mark.parametrize("mixup", [False, True], ids=["pasted", "mixed"])
@pytest.mark.parametrize("targets", ["hard", "soft", "dense"])
def test_a_partners_object_that_fits_no_anchor_is_taught(make_method, batch, mixup: bool, targets: str) -> None:
    method = make_method(class_targets=targets, mixup=mixup)
    anchors = method.teacher.model.anchors_at(batch.strong.size)
    small = Targets(torch.tensor([[30.0, 30, 37, 37]]), torch.tensor([2]), torch.zeros(0, 4))
    assert not assign(anchors, [small], allow_low_quality=False).positive.any()
    margins = (None if mixup else torch.full((4,), 0.5), None, None, None)
    lesson = _lesson(method, replace(batch, targets=(small, *batch.targets[1:]), margins=margins))
    taught = assign(anchors, [small], allow_low_quality=True).positive[0]
    assert taught.any()
    assert (lesson.classes.labels[0, taught] == 2).all()
    assert lesson.boxes.positive[0, taught].all()
    assert (lesson.weights[0, taught] == 1).all()
    if targets != "hard":
        assert (lesson.beliefs[0, taught, 2].sigmoid() == 1).all()


def test_the_picture_shows_the_pseudo_and_the_true_boxes(batch, lessons) -> None:
    plain, mixed = lessons
    for without, with_true, true in zip(plain.targets, mixed.targets, batch.targets, strict=True):
        assert torch.equal(with_true.boxes, torch.cat([without.boxes, true.boxes]))


def test_agreement_is_over_the_pseudo_boxes_alone(lessons) -> None:
    plain, mixed = lessons
    assert torch.equal(plain.guessed, plain.classes.positive)
    assert mixed.guessed.any()
    assert (mixed.guessed <= plain.guessed).all()
    assert (mixed.classes.positive & ~mixed.guessed).any()


@pytest.mark.parametrize("targets", ["hard", "soft", "dense", "any"])
def test_the_classes_of_true_boxes_are_taught_whatever_is_said_of_pseudo_ones(make_method, batch, targets: str) -> None:
    method = make_method(class_targets=targets, mixup=True)
    renamed = replace(batch, targets=tuple(replace(each, labels=(each.labels + 1) % 3) for each in batch.targets))
    lessons = [_lesson(method, each) for each in (batch, renamed)]
    output = method.student(lessons[0].images)
    one, other = (unsupervised_class_loss(output, lesson, targets) for lesson in lessons)
    assert not torch.isclose(one, other)


def test_a_mixed_in_region_that_is_neither_box_nor_background_is_not_believed(make_method, batch) -> None:
    method = make_method(class_targets="dense", mixup=True)
    anchors = method.teacher.model.anchors_at(batch.strong.size)
    crowd = replace(batch.targets[0], ignored=torch.tensor([[0.0, 0, 64, 64]]))
    lesson = _lesson(method, replace(batch, targets=(crowd, *batch.targets[1:])))
    true = assign(anchors, [crowd, *batch.targets[1:]], allow_low_quality=True)
    assert (true.labels[0] == IGNORED).any()
    assert torch.equal(lesson.known, true.labels != IGNORED)


@pytest.mark.parametrize("part", ["labeled_readable", "unlabeled_readable"])
def test_a_picture_with_an_unreadable_half_teaches_nothing(make_method, batch, backward, part: str) -> None:
    unreadable = replace(batch, **{part: torch.zeros(4, dtype=torch.bool)})
    lesson = _lesson(make_method(mixup=True, class_targets="soft"), unreadable)
    assert not lesson.readable.any()
    assert not lesson.weights.any()
    _, (output,) = backward(make_method(mixup=True), [unreadable])
    assert output.losses["unsupervised_class"] == output.losses["unsupervised_box"] == 0


MARGINS = (torch.tensor([0.1, 0.2, 0.0, 0.3]), None, torch.zeros(4), None)


def test_a_labeled_images_objects_are_pasted_on_some_unlabeled_ones(batch) -> None:
    mixture = mix(replace(batch, margins=MARGINS), batch.strong.images, mixup=False)
    assert torch.equal(mixture.images[1], batch.strong.images[1])
    assert [len(true) for true in mixture.true] == [len(batch.targets[0]), 0, len(batch.targets[2]), 0]
    assert mixture.masks.flatten(1).any(1).tolist() == [False, False, True, False], "the first's partner is empty"
    assert not mixture.is_mixed.any()
    assert not mixture.masks[[1, 3]].any()
    x1, y1, x2, y2 = batch.targets[2].boxes[0].round().int().tolist()
    assert torch.equal(mixture.images[2, :, y1:y2, x1:x2], batch.labeled.images[2, :, y1:y2, x1:x2])
    assert mixture.masks[2, y1:y2, x1:x2].all()
    both = mix(replace(batch, margins=MARGINS), batch.strong.images, mixup=True)
    assert torch.equal(both.images[[0, 2]], mixture.images[[0, 2]])
    assert torch.equal(both.images[[1, 3]], mix_images(batch.strong.images, batch.labeled.images)[[1, 3]])
    assert both.is_mixed.tolist() == [False, True, False, True]


def test_where_patches_hide_all_nothing_is_believed_but_a_true_box(make_method, batch) -> None:
    anchors = make_method().teacher.model.anchors_at(batch.strong.size)
    mixture = mix(replace(batch, margins=MARGINS), batch.strong.images, mixup=False)
    logits = torch.randn(4, len(anchors), 3)
    beliefs, known = _beliefs(mixture, logits, anchors)
    hidden = covered_share(anchors, mixture.masks, torch.arange(len(mixture.masks))[:, None]) > 0.5
    assert hidden[2].any()
    assert not hidden[[1, 3]].any()
    is_true = beliefs.sigmoid().amax(-1) == 1
    for row in (0, 2):
        strict = assign(anchors, [mixture.true[row]], allow_low_quality=False).positive[0]
        assert (is_true[row] >= strict).all()
    assert (beliefs[hidden & ~is_true].sigmoid() < 1e-6).all()
    assert torch.equal(beliefs[~hidden & ~is_true], logits[~hidden & ~is_true])
    assert not (~known & ~hidden).any()
    true = assign(anchors, mixture.true, allow_low_quality=True)
    _, known = mixture.beliefs(logits, anchors, true, torch.ones_like(hidden))
    assert torch.equal(known, ~hidden | true.positive), "where pseudo boxes are everywhere, a patch says but its own"


def test_a_small_patch_leaves_a_large_object_behind_it_believed(make_method, batch) -> None:
    anchors = make_method().teacher.model.anchors_at(batch.strong.size)
    small = Targets(torch.tensor([[28.0, 28, 36, 36]]), torch.tensor([2]), torch.zeros(0, 4))
    pasted = replace(batch, targets=(small, *batch.targets[1:]), margins=(torch.zeros(4), None, None, None))
    logits = torch.full((4, len(anchors), 3), 3.0)
    beliefs, _ = _beliefs(mix(pasted, batch.strong.images, mixup=False), logits, anchors)
    large = (anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1]) > 900
    assert large.any()
    assert (beliefs[0, large, 0] == 3).all()


def test_no_anchor_learns_the_place_of_a_pseudo_box_and_that_it_is_background(make_method, batch) -> None:
    # Patches over two thirds of each pseudo box: most of it is hidden, and enough to be seen for its place.
    boxes = [targets.boxes for targets in _lesson(make_method(class_targets="soft"), batch).targets]
    over = [torch.cat([box[:, :2], box[:, 2:3] - (box[:, 2:3] - box[:, :1]) / 3, box[:, 3:]], 1) for box in boxes]
    patches = tuple(Targets(part, torch.zeros(len(part), dtype=torch.long), part[:0]) for part in over)
    pasted = replace(batch, targets=patches, margins=(torch.zeros(4), None, torch.zeros(4), None))
    lesson = _lesson(make_method(class_targets="soft", mixup=False), pasted)
    anchors = make_method().teacher.model.anchors_at(batch.strong.size)
    true = assign(anchors, mix(pasted, batch.strong.images, mixup=False).true, allow_low_quality=True)
    is_guessed = lesson.boxes.positive & ~true.positive
    nothing = lesson.beliefs.sigmoid().amax(-1) < 1e-6
    assert (is_guessed & nothing).any()
    assert not (is_guessed & nothing & lesson.known).any()
    logits = torch.zeros_like(lesson.beliefs, requires_grad=True)
    output = DenseOutput(logits, torch.zeros(*logits.shape[:2], 4), anchors)
    unsupervised_class_loss(output, lesson, "soft").backward()
    assert (logits.grad[is_guessed & nothing] == 0).all()
    assert (logits.grad[is_guessed & lesson.known] != 0).any()


def test_an_unreadable_partner_counts_only_where_it_is_mixed_in(make_method, batch) -> None:
    unreadable = replace(
        batch,
        labeled_readable=torch.zeros(4, dtype=torch.bool),
        targets=tuple(Targets.empty() for _ in range(4)),
        margins=(torch.zeros(4), None, None, None),
    )
    assert _lesson(make_method(class_targets="soft"), unreadable).readable.all()
    assert _lesson(make_method(class_targets="soft", mixup=True), unreadable).readable.tolist() == [True] + [False] * 3


def test_a_pasted_lesson_teaches_what_is_to_be_seen(make_method, batch, backward) -> None:
    pasted = replace(batch, margins=MARGINS)
    lesson = _lesson(make_method(class_targets="soft"), pasted)
    plain = _lesson(make_method(class_targets="soft"), batch)
    anchors = make_method().teacher.model.anchors_at(batch.strong.size)
    true = assign(anchors, mix(pasted, batch.strong.images, mixup=False).true, allow_low_quality=False)
    assert (lesson.classes.positive >= true.positive).all()
    assert torch.equal(lesson.classes.positive[[1, 3]], plain.classes.positive[[1, 3]])
    assert lesson.statistics == plain.statistics, "what the teacher found is counted"
    _, (output,) = backward(make_method(class_targets="soft"), [pasted])
    assert output.loss.isfinite()
