"""The schedules that were measured, and that nothing leaves its bounds."""

from __future__ import annotations

import pytest

from softdet.derive import schedule


@pytest.mark.parametrize(
    ("num_images", "num_classes", "burn_in", "steps"),
    [
        (15, 1, 600, 4000),  # raccoon: 600 of 4,000 was measured
        (30, 6, 900, 4300),  # cards: 1,000 of 4,800
        (112, 6, 900, 4300),  # fod: a burn-in of 800
        (400, 1, 2000, 5400),
        (118_287, 80, 36_000, 90_000),
    ],
)
def test_the_schedule_is_near_those_that_were_measured(
    num_images: int, num_classes: int, burn_in: int, steps: int
) -> None:
    assert schedule.burn_in_for(num_images, num_classes, 8)[0] == burn_in
    assert schedule.steps_after(burn_in)[0] == steps


def test_reasons_hold_their_numbers() -> None:
    assert schedule.burn_in_for(30, 6, 8)[1] == (
        "600 for one class, 60 for each further of the 6; 240 passes over the labeled images"
    )
    assert schedule.burn_in_for(1000, 1, 8)[1] == "40 passes over 1,000 labeled images at 8 a step"
    assert schedule.steps_after(600)[1] == "the burn-in and 3,400 steps with unlabeled images"
    assert schedule.steps_of_epochs(30, 100, 8) == (375, "params.epoch: 30 passes over 100 labeled images at 8 a step")
    assert schedule.burn_in_of(1000) == (400, "two fifths of the 1,000 steps")


@pytest.mark.parametrize(("steps", "decay"), [(10, 0.99), (4000, 0.995), (20_000, 0.999), (90_000, 0.9996)])
def test_the_teacher_remembers_a_twentieth_of_the_run(steps: int, decay: float) -> None:
    assert schedule.ema_decay_for(steps)[0] == decay


@pytest.mark.parametrize(
    ("steps", "burn_in", "ramp"), [(2000, 600, 100), (10_000, 4000, 300), (40, 20, 5), (20, 20, 0), (20, 30, 0)]
)
def test_the_ramp_is_short(steps: int, burn_in: int, ramp: int) -> None:
    assert schedule.ramp_for(steps, burn_in)[0] == ramp


@pytest.mark.parametrize(
    ("steps", "every", "times"),
    [(2000, 200, "10 times"), (2305, 231, "10 times"), (500, 100, "5 times"), (40, 40, "once")],
)
def test_evaluations_come_ten_times_a_run_and_not_too_often(steps: int, every: int, times: str) -> None:
    assert schedule.evaluation_interval(steps) == (every, f"{times} a run")
