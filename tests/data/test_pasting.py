"""Objects of one image on another."""

import numpy as np
import torch

from softdet.data.augment import Augmenter, Policy
from softdet.data.pasting import hide, is_inside, paste, patches_around
from softdet.structures import LabeledBatch, Targets, TrainBatch

BOXES = torch.tensor([[10.0, 20, 30, 60], [50, 50, 60, 70]])
NO_MARGIN = torch.zeros(4)


def test_a_patch_reaches_beyond_its_box_by_parts_of_its_sides() -> None:
    assert torch.equal(patches_around(BOXES, NO_MARGIN), BOXES)
    grown = patches_around(BOXES, torch.tensor([0.5, 0.25, 0.1, 0.0]))
    torch.testing.assert_close(grown, torch.tensor([[0.0, 10, 32, 60], [45, 45, 61, 70]]))
    assert patches_around(BOXES[:0], NO_MARGIN).shape == (0, 4)


def test_where_the_patches_are_the_other_image_is_seen() -> None:
    image, other = torch.rand(2, 3, 90, 80)
    shown = paste(image, other, BOXES)
    is_other = np.zeros((90, 80), bool)
    is_other[20:60, 10:30] = is_other[50:70, 50:60] = True
    assert torch.equal(shown[:, is_other], other[:, is_other])
    assert torch.equal(shown[:, ~is_other], image[:, ~is_other])
    assert torch.equal(paste(image, other, BOXES[:0]), image)


def test_patches_may_reach_outside_the_image() -> None:
    image, other = torch.rand(2, 3, 16, 16)
    assert torch.equal(paste(image, other, torch.tensor([[-9.0, -9, 99, 99]])), other)
    assert is_inside(torch.tensor([[0.5, 0.5], [20, 0.5]]), torch.tensor([[-9.0, -9, 9, 9]])).tolist() == [True, False]


def test_a_box_that_is_hidden_is_ignored_and_one_that_is_seen_stays_whole() -> None:
    targets = Targets(BOXES, torch.tensor([3, 4]), torch.tensor([[0.0, 0, 5, 5]]))
    left = hide(targets, torch.tensor([[10.0, 20, 30, 50]]))  # three quarters of the first
    assert left.labels.tolist() == [4]
    assert torch.equal(left.boxes, BOXES[1:])
    assert left.ignored.tolist() == [[0, 0, 5, 5], [10, 20, 30, 60]]
    assert torch.equal(hide(targets, torch.tensor([[10.0, 20, 30, 40]])).boxes, BOXES), "half of it is enough"
    assert hide(targets, BOXES[:0]) is targets


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
        differs = (pasted.labeled.images[row] != plain.labeled.images[row]).any(0)
        assert 0 < differs.float().mean() < 0.9


def test_pasting_comes_before_mixup_and_leaves_other_draws_alone() -> None:
    assert torch.equal(_augmented(paste=1.0, mixup=1.0).labeled.images, _augmented(paste=1.0).labeled.images)
    assert torch.equal(_augmented(mixup=0.5).labeled.matrices, _augmented(paste=0.5).labeled.matrices)


def test_pairs_are_pasted_as_in_the_whole_batch() -> None:
    whole, pair = _augmented(paste=1.0), _augmented(slice(2, 4), paste=1.0)
    assert torch.equal(pair.labeled.images, whole.labeled.images[2:])
    assert all(torch.equal(one.boxes, other.boxes) for one, other in zip(pair.targets, whole.targets[2:], strict=True))
