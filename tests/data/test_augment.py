from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from made_targets import targets
from torch import Tensor

from softdet.data.augment import Augmenter, Branch, Policy, draw
from softdet.data.colour import GREY
from softdet.ops.affine import compose, invert, transform_boxes
from softdet.structures import (
    AugmentedBatch,
    LabeledBatch,
    Targets,
    TrainBatch,
    UnlabeledBatch,
    View,
)

SIZE, STORED = (80, 96), (100, 120)
PLAIN = Policy(flip=0.0)
WEAK = Policy(flip=0.5, scale=(0.6, 1.0))
STRONG = Policy(0.5, (0.6, 1.25), translate=0.1, colour=True, erase=True)
EVERYTHING = replace(STRONG, rotate=20.0, shear=10.0)
SEED = 7


def batch_of(images: Tensor, step: int, taught: tuple[Targets, ...], content: tuple[int, int] = STORED) -> TrainBatch:
    """The same images as labeled and unlabeled ones."""
    number = len(images)
    common = (images, torch.tensor([content] * number), torch.arange(number), torch.ones(number, dtype=torch.bool))
    return TrainBatch(step, LabeledBatch(*common, (), taught), UnlabeledBatch(*common))


def random_batch(number: int, step: int = 5) -> TrainBatch:
    generator = torch.Generator().manual_seed(number)
    images = torch.randint(0, 256, (number, 3, *STORED), dtype=torch.uint8, generator=generator)
    return batch_of(images, step, tuple(targets((10.0 + i, 20, 60, 70), (80, 10, 119, 40)) for i in range(number)))


def slice_of(batch: TrainBatch, start: int, stop: int) -> TrainBatch:
    labeled, unlabeled = batch.labeled, batch.unlabeled
    assert unlabeled is not None
    cut = [(b.images, b.content, b.positions, b.readable) for b in (labeled, unlabeled)]
    cut = [tuple(part[start:stop] for part in parts) for parts in cut]
    return TrainBatch(batch.step, LabeledBatch(*cut[0], (), labeled.targets[start:stop]), UnlabeledBatch(*cut[1]))


def augmenter(strong: Policy = EVERYTHING, labeled: Policy = STRONG, seed: int = SEED) -> Augmenter:
    return Augmenter(labeled, WEAK, strong, SIZE, seed)


def view_of(batch: AugmentedBatch, branch: Branch) -> View:
    view = getattr(batch, branch)
    assert isinstance(view, View)
    return view


RECTANGLE = (48.0, 36, 84, 72)
GEOMETRIES = {
    "flip": Policy(flip=1.0),
    "shrink": Policy(flip=0.0, scale=(0.5, 0.7)),
    "zoom": Policy(flip=0.0, scale=(1.0, 1.25)),
    "translate": Policy(flip=0.0, translate=0.15),
    "quarter turn": Policy(flip=0.0, quarter_turn=1.0),
    "rotate": Policy(flip=0.0, rotate=30.0),
    "shear": Policy(flip=0.0, shear=20.0),
    "weak": WEAK,
    "all": Policy(0.5, (0.6, 1.25), translate=0.1, rotate=30.0, shear=10.0),
}


def bright_picture() -> Tensor:
    images = torch.zeros(1, 3, *STORED, dtype=torch.uint8)
    x1, y1, x2, y2 = map(int, RECTANGLE)
    images[..., y1:y2, x1:x2] = 255
    return images


def around_bright(image: Tensor) -> Tensor:
    # Half-way between the rectangle and the black around it, but above the grey that surrounds the picture.
    rows, columns = (image[0] > 0.55).nonzero().unbind(1)
    return torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_box_goes_where_the_pixels_go(name: str) -> None:
    for step in range(12):
        batch = batch_of(bright_picture(), step, (targets(RECTANGLE),))
        views = augmenter(GEOMETRIES[name], labeled=GEOMETRIES[name])(batch)
        (box,) = torch.cat([views.targets[0].boxes, views.targets[0].ignored])
        torch.testing.assert_close(box, around_bright(views.labeled.images[0]), atol=1.0, rtol=0)


def test_what_the_teacher_finds_is_at_the_same_object_for_the_student() -> None:
    for step in range(20):
        views = augmenter(GEOMETRIES["all"])(batch_of(bright_picture(), step, (targets(RECTANGLE),)))
        weak, strong = view_of(views, "weak"), view_of(views, "strong")
        found = around_bright(weak.images[0])[None]
        (box,) = transform_boxes(found, compose(strong.matrices[0], invert(weak.matrices[0])))
        (expected,) = transform_boxes(torch.tensor([RECTANGLE]), strong.matrices[0])
        # A pixel in the weak view is up to two in a strong view that is twice as large.
        torch.testing.assert_close(box, expected, atol=3.0, rtol=0)


@pytest.mark.parametrize("content", [STORED, (60, 120), (100, 31), (1, 120)])
def test_the_weak_view_never_crops(content: tuple[int, int]) -> None:
    # Trap 5: what the teacher can't see would be taught as background.
    height, width = SIZE
    corners = torch.tensor([[0.0, 0, content[1], content[0]]])
    places = []
    for step in range(500):
        drawn = draw(WEAK, SEED, step, 3, "weak", content, STORED, SIZE)
        box = transform_boxes(corners, torch.from_numpy(drawn.matrix))[0]
        assert box[:2].min() >= -1e-4
        assert box[2] <= width + 1e-4
        assert box[3] <= height + 1e-4
        places.append(box)
    spread = torch.stack(places).std(0)
    assert (spread > 1).all(), "and yet the picture is never twice at the same place"


def test_the_augmenter_gives_the_teacher_the_weak_policy() -> None:
    corners = torch.tensor([[0.0, 0, STORED[1], STORED[0]]])
    for step in range(40):
        views = augmenter()(batch_of(bright_picture(), step, (targets(RECTANGLE),)))
        weak = view_of(views, "weak")
        box = transform_boxes(corners, weak.matrices[0])[0]
        assert ((box >= -1e-3) & (box <= torch.tensor([96, 80, 96, 80]) + 1e-3)).all()
        assert weak.clean is weak.images, "the teacher sees neither colours nor erasures"


@pytest.mark.parametrize("content", [STORED, (60, 120), (100, 31)])
@pytest.mark.parametrize("size", [SIZE, (96, 96), (96, 60)])
def test_a_picture_on_its_side_fits_the_canvas_as_it_stands(content: tuple[int, int], size: tuple[int, int]) -> None:
    policy = Policy(flip=0.0, quarter_turn=1.0)
    corners = torch.tensor([[0.0, 0, content[1], content[0]]])
    ways = set()
    for step in range(40):
        matrix = draw(policy, SEED, step, 0, "strong", content, content, size).matrix
        (box,) = transform_boxes(corners, torch.from_numpy(matrix))
        assert box.min() >= -1e-4
        assert (box[2:] <= torch.tensor(size[::-1]) + 1e-4).all()
        across, down = ((box[2:] - box[:2]) / torch.tensor(size[::-1])).tolist()
        assert max(across, down) == pytest.approx(1, abs=1e-5)
        ways.add(tuple(np.sign(matrix[:2, :2]).astype(int).flatten().tolist()))
    assert ways == {(0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0)}, "90, 180 and 270 degrees"


def test_turns_come_as_often_as_they_should() -> None:
    policy = replace(STRONG, quarter_turn=0.6)
    drawn = [draw(policy, SEED, step, 0, "strong", STORED, STORED, SIZE).matrix for step in range(600)]
    plain = [draw(STRONG, SEED, step, 0, "strong", STORED, STORED, SIZE).matrix for step in range(600)]
    same = [np.array_equal(*pair) for pair in zip(drawn, plain, strict=True)]
    assert np.mean(same) == pytest.approx(0.4, abs=0.06)


def test_views_are_a_pure_function_of_seed_step_position_and_branch() -> None:
    drawn = {}
    for seed in (1, 2):
        for step in (0, 1, 2):
            for position in (0, 1, 2):
                for branch in ("labeled", "weak", "strong"):
                    case = (EVERYTHING, seed, step, position, branch, STORED, STORED, SIZE)
                    one, again = draw(*case), draw(*case)
                    assert np.array_equal(one.matrix, again.matrix)
                    assert one.colour == again.colour
                    assert np.array_equal(one.erasures, again.erasures)
                    drawn[one.matrix.tobytes(), one.colour] = case
    assert len(drawn) == 2 * 3 * 3 * 3, "and no two of them are the same"


def test_drawing_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    augmenter()(random_batch(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_ablation_changes_only_what_it_names() -> None:
    case = (SEED, 4, 2, "strong", STORED, STORED, SIZE)
    whole = draw(STRONG, *case)
    for less in (replace(STRONG, colour=False), replace(STRONG, erase=False)):
        assert np.array_equal(draw(less, *case).matrix, whole.matrix)
    shifted = draw(replace(STRONG, translate=0.0), *case)
    assert np.array_equal(shifted.matrix[:2, :2], whole.matrix[:2, :2])
    assert shifted.colour == whole.colour
    assert np.array_equal(shifted.erasures, whole.erasures)
    on_its_side = draw(replace(STRONG, quarter_turn=1.0), *case)
    assert not np.allclose(on_its_side.matrix, whole.matrix)
    assert on_its_side.colour == whole.colour
    assert np.array_equal(on_its_side.erasures, whole.erasures)
    middle = np.array([STORED[1] / 2, STORED[0] / 2, 1])
    turned = draw(replace(STRONG, rotate=30.0, shear=10.0), *case)
    assert not np.allclose(turned.matrix[:2, :2], whole.matrix[:2, :2])
    np.testing.assert_allclose(turned.matrix @ middle, whole.matrix @ middle, err_msg="it turns about its middle")


@pytest.mark.parametrize("cuts", [[0, 3, 6], [0, 1, 2, 3, 4, 5, 6], [0, 2, 6]])
def test_slices_of_a_batch_see_the_views_of_the_whole(cuts: list[int]) -> None:
    batch = random_batch(6)
    whole = augmenter()(batch)
    parts = [augmenter()(slice_of(batch, *ends)) for ends in pairwise(cuts)]
    for branch in ("labeled", "weak", "strong"):
        view = view_of(whole, branch)
        pieces = [view_of(part, branch) for part in parts]
        assert torch.equal(torch.cat([piece.matrices for piece in pieces]), view.matrices)
        torch.testing.assert_close(torch.cat([piece.images for piece in pieces]), view.images, atol=1e-6, rtol=0)
        assert torch.equal(torch.cat([piece.clean for piece in pieces]), view.clean)
    together = [target for part in parts for target in part.targets]
    for target, expected in zip(together, whole.targets, strict=True):
        assert torch.equal(target.boxes, expected.boxes)
        assert torch.equal(target.ignored, expected.ignored)
        assert torch.equal(target.labels, expected.labels)


def test_the_clean_view_has_the_geometry_without_colours_and_erasures() -> None:
    with_colours = view_of(augmenter(STRONG)(random_batch(8)), "strong")
    without = view_of(augmenter(replace(STRONG, colour=False, erase=False))(random_batch(8)), "strong")
    assert torch.equal(with_colours.clean, without.images)
    assert not torch.equal(with_colours.images, with_colours.clean)
    assert ((with_colours.images - GREY).abs() < 1e-6).all(1).any(), "something is erased"


def test_a_burn_in_batch_has_labeled_views_only() -> None:
    batch = random_batch(2)
    views = augmenter()(replace(batch, unlabeled=None))
    assert (views.weak, views.strong, views.unlabeled_readable) == (None, None, None)
    assert views.step == batch.step
    assert torch.equal(views.labeled.images, augmenter()(batch).labeled.images)
    assert torch.equal(views.labeled_readable, batch.labeled.readable)


def test_a_view_that_draws_nothing_is_the_stored_image_at_the_size_of_the_view() -> None:
    batch = batch_of(torch.full((1, 3, *STORED), 200, dtype=torch.uint8), 0, (targets((12.0, 10, 60, 50)),))
    views = augmenter(labeled=PLAIN)(batch)
    torch.testing.assert_close(views.labeled.images[..., 1:-1, 1:-1], torch.full((1, 3, 78, 94), 200 / 255))
    torch.testing.assert_close(views.targets[0].boxes, torch.tensor([[9.6, 8, 48, 40]]))
    assert views.labeled.size == SIZE
