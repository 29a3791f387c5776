"""An exact resume: of a run that was killed, of one that was asked to stop, of one that is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from states import differences
from trainers import numbers_of, trainer_in_its_folder

from softdet.config import Config
from softdet.engine.checkpoint import load_checkpoint
from softdet.evaluation.detector import load_detector
from softdet.evaluation.run import RunFolder


def assert_same_run(run: Path, reference: Path) -> None:
    """The same student, teacher, optimizer, thresholds, numbers and result, bit for bit."""
    state, wanted = (load_checkpoint(RunFolder(path).checkpoint) for path in (run, reference))
    assert wanted["train"]["step"] == 24
    assert differences(state, wanted) == []
    assert numbers_of(run) == numbers_of(reference)
    best, wanted_best = (load_detector(RunFolder(path).best) for path in (run, reference))
    assert differences(best.model.state_dict(), wanted_best.model.state_dict()) == []
    assert replace(best.card, digests={}) == replace(wanted_best.card, digests={})
    assert RunFolder(run).detections.read_bytes() == RunFolder(reference).detections.read_bytes()


def test_a_run_that_was_killed_and_resumed_is_the_run_that_never_was(
    squares: Path, tiny_run: Path, tmp_path: Path, softdet: Callable[..., int]
) -> None:
    run = RunFolder(tmp_path / "run")
    command = [sys.executable, "-m", "softdet", "train", "--config", str(squares / "tiny.yaml")]
    process = subprocess.Popen(
        [*command, f"model.exp_path={run.path}"],
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.DEVNULL,
    )
    try:
        # Renamed into its place when it's whole, half way through the run.
        while not run.checkpoint.exists() and process.poll() is None:
            time.sleep(0.005)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert load_checkpoint(run.checkpoint)["train"]["step"] == 12

    assert softdet("train", "--resume", run.path) == 0
    assert_same_run(run.path, tiny_run)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_was_asked_to_stop_saves_and_goes_on(
    number: signal.Signals,
    tiny_config: Callable[..., Config],
    tiny_run: Path,
    tmp_path: Path,
    softdet: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    trainer = trainer_in_its_folder(tiny_config(f"model.exp_path={tmp_path / 'run'}"))
    set_learning_rate = trainer.set_learning_rate

    def stop_at_18(step: int) -> None:
        if step == 18:
            os.kill(os.getpid(), number)
        set_learning_rate(step)

    trainer.set_learning_rate = stop_at_18
    before = signal.getsignal(number)
    assert trainer.fit() is False
    assert signal.getsignal(number) is before
    assert "stopped at step 19 as asked; its state is saved" in capsys.readouterr().out
    # Between two checkpoints, after the burn-in: the memory of the teacher's boxes is part of the state.
    state = load_checkpoint(trainer.checkpoint)
    assert state["train"]["step"] == 19
    assert len(state["method"]["labeler"]["uncertainty_threshold"]["recent"]) > 0

    assert softdet("train", "--resume", tmp_path / "run") == 0
    assert_same_run(tmp_path / "run", tiny_run)


def test_resuming_a_run_that_is_over_only_tests_it(
    tiny_config: Callable[..., Config], tmp_path: Path, softdet: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    trainer_in_its_folder(
        tiny_config(f"model.exp_path={path}", "params.iterations=2", "soft_teacher.enabled=False")
    ).fit()
    before = RunFolder(path).checkpoint.read_bytes(), numbers_of(path)
    capsys.readouterr()
    assert softdet("train", "--resume", path) == 0
    assert "mAP" in capsys.readouterr().out
    assert (RunFolder(path).checkpoint.read_bytes(), numbers_of(path)) == before
