"""The named states and their advice, from numbers alone; what looks ill and isn't; an exact resume."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from health_monitors import NOTHING_KEPT, WELL, Knobs, feed, make, state

from softdet.data.density import LabeledDensity, labeled_density
from softdet.data.index import ImageRecord, Index
from softdet.semi.health import HealthMonitor


def test_density_is_per_image_and_by_class() -> None:
    nothing = np.zeros((0, 4), np.float32)

    def record(labels: list[int]) -> ImageRecord:
        boxes = np.zeros((len(labels), 4), np.float32)
        return ImageRecord(1, Path("a"), (9, 9), boxes, np.array(labels, np.int64), nothing)

    index = Index(Path("a"), (record([0, 0, 2]), record([]), record([2]), record([])), ("a", "b", "c"), (1, 2, 3), {})
    assert labeled_density(index) == LabeledDensity(1.0, 0.5, {"a": 0.5, "b": 0.0, "c": 0.5})


def test_warming_up_then_healthy_says_it_once() -> None:
    monitor = make()
    assert state(monitor) == "warming up"
    assert feed(monitor, range(49)) == []
    (line,) = feed(monitor, range(49, 200))
    assert line.startswith("step 50: health: healthy: 1.5 pseudo boxes an image, labeled images have 1.8, 20% of the")
    assert "losses are 0.5 times the labeled ones' after the burn-in, teacher and student agree on 75%" in line
    assert monitor.columns() == pytest.approx({"health": "healthy", "loss_ratio": 0.5, "agreement": 0.75})


def test_burn_in_steps_are_none() -> None:
    monitor = make()
    for step in range(500):
        assert monitor.observe_step(step, {"loss": 1.0, "skipped_steps": 0.0}) == []
    feed(monitor, range(500, 549), **NOTHING_KEPT)
    assert state(monitor) == "warming up"
    assert monitor.columns()["health"] == "warming up"


def test_the_ramp_is_warming_up_too() -> None:
    monitor = make(settled_from=300)
    assert feed(monitor, range(300), **NOTHING_KEPT) == []
    (line,) = feed(monitor, [300], **NOTHING_KEPT)
    assert "starving" in line


def test_starving_names_the_threshold_and_the_classes() -> None:
    monitor = make(knobs=Knobs(score_threshold=0.999))
    (line,) = feed(monitor, range(60), **NOTHING_KEPT)
    assert line == (
        "step 50: health: starving: 0.02 pseudo boxes an image, labeled images have 1.8; 2.0% of the images have one, "
        "of the labeled images 90%: lower soft_teacher.pseudo_cls_th (now 0.999); hardly a pseudo box for king, queen"
    )


def test_starving_by_empty_images_alone() -> None:
    # All pseudo boxes are in one image of twenty.
    monitor = make()
    feed(monitor, range(60), pseudo_boxes=1.0, empty_images=0.95)
    assert state(monitor) == "starving"
    assert "5.0% of the images have one, of the labeled images 90%" in monitor.health.advice


@pytest.mark.parametrize(("threshold", "candidates"), [(0.15, 20.0), (0.9, 0.1)])
def test_a_teacher_that_sees_hardly_more_needs_a_longer_burn_in(threshold: float, candidates: float) -> None:
    monitor = make(knobs=Knobs(score_threshold=threshold))
    feed(monitor, range(60), pseudo_boxes=0.02, empty_images=0.98, pseudo_candidates=candidates)
    assert state(monitor) == "starving"
    assert "soft_teacher.burn_in_steps" in monitor.health.advice
    assert "pseudo_cls_th" not in monitor.health.advice


def test_a_class_without_pseudo_boxes_is_named_while_all_else_is_well() -> None:
    density = LabeledDensity(1.801, 0.9, {"king": 1.0, "queen": 0.8, "joker": 0.001})
    monitor = make(density)
    feed(monitor, range(60), **{"pseudo_boxes/queen": 0.01})
    # Of a joker, none in 400 images is chance.
    assert state(monitor) == "healthy"
    assert monitor.health.advice.endswith("; hardly a pseudo box for queen")


@pytest.mark.parametrize(("queens", "kings", "is_told"), [(2.5, 0.2, True), (2.3, 0.2, False), (2.5, 0.0, True)])
def test_a_class_with_far_more_pseudo_boxes_than_labels_is_named(queens: float, kings: float, is_told: bool) -> None:
    monitor = make()
    feed(monitor, range(60), **{"pseudo_boxes": 2.6, "pseudo_boxes/queen": queens, "pseudo_boxes/king": kings})
    assert state(monitor) == "healthy"
    # .8 queens an image are labeled.
    assert ("; far more pseudo boxes than labels for queen" in monitor.health.advice) == is_told
    assert ("hardly a pseudo box for king" in monitor.health.advice) == (kings == 0)


def test_the_classes_of_too_many_boxes_are_named() -> None:
    monitor = make()
    feed(monitor, range(60), **{"pseudo_boxes": 6.0, "pseudo_boxes/queen": 5.1})
    assert state(monitor) == "exploding"
    assert monitor.health.advice.endswith("; far more pseudo boxes than labels for queen")
    monitor = make(LabeledDensity(1.8, 0.9, {"queen": 1.8}))
    feed(monitor, range(60), **{"pseudo_boxes": 6.0, "pseudo_boxes/queen": 6.0})
    assert monitor.health.advice.endswith("unless the labeled images lack most of their boxes")


def test_many_classes_are_counted() -> None:
    monitor = make(LabeledDensity(8.0, 1.0, {f"class {number}": 1.0 for number in range(8)}))
    feed(monitor, range(60), **NOTHING_KEPT)
    assert monitor.health.advice.endswith("class 0, class 1, class 2, class 3, class 4 and 3 more")


def test_many_pseudo_boxes_explode() -> None:
    monitor = make()
    (line,) = feed(monitor, range(60), pseudo_boxes=9.0)
    assert (
        "exploding: 9 pseudo boxes an image, labeled images have 1.8: raise soft_teacher.pseudo_cls_th (now 0.9)"
        in line
    )
    assert "or lower soft_teacher.unsup_loss_weight (now 1)" in line


def test_many_pseudo_boxes_that_fall_do_not() -> None:
    monitor = make()
    for step in range(200):
        feed(monitor, [step], pseudo_boxes=18.0 * 0.98**step)
        assert state(monitor) in ("warming up", "healthy")
    monitor = make()
    for step in range(200):
        feed(monitor, [step], pseudo_boxes=18.0 * 0.999**step)
    assert state(monitor) == "exploding"


def test_unlabeled_losses_that_outgrow_the_labeled_ones_explode() -> None:
    monitor = make(knobs=Knobs(unsupervised_weight=1000))
    (line,) = feed(monitor, range(60), loss=51.0)
    assert "losses are 50 times the labeled ones' after the burn-in, expected below 10" in line
    assert line.endswith("lower soft_teacher.unsup_loss_weight (now 1000)")


def test_labeled_losses_that_fall_are_no_explosion() -> None:
    # Few images, known by heart in the end, and unlabeled losses that fall more slowly.
    monitor = make()
    for step in range(1000):
        known, guessed = 0.99**step, max(3.0 * 0.999**step, 1.5)
        feed(monitor, [step], loss=known + guessed, supervised_class=known, supervised_box=0.0)
        assert state(monitor) in ("warming up", "healthy")
    assert monitor.columns()["loss_ratio"] < 5


def test_unlabeled_losses_that_grow_explode_whatever_the_labeled_ones_do() -> None:
    for known_at_last in (0.01, 1.0, 2.0):
        monitor = make()
        feed(monitor, range(200))
        feed(monitor, range(200, 600), loss=25.0, supervised_class=known_at_last, supervised_box=0.0)
        assert state(monitor) == "exploding"


def test_one_step_without_labeled_boxes_is_no_explosion() -> None:
    # The ratio of that step alone is 500,000: its labeled images are empty.
    monitor = make()
    feed(monitor, range(60))
    feed(monitor, [60], loss=0.500001, supervised_class=1e-6, supervised_box=0.0)
    assert state(monitor) == "healthy"


def test_a_step_that_is_not_finite_leaves_the_averages() -> None:
    monitor = make()
    feed(monitor, range(60))
    feed(monitor, [60], loss=math.nan, supervised_class=math.inf, skipped_steps=1.0)
    assert state(monitor) == "healthy"
    assert monitor._ratio() == pytest.approx(0.5)


def test_a_number_on_the_border_does_not_toggle_the_state() -> None:
    monitor = make()
    feed(monitor, range(60), **NOTHING_KEPT)
    lines = []
    for step in range(60, 400):
        lines += feed(monitor, [step], pseudo_boxes=0.18 + 0.02 * (-1) ** (step // 20), empty_images=0.85)
    assert lines == []
    assert len(feed(monitor, range(400, 700))) == 1


@pytest.mark.parametrize("images", [1, 8])
def test_images_with_few_objects_starve_as_rarely_as_others(images: int) -> None:
    # One object in 25 images, all of them found.
    rng = np.random.default_rng(0)
    monitor = make(LabeledDensity(0.04, 0.04, {"bird": 0.04}), images_per_step=images)
    assert monitor.window == (500 if images == 1 else 63)
    states = set()
    for step in range(3000):
        found = rng.poisson(0.04, images)
        mean, empty = float(found.mean()), float((found == 0).mean())
        feed(monitor, [step], pseudo_boxes=mean, empty_images=empty, pseudo_candidates=mean)
        states.add(state(monitor))
    assert states == {"warming up", "healthy"}
    feed(monitor, range(3000, 6000), pseudo_boxes=0.0, empty_images=1.0)
    assert state(monitor) == "starving"


def test_a_teacher_that_finds_nothing_any_more_has_collapsed() -> None:
    monitor = make()
    feed(monitor, range(20))
    blind = {"pseudo_boxes": 0.0, "pseudo_candidates": 0.0, "empty_images": 1.0}
    assert feed(monitor, range(20, 24), **blind) == []
    (line,) = feed(monitor, range(24, 200), **blind)
    assert line.startswith(
        "step 25: health: collapsed: the teacher finds nothing at all any more, 20 candidates an image"
    )
    assert "lower soft_teacher.unsup_loss_weight (now 1) or raise soft_teacher.ema_decay" in line
    lines = feed(monitor, range(200, 600))
    assert "healthy" in lines[-1]


def test_a_teacher_that_never_found_anything_starves() -> None:
    monitor = make()
    feed(monitor, range(200), pseudo_boxes=0.0, pseudo_candidates=0.0, empty_images=1.0)
    assert state(monitor) == "starving"


@pytest.mark.parametrize("sign", ["skipped_steps", "teacher_finite"])
def test_five_steps_in_a_row_that_are_not_finite_are_a_collapse(sign: str) -> None:
    monitor = make()
    monitor.observe_step(0, {"loss": 1.0, "skipped_steps": 3.0})
    for step in range(1, 300):
        # Now and then one of 16-mixed's overflows.
        feed(monitor, [step], skipped_steps=3.0 + step // 4, teacher_finite=1.0)
    assert state(monitor) == "healthy"
    skipped = 3.0 + 299 // 4
    for number in range(1, 6):
        assert state(monitor) == "healthy"
        broken = {"skipped_steps": skipped + number} if sign == "skipped_steps" else {"teacher_finite": 0.5}
        lines = feed(monitor, [299 + number], **{"skipped_steps": skipped} | broken)
    assert "collapsed: the teacher's output or the gradients were not finite for 5 steps in a row" in lines[0]
    assert "lower optimizer.lr, or set params.precision to 32-true" in lines[0]


@pytest.mark.parametrize(
    ("best", "sound", "lost"),
    [
        (0.457, 0.345, 0.34),  # three quarters, as of a raccoon run that fell to .322
        (0.3, 0.201, 0.199),  # ten points
        (0.18, 0.095, 0.085),  # half
    ],
)
def test_the_smaller_the_best_ap_the_more_of_it_may_be_chance(best: float, sound: float, lost: float) -> None:
    monitor = make()
    monitor.observe_evaluation(0, best)
    feed(monitor, range(60))
    monitor.observe_evaluation(59, sound)
    assert state(monitor) == "healthy"
    monitor.observe_evaluation(79, lost)
    assert state(monitor) == "collapsed"
    # It is well again when half of what was lost is back.
    monitor.observe_evaluation(99, lost + 0.45 * (best - lost))
    assert state(monitor) == "collapsed"
    monitor.observe_evaluation(119, lost + 0.55 * (best - lost))
    assert state(monitor) == "healthy"


def test_a_fallen_ap_is_a_collapse() -> None:
    monitor = make()
    # A fall in the burn-in is none of the unlabeled images' doing.
    assert monitor.observe_evaluation(4, 0.41) == monitor.observe_evaluation(9, 0.1) == []
    feed(monitor, range(10, 100))
    assert monitor.observe_evaluation(99, 0.31, 0.2) == []
    (line,) = monitor.observe_evaluation(149, 0.2, 0.11)
    assert line == (
        "step 150: health: collapsed: the teacher's mAP is 20.0 (student 11.0), its best was 41.0: lower "
        "soft_teacher.unsup_loss_weight (now 1), and start anew"
    )
    assert feed(monitor, range(150, 200)) == []
    assert "healthy" in monitor.observe_evaluation(249, 0.4)[0]


def test_against_a_fallen_ap_a_method_that_falls_less_is_named_first() -> None:
    monitor = make(knobs=Knobs(score_threshold=0.7), gentler="teach otherwise")
    monitor.observe_evaluation(0, 0.4)
    feed(monitor, range(60))
    (line,) = monitor.observe_evaluation(59, 0.1)
    assert line.endswith(
        "its best was 40.0: teach otherwise or lower soft_teacher.unsup_loss_weight (now 1) or "
        "raise soft_teacher.pseudo_cls_th (now 0.7), and start anew"
    )


@pytest.mark.parametrize("best", [0.04, 0.0, -1.0])
def test_half_of_next_to_nothing_is_chance(best: float) -> None:
    monitor = make()
    monitor.observe_evaluation(0, best)
    feed(monitor, range(60))
    monitor.observe_evaluation(59, best / 3)
    assert state(monitor) == "healthy"


def test_a_resumed_monitor_goes_on_as_if_nothing_had_been() -> None:
    def run(monitor: HealthMonitor, steps: range) -> list[Any]:
        rng = np.random.default_rng(steps.start)
        seen: list[Any] = []
        for step in steps:
            numbers = {name: float(value * rng.gamma(1.0)) for name, value in WELL.items()}
            seen.append(monitor.observe_step(step, numbers | {"skipped_steps": 0.0, "teacher_finite": 1.0}))
            seen.append((monitor.health, monitor.columns()))
        return [*seen, monitor.observe_evaluation(steps.stop - 1, float(rng.random()), 0.1)]

    straight = make(mitigate=True)
    run(straight, range(137))
    kept = pickle.dumps(straight.state_dict())
    resumed = make(knobs=Knobs(**vars(straight.knobs)), mitigate=True)
    resumed.load_state_dict(pickle.loads(kept))
    assert run(straight, range(137, 700)) == run(resumed, range(137, 700))
    assert straight.state_dict() == resumed.state_dict()
