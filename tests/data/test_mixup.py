"""Two labeled images in one picture."""

import pytest
import torch

from softdet.data.augment import Augmenter, Policy
from softdet.data.mixup import mix_images, mix_targets, neighbours
from softdet.structures import LabeledBatch, Targets, TrainBatch

ALL = torch.ones(8, dtype=torch.bool)


def test_a_picture_is_half_of_each_and_an_image_with_itself_is_itself() -> None:
    images = torch.rand(3, 3, 8, 8)
    mixed = mix_images(images, images[[1, 0, 2]])
    torch.testing.assert_close(mixed[0], (images[0] + images[1]) / 2)
    assert torch.equal(mixed[2], images[2])


def test_targets_are_those_of_both_once() -> None:
    one, other = (Targets(torch.rand(n, 4), torch.arange(n), torch.rand(n + 1, 4)) for n in (2, 3))
    both, alone = mix_targets([one, other], [other, None])
    assert torch.equal(both.boxes, torch.cat([one.boxes, other.boxes]))
    assert both.labels.tolist() == [0, 1, 0, 1, 2]
    assert len(both.ignored) == 7
    assert alone is other


@pytest.mark.parametrize("asked", [ALL, torch.arange(8) % 3 == 0])
def test_micro_batches_of_whole_pairs_have_the_neighbours_of_the_batch(asked: torch.Tensor) -> None:
    whole = neighbours(torch.arange(8), asked, ALL)
    parts = [neighbours(torch.arange(s, s + 2), asked[s : s + 2], ALL[:2]) for s in range(0, 8, 2)]
    assert whole == [row + 2 * part for part, rows in enumerate(parts) for row in rows]
    assert [whole[row] != row for row in range(8)] == asked.tolist()
    assert all(whole[row] in (row, row ^ 1) for row in range(8))


def test_who_has_no_neighbour_or_an_unreadable_one_stays_alone() -> None:
    readable = torch.tensor([True, False, True, True, True])
    assert neighbours(torch.arange(5), ALL[:5], readable) == [0, 1, 3, 2, 4]
    assert neighbours(torch.tensor([3, 4]), ALL[:2], ALL[:2]) == [0, 1], "they aren't a pair"


def _augmented(mixup: float):
    images = torch.randint(0, 256, (4, 3, 80, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    targets = tuple(Targets(torch.tensor([[10.0, 10, 60, 60]]), torch.tensor([n]), torch.zeros(0, 4)) for n in range(4))
    content, positions = torch.full((4, 2), 80), torch.arange(4)
    labeled = LabeledBatch(images, content, positions, torch.ones(4, dtype=torch.bool), targets=targets)
    policy = Policy(scale=(0.8, 1.2), colour=True, mixup=mixup)
    return Augmenter(policy, Policy(), Policy(), (64, 64), 0)(TrainBatch(7, labeled, None))


def test_the_labeled_views_are_mixed_after_each_was_augmented() -> None:
    plain, mixed = _augmented(0.0), _augmented(1.0)
    assert torch.equal(mixed.labeled.matrices, plain.labeled.matrices)
    assert torch.equal(mixed.labeled.images, mix_images(plain.labeled.images, plain.labeled.images[[1, 0, 3, 2]]))
    assert torch.equal(mixed.labeled.clean, mix_images(plain.labeled.clean, plain.labeled.clean[[1, 0, 3, 2]]))
    assert [sorted(targets.labels.tolist()) for targets in mixed.targets] == [[0, 1], [0, 1], [2, 3], [2, 3]]


def test_the_probability_is_that_of_being_mixed() -> None:
    counts = [len(targets) - 1 for targets in _augmented(0.5).targets]
    assert 0 < sum(counts) < 4
    assert sum(len(targets) - 1 for targets in _augmented(0.0).targets) == 0
