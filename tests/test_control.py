"""Both arms in one run: nothing is shared but the burn-in, no interruption changes it, and the winner is kept."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from states import differences
from trainers import numbers_of
from two_processes import run_two_processes

from softdet import builders
from softdet.config import Config, load_config
from softdet.engine.checkpoint import load_checkpoint
from softdet.engine.trainer import Trainer
from softdet.evaluation.detector import load_detector, read_card
from softdet.evaluation.run import RunFolder

Command = Callable[..., int]
Output = pytest.CaptureFixture[str]
CPU = torch.device("cpu")
# What nobody watches in a control: the rows of its burn-in lack it.
WATCHED = {"health", "agreement", "uncertainty_correlation"}


class Trained(NamedTuple):
    """A run with a control, and what it printed."""

    run: RunFolder
    out: str


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def state_of(run: RunFolder) -> dict[str, Any]:
    """The checkpoint; `best_ap` chooses `weights/best` in the course of a run and is each run's own."""
    state = load_checkpoint(run.checkpoint)
    state["train"].pop("best_ap")
    return state


def numbers(run: RunFolder) -> list[dict[str, str]]:
    """The rows of the metrics, without what nobody watches in a control and without empty cells."""
    return [
        {name: value for name, value in row.items() if value and name not in WATCHED} for row in numbers_of(run.path)
    ]


def evaluated(run: RunFolder) -> list[str]:
    return [row["step"] for row in numbers(run) if "valid_AP" in row]


def assert_same_results(run: RunFolder, reference: RunFolder) -> None:
    assert differences(state_of(run), state_of(reference)) == []
    assert numbers(run) == numbers(reference)
    for weights in ("last", "best"):
        one, other = (load_detector(getattr(each, weights)).model.state_dict() for each in (run, reference))
        assert differences(one, other) == []


def start(folder: Path, run: Path, *overrides: str) -> list[str]:
    config = ["train", "--config", str(folder / "tiny.yaml"), "soft_teacher.control=True"]
    return [*config, f"model.exp_path={run}", *overrides]


@pytest.fixture(scope="module")
def trained(squares: Path, softdet: Command, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run with a control, not to be changed."""
    run = RunFolder(tmp_path_factory.mktemp("control") / "run")
    with redirect_stdout(io.StringIO()) as out:
        assert softdet(*start(squares, run.path)) == 0
    return Trained(run, out.getvalue())


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> RunFolder:
    """A copy of that run, to be changed at will."""
    return RunFolder(Path(shutil.copytree(trained.run.path, tmp_path / "copied")))


def test_soft_teacher_after_its_control_is_soft_teacher_alone(trained: Trained, tiny_run: Path) -> None:
    alone = RunFolder(tiny_run)
    assert state_of(alone)["train"]["step"] == 24
    assert differences(state_of(trained.run), state_of(alone)) == []
    # With the rows of the burn-in, which the control has walked.
    assert numbers(trained.run) == numbers(alone)
    last, last_alone = (load_detector(run.last) for run in (trained.run, alone))
    assert differences(last.model.state_dict(), last_alone.model.state_dict()) == []
    assert last.card.operating_threshold == last_alone.card.operating_threshold


def test_the_control_is_a_run_of_its_own_that_its_config_repeats(
    trained: Trained, squares: Path, tmp_path: Path, softdet: Command
) -> None:
    control, run = trained.run.control, RunFolder(tmp_path / "again")
    # The smoke pass and doctor leave something in a run; an arm of a run has none of its own.
    quickly = ("--no-smoke", "--no-doctor")
    assert softdet("train", "--config", control.config, f"model.exp_path={run.path}", *quickly) == 0
    assert_same_results(run, control)
    files = {path.relative_to(run.path) for path in run.path.rglob("*")}
    assert {path.relative_to(control.path) for path in control.path.rglob("*")} == files
    # It is what --supervised makes of the run's config.
    asked = ["soft_teacher.enabled=False", f"model.exp_path={control.path}"]
    assert load_config(control.config) == load_config(squares / "tiny.yaml", asked)


def test_both_arms_are_evaluated_at_the_same_steps_and_at_the_end_of_the_burn_in(trained: Trained) -> None:
    assert evaluated(trained.run) == evaluated(trained.run.control) == ["12", "16", "24"]
    at_the_end = numbers(trained.run.control)[-1]
    (line,) = [line for line in trained.out.splitlines() if "(control " in line]
    own = numbers(trained.run)[-1]
    shown = [f"{100 * float(row['valid_AP']):.1f}" for row in (own, at_the_end)]
    assert line.startswith(f"step 24: valid mAP {shown[0]} (control {shown[1]}), AP50")


def test_the_last_line_compares_the_last_weights_and_the_winners_are_the_result(
    trained: Trained, squares: Path, softdet: Command, capsys: Output, tmp_path: Path
) -> None:
    run, outcome = trained.run, content(trained.run.outcome)
    (gain,) = outcome["gains"].values()
    last = [float(numbers(each)[-1]["valid_AP"]) for each in (run.control, run)]
    assert [gain["before"], gain["after"]] == pytest.approx(last, rel=1e-5)
    line = trained.out.splitlines()[-1]
    assert line.startswith(f"supervised {100 * gain['before']:.1f} -> {100 * gain['after']:.1f}: ")

    winner = run if gain["difference"] > 0 else run.control
    assert outcome["winner"] == ("soft_teacher" if winner is run else "supervised")
    assert run.best.read_bytes() == winner.last.read_bytes() == (run.path / outcome["weights"]).read_bytes()
    assert content(run.evaluation)["AP"] == max(gain["before"], gain["after"])
    assert bool(outcome["reasons"]) == (winner is not run)

    capsys.readouterr()
    assert softdet("compare", run.control.path, run.path, "--out", tmp_path / "picture.png") == 0
    (compared,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("gain ")]
    assert compared.removeprefix("gain ") in line


def test_the_state_between_the_arms_is_kept_no_longer_than_needed(trained: Trained) -> None:
    assert not trained.run.control.burn_in.exists()
    assert "two arms that share the burn-in" in trained.out
    assert f"supervised (24 steps) {100 * float(numbers(trained.run.control)[-1]['valid_AP']):.1f};" in trained.out


class Killed(BaseException):
    """As abrupt as a lost machine: nothing catches it, nothing is saved."""


@pytest.fixture
def strike(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, int, Callable[[], None]], None]]:
    """Let something happen in an arm just before a step; at step -1 before the arm is put together."""
    blow: dict[tuple[str, int], Callable[[], None]] = {}
    make_trainer = builders.make_trainer

    def made(config: Config, *arguments: Any, **options: Any) -> Trainer:
        arm = "soft teacher" if config.soft_teacher.enabled else "control"
        blow.get((arm, -1), lambda: None)()
        trainer = make_trainer(config, *arguments, **options)
        set_learning_rate = trainer.set_learning_rate

        def set_at(step: int) -> None:
            blow.get((arm, step), lambda: None)()
            set_learning_rate(step)

        trainer.set_learning_rate = set_at
        return trainer

    monkeypatch.setattr(builders, "make_trainer", made)

    def aim(arm: str, step: int, what: Callable[[], None]) -> None:
        blow.clear()
        blow[arm, step] = what

    return aim


def kill() -> None:
    raise Killed


def ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_interrupted_anywhere_and_resumed_it_is_the_run_that_never_was(
    trained: Trained,
    squares: Path,
    tmp_path: Path,
    softdet: Command,
    strike: Callable[[str, int, Callable[[], None]], None],
) -> None:
    run = RunFolder(tmp_path / "run")
    command: list[str] = start(squares, run.path, "params.checkpoint_every=4")
    places = [
        ("control", 6, kill),  # with a checkpoint at 4
        ("control", 9, ask_to_stop),
        ("control", 17, kill),  # just after the state for the other arm was kept
        ("control", 23, ask_to_stop),  # in the last step of the arm
        ("soft teacher", -1, kill),  # between the arms
        ("soft teacher", 16, kill),  # before its first step
        ("soft teacher", 18, ask_to_stop),
        ("soft teacher", 22, kill),
    ]
    for arm, step, what in places:
        strike(arm, step, what)
        if what is kill:
            with pytest.raises(Killed):
                softdet(*command)
        else:
            assert softdet(*command) == 0
        assert not run.outcome.exists()
        command = ["train", "--resume", str(run.path)]
    strike("nobody", 0, kill)
    assert softdet(*command) == 0
    assert_same_results(run, trained.run)
    assert_same_results(run.control, trained.run.control)
    assert content(run.outcome) == content(trained.run.outcome)
    assert not run.control.burn_in.exists()


def test_resuming_a_run_that_is_over_says_the_same_again(
    copied: RunFolder, trained: Trained, softdet: Command, capsys: Output
) -> None:
    # As after a kill in the middle of the end.
    copied.outcome.unlink()
    best = copied.best.read_bytes()
    copied.best.write_bytes(copied.control.best.read_bytes())
    before = state_of(copied)
    capsys.readouterr()
    assert softdet("train", "--resume", copied.path) == 0
    assert capsys.readouterr().out.splitlines()[-1] == trained.out.splitlines()[-1]
    assert content(copied.outcome) == content(trained.run.outcome)
    assert copied.best.read_bytes() == best
    assert differences(state_of(copied), before) == []


def test_where_a_run_is_made_longer_its_control_goes_on_too(
    copied: RunFolder, softdet: Command, capsys: Output
) -> None:
    config = copied.config.read_text()
    copied.config.write_text(config.replace("iterations: 24", "iterations: 30"))
    assert copied.config.read_text() != config
    assert softdet("train", "--resume", copied.path) == 0
    assert read_card(copied.last).step == read_card(copied.control.last).step == 30
    assert "now Soft Teacher, from where it stopped" in capsys.readouterr().out
    assert not copied.control.burn_in.exists()


def test_a_control_that_went_on_alone_leaves_nothing_to_start_from(
    copied: RunFolder, softdet: Command, capsys: Output
) -> None:
    copied.checkpoint.unlink()
    assert softdet("train", "--resume", copied.path) == 2
    error = capsys.readouterr().err
    assert "control/burn_in.pt isn't there" in error
    assert "--overwrite" in error


def test_without_a_burn_in_both_arms_start_from_the_same_weights(
    squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    short = ["params.iterations=2", "soft_teacher.burn_in_steps=0"]
    both, alone = RunFolder(tmp_path / "both"), RunFolder(tmp_path / "alone")
    assert softdet(*start(squares, both.path, *short)) == 0
    assert softdet(*start(squares, alone.path, *short, "soft_teacher.control=False")) == 0
    assert differences(state_of(both), state_of(alone)) == []
    assert capsys.readouterr().out.splitlines()[-1].startswith("Soft Teacher (2 steps) ")
    assert not alone.outcome.exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["soft_teacher.burn_in_steps=24"],
            "has 24 steps and a burn-in of 24, so not one step of Soft Teacher would follow",
        ),
        # Only Soft Teacher can't be trained so; the control would run for hours first.
        (["params.batch_size=1", "soft_teacher.unlabeled_ratio=0.1"], "unlabeled_ratio = 0"),
        (["data.unlabeled=None"], "data.unlabeled is missing"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_deleted(
    copied: RunFolder, squares: Path, softdet: Command, capsys: Output, overrides: list[str], said: str
) -> None:
    assert softdet(*start(squares, copied.path, "--overwrite", *overrides)) == 2
    assert said in capsys.readouterr().err
    assert copied.outcome.is_file()


def test_a_supervised_run_has_no_control(tiny_config: Callable[..., Config]) -> None:
    config = tiny_config("soft_teacher.control=True", "soft_teacher.enabled=False")
    assert builders.arms_of(config, builders.load_data(config), 1) == (config,)


def test_two_processes_train_both_arms_and_one_speaks(squares: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    overrides = ["params.iterations=3", "soft_teacher.burn_in_steps=2"]
    first, second = run_two_processes(*start(squares, run.path, *overrides))
    assert first.splitlines()[-1].startswith("supervised ")
    assert second == ""
    winner = {"soft_teacher": run, "supervised": run.control}[content(run.outcome)["winner"]]
    assert run.best.read_bytes() == winner.last.read_bytes()
    assert [state_of(each)["train"]["images_seen"] for each in (run.control, run)] == [12, 16]
