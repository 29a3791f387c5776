"""The progress line: an estimate that counts semi-supervised steps, and plain lines where there is no terminal."""

from __future__ import annotations

import time

import pytest
import torch

from softdet.engine.progress import ProgressLine, StepTimes, Stopwatch, format_seconds, memory_gb


def test_each_kind_of_step_counts_with_its_own_time() -> None:
    times = StepTimes(num_steps=100, semi_from=20)
    for step in range(20):
        times.observe(step, 1.0)
    for step in range(20, 30):
        times.observe(step, 4.0)
    assert times.remaining(29) == pytest.approx(70 * 4.0)
    assert times.remaining(9) == pytest.approx(10 * 1.0 + 80 * 4.0)
    assert times.remaining(99) == 0.0


def test_a_semi_supervised_step_is_guessed_at_three_supervised_ones_until_it_is_timed() -> None:
    times = StepTimes(num_steps=100, semi_from=50)
    times.observe(0, 2.0)
    assert times.remaining(0) == pytest.approx(49 * 2.0 + 50 * 6.0)
    times.observe(50, 3.0)
    assert times.remaining(50) == pytest.approx(49 * 3.0)


def test_a_run_that_resumes_among_semi_supervised_steps_guesses_nothing() -> None:
    times = StepTimes(num_steps=100, semi_from=50)
    times.observe(80, 5.0)
    assert times.remaining(80) == pytest.approx(19 * 5.0)


def test_without_semi_supervised_steps_none_are_counted() -> None:
    times = StepTimes(num_steps=10, semi_from=10_000)
    times.observe(0, 1.0)
    assert times.remaining(0) == pytest.approx(9.0)


def test_one_slow_step_does_not_upset_the_estimate() -> None:
    times = StepTimes(num_steps=1000, semi_from=1000)
    for step in range(50):
        times.observe(step, 1.0)
    times.observe(50, 11.0)
    assert times.remaining(50) == pytest.approx(949 * 2.0)


def test_a_plain_line_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"loss": 1.23456, "pseudo_boxes": 2.5, "images_per_second": 12.34, "data_wait": 0.257, "memory_gb": 3.21}
    with ProgressLine(100, 0, quiet=False) as progress:
        progress.advance(9)
        progress.report(9, metrics, 600.0)
        progress.report(19, {name: value for name, value in metrics.items() if name != "pseudo_boxes"}, 30.0)
    first, second = capsys.readouterr().out.splitlines()
    assert first == ("step 10/100 | loss 1.235 | pseudo 2.5/image | 12.3 images/s, data 26% | 3.2 GB | ETA 10 min")
    assert second == "step 20/100 | loss 1.235 | 12.3 images/s, data 26% | 3.2 GB | ETA 30 s"


def test_a_path_with_brackets_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(100, 0, quiet=False) as progress:
        progress.say("skipped: images/[bold]cat[/]_1.jpg can't be read " + "x" * 100)
    assert capsys.readouterr().out == "skipped: images/[bold]cat[/]_1.jpg can't be read " + "x" * 100 + "\n"


def test_other_ranks_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(100, 0, quiet=True) as progress:
        progress.say("nothing")
        progress.advance(1)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "1.5 h"), (360000, "100.0 h")],
)
def test_seconds_as_a_person_says_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_the_memory_of_this_process_is_more_than_torch_alone_takes() -> None:
    assert 0.05 < memory_gb(torch.device("cpu")) < 64


def test_laps_add_up() -> None:
    watch = Stopwatch()
    time.sleep(0.02)
    first = watch.lap()
    assert first >= 0.02
    assert watch.lap() < first
