import math
from pathlib import Path

from softdet.report.history import History, is_rising, read_history, smoothed


def test_columns_are_read_by_step_and_holes_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text("step,loss,health,valid_AP\n10,1.5,,\n20,nan,warming up,0.2\n30,1.0,healthy,\n4")
    history = read_history(file)
    assert history.of("loss")[10] == 1.5
    assert math.isnan(history.of("loss")[20])
    assert history.of("valid_AP") == {20: 0.2}
    assert history.health == {20: "warming up", 30: "healthy"}
    assert history.last_step == 30
    assert history.unlabeled_from is None


def test_no_file_is_no_history(tmp_path: Path) -> None:
    history = read_history(tmp_path / "none.csv")
    assert history == History()
    assert history.last_step == 0
    assert history.spells() == []


def test_states_become_stretches_that_meet() -> None:
    history = History({}, {10: "warming up", 20: "healthy", 30: "healthy", 40: "starving", 50: "starving"})
    assert history.spells() == [(10, 20, "warming up"), (20, 40, "healthy"), (40, 50, "starving")]


def test_a_constant_stays_itself_when_smoothed_and_nan_is_passed_over() -> None:
    values = dict.fromkeys(range(10), 3.0) | {4: float("nan")}
    assert all(abs(value - 3.0) < 1e-12 for value in smoothed(values).values())
    assert 4 not in smoothed(values)


def test_late_mean_is_that_of_the_second_half() -> None:
    assert History({"x": {1: 9.0, 2: 9.0, 3: 1.0, 4: 3.0}}).late_mean("x") == 2.0
    assert math.isnan(History().late_mean("x"))


def test_rising_asks_for_two_steps_upwards() -> None:
    assert is_rising({1: 0.1, 2: 0.2, 3: 0.3}, 0.1)
    assert not is_rising({1: 0.1, 2: 0.3, 3: 0.25}, 0.1)
    assert not is_rising({1: 0.1, 2: 0.3}, 0.1)
