"""The canvas and the anchors fit the objects; on the sets that were measured they are those that did best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from softdet.derive.facts import Facts, Machine
from softdet.derive.fitting import (
    OCTAVES,
    SIZES,
    best_overlap,
    fit_anchor_octaves,
    fit_anchor_sizes,
    fit_canvas,
    on_canvas,
)
from softdet.derive.settings import derive
from softdet.ops.anchors import Anchors

Make = Callable[..., Facts]
RATIOS = (0.5, 1.0, 2.0)
GPU = Machine("cuda", 16.0)


@pytest.mark.parametrize("canvas", [(160, 160), (192, 256), (320, 96)])
def test_the_best_overlap_is_that_of_all_anchors(canvas: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 1, (200, 2, 2)) * [canvas[1], canvas[0]]
    boxes = np.concatenate([corners.min(1), corners.max(1) + 1], 1)
    grids = [(-(-canvas[0] // 2**level), -(-canvas[1] // 2**level)) for level in range(3, 8)]
    anchors = Anchors(SIZES, OCTAVES, RATIOS)(grids, canvas, torch.device("cpu"))
    wanted = box_iou(torch.from_numpy(boxes).float(), anchors).max(1).values.numpy()
    np.testing.assert_allclose(best_overlap(boxes, canvas, SIZES, OCTAVES, RATIOS), wanted, atol=1e-5)


def test_boxes_move_onto_the_canvas_as_the_images_do(make_facts: Make) -> None:
    facts = make_facts([100], (200, 400))
    assert on_canvas(facts, (100, 100)).tolist() == [[37.5, 12.5, 62.5, 37.5]]
    assert on_canvas(facts, (100, 100), "stretch").tolist() == [[37.5, 25, 62.5, 75]]


@pytest.mark.parametrize(("side", "canvas"), [(100, 160), (72, 160), (60, 192), (45, 256), (36, 320), (20, 320)])
def test_without_a_gpu_the_canvas_is_the_smallest_on_which_objects_are_seen(
    side: float, canvas: int, make_facts: Make
) -> None:
    facts = make_facts([side] * 19 + [10], (480, 480))
    size, reason = fit_canvas(facts)
    assert size == (canvas, canvas)
    assert ("24 would be better" in reason) == (side == 20)


def test_no_canvas_is_larger_than_the_images_need(make_facts: Make) -> None:
    assert fit_canvas(make_facts([5] * 10, (200, 200)))[0] == (224, 224)
    assert fit_canvas(make_facts([5] * 10, (100, 100)))[0] == (128, 128)
    assert fit_canvas(make_facts([5] * 10, (300, 300), machine=GPU))[0] == (320, 320)
    assert fit_canvas(make_facts([5] * 10, (2000, 2000), machine=GPU))[0] == (640, 640)


def test_a_canvas_lies_as_the_images_lie(make_facts: Make) -> None:
    landscape, portrait = make_facts([100] * 10, (480, 640)), make_facts([100] * 10, (640, 480))
    assert fit_canvas(landscape)[0] == (128, 160)
    assert fit_canvas(portrait)[0] == (160, 128)
    assert "landscape" in fit_canvas(landscape)[1]
    assert fit_canvas(replace(landscape, machine=GPU))[0] == (480, 640)
    # Where both kinds come, one of them would be squeezed.
    both = np.concatenate([landscape.image_sizes[:8], portrait.image_sizes[:2]])
    assert fit_canvas(replace(landscape, image_sizes=both))[0] == (160, 160)
    assert fit_canvas(make_facts([100] * 10, (480, 540)))[0] == (160, 160)


def test_the_ordinary_anchors_stay_where_nine_boxes_in_ten_have_one(make_facts: Make) -> None:
    sizes, reason = fit_anchor_sizes(make_facts([100] * 19 + [10], (480, 480)), (160, 160), RATIOS)
    assert sizes == SIZES
    assert reason == "95% of the boxes have one that fits"


@pytest.mark.parametrize(("side", "factor"), [(70, 1.0), (60, 0.71), (45, 0.5), (9, 1.0)])
def test_anchors_shrink_for_small_objects_and_no_further_than_helps(
    side: float, factor: float, make_facts: Make
) -> None:
    # At a third of their size on the canvas; those of 9 pixels, 3 there, are out of reach of all.
    sizes, reason = fit_anchor_sizes(make_facts([side] * 10, (480, 480)), (160, 160), RATIOS)
    assert sizes == tuple(round(size * factor) for size in SIZES)
    assert ("instead of" in reason) == (factor < 1)


def test_anchors_fit_with_the_octaves_that_were_given(make_facts: Make) -> None:
    facts = make_facts([45] * 10, (480, 480))
    small = (0.5, *OCTAVES)
    assert fit_anchor_sizes(facts, (160, 160), RATIOS, octaves=small)[0] == SIZES
    asked = {"params.image_size": (160, 160), "model.anchor_ratios": RATIOS, "params.resize": "letterbox"}
    asked |= {"model.anchor_sizes": "auto", "model.anchor_octaves": "auto"}
    of_auto, of_given = (derive(asked | {"model.anchor_octaves": octaves}, facts)[0] for octaves in ("auto", small))
    assert of_auto.value == tuple(size / 2 for size in SIZES)
    assert of_given.value == SIZES


def test_a_class_of_small_objects_gets_a_small_octave(make_facts: Make) -> None:
    labels = [0] * 60 + [1] * 5
    facts = make_facts([150] * 60 + [48] * 5, (480, 480), labels=labels)
    sizes, _ = fit_anchor_sizes(facts, (160, 160), RATIOS)
    assert sizes == SIZES
    octaves, reason = fit_anchor_octaves(facts, (160, 160), sizes, RATIOS)
    assert octaves == (0.5, *OCTAVES)
    assert reason.endswith("100% of a class fit one instead of 0%")
    # A few odd boxes are no class to care for, nor do anchors help that were shrunk already.
    few = make_facts([150] * 60 + [48] * 4, (480, 480), labels=labels[:-1])
    assert fit_anchor_octaves(few, (160, 160), sizes, RATIOS)[0] == OCTAVES
    assert fit_anchor_octaves(facts, (160, 160), tuple(size / 2 for size in SIZES), RATIOS)[0] == OCTAVES
    # Out of reach all the same: not at the price of more anchors.
    tiny = make_facts([150] * 60 + [9] * 5, (480, 480), labels=labels)
    assert fit_anchor_octaves(tiny, (160, 160), sizes, RATIOS)[0] == OCTAVES
