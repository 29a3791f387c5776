"""The last line of a run: what it says, and why it says it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from softdet import builders
from softdet.config import Config
from softdet.data.density import LabeledDensity, labeled_density
from softdet.evaluation.comparison import Gain
from softdet.evaluation.detector import load_detector, save_detector
from softdet.evaluation.metrics import load_truth
from softdet.evaluation.outcome import (
    Outcome,
    describe_gain,
    describe_outcome,
    describe_run,
    likely_reasons,
    settle,
)
from softdet.evaluation.run import RunFolder

CPU = torch.device("cpu")

GAIN = Gain(before=0.440, after=0.479, difference=0.039, low=0.018, high=0.061)
LOSS = Gain(before=0.440, after=0.421, difference=-0.019, low=-0.034, high=-0.004)
TWO_EACH = LabeledDensity(boxes=2.0, filled=1.0, by_class={"red": 2.0})
WELL = {"pseudo_boxes": 1.8, "empty_images": 0.1, "loss_ratio": 0.5}


def write(path: Path, rows: list[dict[str, float]]) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows(burn_in: int = 10, **changes: float) -> list[dict[str, float]]:
    """A run of 40 steps that is logged every ten."""
    semi = [{"step": step, **WELL, **changes} for step in range(burn_in + 10, 50, 10)]
    return [{"step": burn_in, "valid_AP": 0.35}, *semi[:-1], semi[-1] | {"valid_AP": 0.421}]


def reasons(path: Path, logged: list[dict[str, float]], gain: Gain = LOSS, agnostic_gain: float = -0.01) -> str:
    return "; ".join(likely_reasons(write(path, logged), 10, TWO_EACH, gain, agnostic_gain))


def test_a_gain_is_said_against_the_control_with_its_interval() -> None:
    line = describe_outcome(Outcome("soft_teacher", {"valid": GAIN}, ()))
    assert line == "supervised 44.0 -> 47.9: +3.9 mAP (95% interval +1.8..+6.1, paired bootstrap over images)"
    assert line.endswith(describe_gain(GAIN))


def test_a_lead_that_may_be_chance_is_called_so() -> None:
    lead = replace(GAIN, low=-0.002)
    assert describe_outcome(Outcome("soft_teacher", {"valid": lead}, ())).endswith(", which may be chance")


def test_of_few_images_no_interval_is_trusted() -> None:
    line = describe_outcome(Outcome("soft_teacher", {"valid": replace(GAIN, num_images=1)}, ()))
    assert line.endswith("paired bootstrap over only 1 image: too few to trust it), which may be chance")
    enough = describe_outcome(Outcome("soft_teacher", {"valid": replace(GAIN, num_images=10)}, ()))
    assert enough.endswith("paired bootstrap over images)")


def test_arms_of_unlike_lengths_are_told() -> None:
    line = describe_outcome(Outcome("soft_teacher", {"valid": GAIN}, (), (4300, 3000)))
    assert line.endswith("paired bootstrap over images), of unlike lengths: 4,300 and 3,000 steps")


def test_no_gain_names_the_kept_model_and_the_reasons() -> None:
    line = describe_outcome(Outcome("supervised", {"valid": LOSS}, ("the first", "the second")))
    assert line == (
        "supervised 44.0 -> 42.1: -1.9 mAP (95% interval -3.4..-0.4, paired bootstrap over images); "
        "no gain: kept the supervised model; likely reasons: the first; the second"
    )


def test_with_test_images_the_line_is_about_them_and_the_choice_about_valid() -> None:
    chosen = describe_outcome(Outcome("soft_teacher", {"valid": GAIN, "test": LOSS}, ()))
    assert chosen.startswith("supervised 44.0 -> 42.1 on test: -1.9 mAP (")
    assert chosen.endswith(" images); Soft Teacher was chosen on valid (+3.9)")
    kept = describe_outcome(Outcome("supervised", {"valid": LOSS, "test": GAIN}, ("one",)))
    assert kept.startswith("supervised 44.0 -> 47.9 on test: +3.9 mAP (")
    assert kept.endswith("; no gain on valid (-1.9): kept the supervised model; likely reasons: one")


@pytest.mark.parametrize(
    ("burn_in", "test_ap", "line"),
    [
        (10, None, "burn-in (10 steps) 35.0 -> Soft Teacher 42.1"),
        (10, 0.407, "burn-in (10 steps) 35.0 -> Soft Teacher 42.1; on test 40.7"),
        (None, None, "supervised (40 steps) 42.1"),
        (None, 0.407, "supervised (40 steps) 42.1; on test 40.7"),
        (0, None, "Soft Teacher (40 steps) 42.1"),
        (40, None, "burn-in (40 steps) 42.1, and not one step of Soft Teacher"),
    ],
)
def test_a_run_without_a_control_claims_no_gain(
    tmp_path: Path, burn_in: int | None, test_ap: float | None, line: str
) -> None:
    assert describe_run(write(tmp_path / "metrics.csv", rows()), burn_in, test_ap) == line


def test_a_run_whose_metrics_were_deleted_says_so(tmp_path: Path) -> None:
    assert describe_run(tmp_path / "metrics.csv", 10) == f"there is no evaluation in {tmp_path / 'metrics.csv'}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"pseudo_boxes": 0.5},
            "only 0.5 pseudo boxes an image where labeled images have 2: lower soft_teacher",
        ),
        (
            {"pseudo_boxes": 5.0},
            "5 pseudo boxes an image where labeled images have 2: raise soft_teacher",
        ),
        ({"empty_images": 0.8}, "no pseudo box in 80% of the unlabeled images where 0% of the labeled ones are empty"),
        (
            {"loss_ratio": 12.0},
            "losses were 12.0 times the labeled ones' after the burn-in: lower soft_teacher.unsup_loss_weight",
        ),
    ],
)
def test_a_number_out_of_its_range_is_a_reason(tmp_path: Path, changes: dict[str, float], said: str) -> None:
    path = tmp_path / "metrics.csv"
    assert said in reasons(path, rows(**changes))
    assert said not in reasons(path, rows())


def test_only_what_was_measured_late_after_the_burn_in_counts(tmp_path: Path) -> None:
    logged = rows()
    logged[0] |= {"pseudo_boxes": 100.0, "loss_ratio": 100.0}
    logged[1] |= {"pseudo_boxes": 100.0, "loss_ratio": 100.0}
    assert reasons(tmp_path / "metrics.csv", logged) == reasons(tmp_path / "other.csv", rows())


def test_a_fall_from_a_peak_is_a_reason(tmp_path: Path) -> None:
    logged = rows()
    logged[2]["valid_AP"] = 0.46
    assert "it stood at 46.0 after 30 steps and fell" in reasons(tmp_path / "metrics.csv", logged)
    logged[2]["valid_AP"] = 0.43
    assert "it stood" not in reasons(tmp_path / "metrics.csv", logged)
    # Already the burn-in was better: what came after it did harm.
    logged[0]["valid_AP"] = 0.45
    assert "it stood at 45.0 after 10 steps and fell" in reasons(tmp_path / "metrics.csv", logged)


def test_confused_classes_and_chance_are_reasons(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert "(+2.0 with all classes as one) and confuses the classes" in reasons(path, rows(), agnostic_gain=0.02)
    assert "the interval includes 0" in reasons(path, rows(), replace(LOSS, high=0.003))


def test_where_nothing_stands_out_that_is_said_with_the_numbers(tmp_path: Path) -> None:
    assert reasons(tmp_path / "metrics.csv", rows()) == (
        "none that was measured (1.8 pseudo boxes an image where labeled images have 2): the teacher may be wrong and "
        "sure of it"
    )


@pytest.fixture
def finished(tiny_run: Path, tmp_path: Path) -> RunFolder:
    """A run whose two arms ended with the same weights, not yet settled."""
    run = RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run")))
    shutil.copytree(tiny_run, run.control.path)
    return run


def settled(run: RunFolder, config: Config) -> Outcome:
    data = builders.load_data(config)
    outcome = settle(
        run,
        {"valid": (data.valid, load_truth(config.data.valid))},
        labeled_density(data.train),
        16,
        device=CPU,
        batch_size=8,
    )
    assert outcome is not None
    return outcome


@pytest.mark.parametrize("wiped", ["supervised", "soft_teacher"])
def test_the_better_arm_is_kept_whichever_it_is(
    finished: RunFolder, tiny_config: Callable[..., Config], wiped: str
) -> None:
    arms = {"supervised": finished.control, "soft_teacher": finished}
    path = arms[wiped].last
    detector = load_detector(path)
    for parameter in detector.model.parameters():
        parameter.zero_()
    save_detector(path, detector.model, detector.card)

    outcome = settled(finished, tiny_config())
    assert outcome.winner == ({"supervised", "soft_teacher"} - {wiped}).pop()
    assert finished.best.read_bytes() == arms[outcome.winner].last.read_bytes() != path.read_bytes()
    gain = outcome.gains["valid"]
    assert (gain.before, gain.after)[wiped == "soft_teacher"] < 0.01
    line = describe_outcome(outcome)
    assert ("no gain: kept the supervised model; likely reasons: " in line) == (wiped == "soft_teacher")
    assert f"{100 * gain.difference:+.1f} mAP (95% interval {100 * gain.low:+.1f}.." in line


def test_equal_arms_are_no_gain(finished: RunFolder, tiny_config: Callable[..., Config]) -> None:
    outcome = settled(finished, tiny_config())
    assert outcome.winner == "supervised"
    assert outcome.gains["valid"] == Gain(*[outcome.gains["valid"].before] * 2, 0, 0, 0, num_images=8)
    assert outcome.steps is None


def test_a_control_of_another_length_is_noted(finished: RunFolder, tiny_config: Callable[..., Config]) -> None:
    detector = load_detector(finished.control.last)
    save_detector(finished.control.last, detector.model, replace(detector.card, step=99))
    outcome = settled(finished, tiny_config())
    assert outcome.steps == (99, detector.card.step)
    assert json.loads(finished.outcome.read_text())["steps"] == [99, detector.card.step]


def test_all_ranks_infer_and_one_writes(finished: RunFolder, tiny_config: Callable[..., Config]) -> None:
    best = finished.best.read_bytes()
    data = builders.load_data(tiny_config())
    splits = {"valid": (data.valid, load_truth(data.valid.source))}
    density = labeled_density(data.train)
    assert settle(finished, splits, density, 16, device=CPU, batch_size=8, rank=1) is None
    assert not finished.outcome.exists()
    assert finished.best.read_bytes() == best


def test_the_lines_of_runs_without_a_control(
    squares: Path, tmp_path: Path, softdet: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for overrides, begin in (
        (["--supervised", "params.iterations=2"], "supervised (2 steps) "),
        (["params.iterations=3", "soft_teacher.burn_in_steps=2"], "burn-in (2 steps) "),
    ):
        command = ["train", "--config", squares / "tiny.yaml", "--overwrite", f"model.exp_path={tmp_path / 'run'}"]
        assert softdet(*command, *overrides) == 0
        line = capsys.readouterr().out.splitlines()[-1]
        assert line.startswith(begin)
        assert ("-> Soft Teacher" in line) == (len(overrides) == 2 and "--supervised" not in overrides)
    assert describe_run(RunFolder(tmp_path / "run").metrics, 9).endswith(", and not one step of Soft Teacher"), "so far"
    assert softdet(*command, "params.iterations=2") == 2, "nothing would follow the burn-in"
