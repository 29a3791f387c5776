"""What the health monitor turns by itself, and where it stops."""

from __future__ import annotations

import pytest
from health_monitors import NOTHING_KEPT, Knobs, feed, make, state


def test_without_mitigation_nothing_is_turned() -> None:
    monitor = make()
    lines = feed(monitor, range(300), **NOTHING_KEPT)
    assert len(lines) == 1
    assert monitor.knobs == Knobs()
    assert "mitigations" not in monitor.columns()


def test_starving_lowers_the_threshold_every_hundred_steps() -> None:
    monitor = make(mitigate=True)
    lines = [line for line in feed(monitor, range(270), **NOTHING_KEPT) if "mitigated" in line]
    assert lines == [
        "step 50: mitigated: soft_teacher.pseudo_cls_th 0.9 -> 0.81",
        "step 150: mitigated: soft_teacher.pseudo_cls_th 0.81 -> 0.729",
        "step 250: mitigated: soft_teacher.pseudo_cls_th 0.729 -> 0.656",
    ]
    columns = monitor.columns()
    assert columns.pop("health") == "starving"
    assert columns == pytest.approx(
        {"loss_ratio": 0.5, "agreement": 0.75, "mitigations": 3, "score_threshold": 0.9**4, "unsupervised_weight": 1.0}
    )


@pytest.mark.parametrize(("threshold", "expected"), [(0.21, 0.2), (0.2, 0.2), (0.1, 0.1)])
def test_the_threshold_stops_at_a_fifth_and_is_never_raised(threshold: float, expected: float) -> None:
    monitor = make(knobs=Knobs(threshold), mitigate=True)
    feed(monitor, range(600), **NOTHING_KEPT)
    assert monitor.knobs == Knobs(expected)
    assert monitor.columns()["mitigations"] == (threshold > 0.2)


def test_a_threshold_is_not_lowered_where_there_is_nothing_below_it() -> None:
    monitor = make(mitigate=True)
    lines = feed(monitor, range(300), **NOTHING_KEPT | {"pseudo_candidates": 0.1})
    assert len(lines) == 1
    assert "longer soft_teacher.burn_in_steps" in lines[0]
    assert monitor.knobs == Knobs()


def test_exploding_halves_the_weight_until_it_is_well() -> None:
    monitor = make(knobs=Knobs(unsupervised_weight=64.0), mitigate=True)
    lines = []
    for step in range(1000):
        lines += feed(monitor, [step], loss=1.0 + 0.4 * monitor.knobs.unsupervised_weight)
    assert [line for line in lines if "mitigated" in line] == [
        "step 50: mitigated: soft_teacher.unsup_loss_weight 64 -> 32",
        "step 150: mitigated: soft_teacher.unsup_loss_weight 32 -> 16",
    ]
    assert state(monitor) == "healthy"


def test_a_collapse_freezes_the_weight_at_once_and_for_good() -> None:
    monitor = make(mitigate=True)
    feed(monitor, range(52), **NOTHING_KEPT)
    # Before everything else that is wrong.
    lines = feed(monitor, range(52, 57), teacher_finite=0.0, loss=1000.0)
    assert state(monitor) == "collapsed"
    assert lines[-1] == "step 57: mitigated: soft_teacher.unsup_loss_weight 1 -> 0"
    threshold = monitor.knobs.score_threshold
    lines = feed(monitor, range(57, 500), **NOTHING_KEPT)
    assert state(monitor) == "starving"
    assert not any("mitigated" in line for line in lines)
    assert monitor.knobs == Knobs(threshold, 0.0)
