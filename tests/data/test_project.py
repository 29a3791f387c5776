"""Targets in other views."""

import numpy as np
import pytest
import torch
from made_targets import targets
from torch import Tensor

from softdet.data.augment import project as project_all
from softdet.data.target_batch import TargetBatch
from softdet.ops.affine import compose, invert
from softdet.structures import Targets

SIZE = (80, 96)


def random_targets(seed: int) -> Targets:
    """Boxes well inside a 96 x 80 view."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform((30, 25), (50, 40), (20, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(4, 14, (20, 2))], 1)
    return Targets(torch.from_numpy(boxes).float(), torch.arange(20), torch.from_numpy(boxes[:3] + 1).float())


def random_map(rng: np.random.Generator) -> Tensor:
    """Scale and flip about the middle and a small shift: nothing leaves the view."""
    flip = rng.choice([-1.0, 1.0])
    scale, shift = rng.uniform(0.8, 1.2), rng.uniform(-2, 2, 2)
    x, y = 48 - flip * scale * 48 + shift[0], 40 - scale * 40 + shift[1]
    return torch.tensor([[flip * scale, 0, x], [0, scale, y], [0, 0, 1]], dtype=torch.float32)


def project(targets: Targets, matrix: Tensor, size: tuple[int, int]) -> Targets:
    (moved,) = project_all(TargetBatch.of([targets]), matrix[None], size).split()
    return moved


def assert_same(first: Targets, second: Targets) -> None:
    torch.testing.assert_close(first.boxes, second.boxes, atol=1e-3, rtol=0)
    torch.testing.assert_close(first.ignored, second.ignored, atol=1e-3, rtol=0)
    assert torch.equal(first.labels, second.labels)


def test_projecting_into_the_same_view_is_the_identity() -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        matrix = random_map(rng)
        assert_same(project(random_targets(seed), torch.eye(3), SIZE), random_targets(seed))
        assert_same(project(random_targets(seed), compose(matrix, invert(matrix)), SIZE), random_targets(seed))


def test_projecting_composes() -> None:
    rng = np.random.default_rng(1)
    for seed in range(20):
        first, second = random_map(rng), random_map(rng)
        by_way_of = project(project(random_targets(seed), first, SIZE), second, SIZE)
        assert_same(by_way_of, project(random_targets(seed), compose(second, first), SIZE))


def test_two_flips_are_the_identity() -> None:
    flip = torch.tensor([[-1.0, 0, SIZE[1]], [0, 1, 0], [0, 0, 1]])
    once = project(random_targets(0), flip, SIZE)
    torch.testing.assert_close(once.boxes[:, 0], SIZE[1] - random_targets(0).boxes[:, 2])
    assert_same(project(once, flip, SIZE), random_targets(0))


@pytest.mark.parametrize(("left", "taught"), [(-69.0, True), (-71.0, False), (65.0, True), (67.0, False)])
def test_a_box_clipped_below_30_percent_is_ignored_and_not_background(left: float, taught: bool) -> None:
    # Trap 5: what is left of an object that was cut off must not be taught as background.
    shift = torch.tensor([[1.0, 0, left], [0, 1, 0], [0, 0, 1]])
    moved = project(targets((0.0, 10, 100, 50)), shift, SIZE)
    visible = [max(left, 0), 10, min(left + 100, SIZE[1]), 50]
    assert moved.boxes.tolist() == ([visible] if taught else [])
    assert moved.ignored.tolist() == ([] if taught else [visible])
    assert moved.labels.tolist() == ([0] if taught else [])


def test_what_is_out_of_sight_is_gone_and_slivers_are_ignored() -> None:
    moved = project(
        targets((200.0, 10, 250, 50), (10, 10, 10.5, 50), (20, 20, 40, 40), ignored=((-9, -9, 5, 5), (0, 90, 9, 99))),
        torch.eye(3),
        SIZE,
    )
    assert moved.boxes.tolist() == [[20, 20, 40, 40]]
    assert moved.labels.tolist() == [2]
    assert moved.ignored.tolist() == [[0, 0, 5, 5], [10, 10, 10.5, 50]]


def test_each_image_of_a_batch_is_projected_by_its_own_map() -> None:
    rng = np.random.default_rng(2)
    shift = torch.tensor([[1.0, 0, 50], [0, 1, 0], [0, 0, 1]])
    every = [
        random_targets(0),
        Targets.empty(),
        targets((0.0, 10, 100, 50), ignored=((5, 5, 9, 9),)),
        random_targets(3),
    ]
    matrices = torch.stack([random_map(rng), torch.eye(3), shift, shift])
    together = project_all(TargetBatch.of(every), matrices, SIZE).split()
    assert 0 < len(together[3]) < 20, "some are shifted out of sight"
    for each, alone, matrix in zip(together, every, matrices, strict=True):
        expected = project(alone, matrix, SIZE)
        assert torch.equal(each.boxes, expected.boxes)
        assert torch.equal(each.labels, expected.labels)
        assert torch.equal(each.ignored, expected.ignored)


def test_nothing_projects_to_nothing() -> None:
    moved = project(Targets.empty(), torch.eye(3), SIZE)
    assert (moved.boxes.shape, moved.labels.shape, moved.ignored.shape) == ((0, 4), (0,), (0, 4))
