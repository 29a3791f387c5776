"""Objects of one image on another."""

import numpy as np
import torch

from softdet.data.augment import Augmenter, Policy
from softdet.data.pasting import covered_share, cut_out, hide, mask_of, patches_around
from softdet.data.target_batch import TargetBatch
from softdet.structures import LabeledBatch, Targets, TrainBatch

BOXES = torch.tensor([[10.0, 20, 30, 60], [50, 50, 60, 70]])
NO_MARGIN = torch.zeros(4)


def test_a_patch_reaches_beyond_its_box_by_parts_of_its_sides() -> None:
    assert torch.equal(patches_around(BOXES, NO_MARGIN), BOXES)
    grown = patches_around(BOXES, torch.tensor([0.5, 0.25, 0.1, 0.0]))
    torch.testing.assert_close(grown, torch.tensor([[0.0, 10, 32, 60], [45, 45, 61, 70]]))
    assert patches_around(BOXES[:0], NO_MARGIN).shape == (0, 4)


def test_the_mask_holds_the_pixels_of_all_patches() -> None:
    expected = np.zeros((90, 80), bool)
    expected[20:60, 10:30] = expected[50:70, 50:60] = True
    assert np.array_equal(mask_of(BOXES, (90, 80)).numpy(), expected)
    assert not mask_of(BOXES[:0], (90, 80)).any()
    assert mask_of(torch.tensor([[-9.0, -9, 99, 99]]), (16, 16)).all(), "a patch may reach outside"


def test_the_covered_share_is_that_of_all_patches_together() -> None:
    mask = mask_of(torch.tensor([[0.0, 0, 5, 10], [5, 0, 10, 10], [20, 0, 30, 5]]), (40, 40))
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 20], [20, 0, 30, 10], [30, 30, 40, 40], [-10, 0, 10, 10]])
    assert covered_share(boxes, mask[None], torch.zeros(5, dtype=torch.int64)).tolist() == [1, 0.5, 0.5, 0, 1]
    assert covered_share(torch.tensor([[50.0, 50, 60, 60]]), mask[None], torch.tensor([0])).tolist() == [0], "outside"
    masks = torch.stack([mask, ~mask, torch.zeros_like(mask)])
    assert covered_share(boxes, masks, torch.tensor([0, 1, 1, 2, 1])).tolist() == [1, 0.5, 0.5, 0, 0]
    assert covered_share(boxes[:3], masks, torch.arange(3)[:, None]).tolist() == [
        [1, 0.5, 0.5],
        [0, 0.5, 0.5],
        [0, 0, 0],
    ]


def test_a_box_that_is_hidden_is_ignored_and_one_that_is_seen_stays_whole() -> None:
    targets = Targets(BOXES, torch.tensor([3, 4]), torch.tensor([[0.0, 0, 5, 5]]))

    def left(*patches: list[float]) -> Targets:
        (seen,) = hide(TargetBatch.of([targets]), mask_of(torch.tensor(patches).view(-1, 4), (90, 80))[None]).split()
        return seen

    covered = left([10.0, 20, 30, 50])  # three quarters of the first
    assert covered.labels.tolist() == [4]
    assert torch.equal(covered.boxes, BOXES[1:])
    assert covered.ignored.tolist() == [[0, 0, 5, 5], [10, 20, 30, 60]]
    assert torch.equal(left([10.0, 20, 30, 40]).boxes, BOXES), "half of it is enough"
    assert left([10.0, 20, 30, 40], [10, 40, 30, 60]).labels.tolist() == [4], "two halves are the whole"
    assert torch.equal(left().boxes, BOXES)


def test_of_ignored_regions_comes_along_what_is_in_a_patch() -> None:
    targets = Targets(BOXES, torch.tensor([3, 4]), torch.tensor([[0.0, 0, 20, 90], [70, 70, 80, 80]]))
    assert cut_out(targets, BOXES).ignored.tolist() == [[10, 20, 20, 60]]
    assert len(cut_out(targets, BOXES[:0]).ignored) == 0


def _augmented(positions: slice = slice(None), **probabilities: float):
    images = torch.randint(0, 256, (4, 3, 80, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    targets = tuple(Targets(torch.tensor([[10.0, 10, 40, 40]]), torch.tensor([n]), torch.zeros(0, 4)) for n in range(4))
    places, readable = torch.arange(4)[positions], torch.ones(4, dtype=torch.bool)[positions]
    content = torch.full((len(places), 2), 80)
    labeled = LabeledBatch(images[positions], content, places, readable, targets=targets[positions])
    policy = Policy(scale=(0.8, 1.2), colour=True, **probabilities)
    return Augmenter(policy, Policy(), Policy(), (64, 64), 0)(TrainBatch(7, labeled, None))


def test_labeled_views_have_the_objects_of_the_one_beside_them() -> None:
    plain, pasted = _augmented(), _augmented(paste=1.0)
    assert torch.equal(pasted.labeled.matrices, plain.labeled.matrices)
    for row, other in enumerate([1, 0, 3, 2]):
        assert plain.targets[other].labels.item() in pasted.targets[row].labels.tolist()
        x1, y1, x2, y2 = plain.targets[other].boxes[0].round().int().tolist()
        inside = (slice(None), slice(y1 + 1, y2 - 1), slice(x1 + 1, x2 - 1))
        assert torch.equal(pasted.labeled.images[row][inside], plain.labeled.images[other][inside])
        assert torch.equal(pasted.labeled.clean[row][inside], plain.labeled.clean[other][inside])
        differs = (pasted.labeled.images[row] != plain.labeled.images[row]).any(0)
        assert 0 < differs.float().mean() < 0.9


def test_pasting_comes_before_mixup_and_leaves_other_draws_alone() -> None:
    assert torch.equal(_augmented(paste=1.0, mixup=1.0).labeled.images, _augmented(paste=1.0).labeled.images)
    assert torch.equal(_augmented(mixup=0.5).labeled.matrices, _augmented(paste=0.5).labeled.matrices)


def test_pairs_are_pasted_as_in_the_whole_batch() -> None:
    whole, pair = _augmented(paste=1.0), _augmented(slice(2, 4), paste=1.0)
    assert torch.equal(pair.labeled.images, whole.labeled.images[2:])
    assert all(torch.equal(one.boxes, other.boxes) for one, other in zip(pair.targets, whole.targets[2:], strict=True))
