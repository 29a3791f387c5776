"""What is said of two runs that are compared: the gain, and what makes it worth less."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from softdet.evaluation.detector import load_detector, save_detector
from softdet.evaluation.run import RunFolder

Output = pytest.CaptureFixture[str]
Command = Callable[..., int]


def test_comparing_a_run_with_itself_gains_nothing(
    tiny_run: Path, tmp_path: Path, softdet: Command, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert softdet("compare", tiny_run, tiny_run, "--weights", "best", "--out", tmp_path / "picture.png") == 0
    out = capsys.readouterr().out
    assert "gain +0.0 mAP (95% interval +0.0..+0.0" in out
    assert out.count(f"{100 * json.loads(RunFolder(tiny_run).evaluation.read_text())['AP']:.1f}") >= 2
    assert (tmp_path / "picture.png").is_file()


@pytest.mark.parametrize("weights", ["last", "best"])
def test_runs_of_unlike_length_are_told(
    tiny_run: Path, tmp_path: Path, softdet: Command, capsys: Output, weights: str
) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(tiny_run, run.path)
    detector = load_detector(run.last)
    save_detector(run.last, detector.model, replace(detector.card, step=1234))
    assert softdet("compare", run.path, tiny_run, "--weights", weights, "--out", tmp_path / "picture.png") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"after 1,234 and {detector.card.step} steps: part of that may be the longer training's" in out


def test_a_run_that_was_trained_on_the_others_validation_images_is_told(
    tiny_run: Path, squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(squares / "train.json"), str(squares / "valid.json")))
    assert softdet("compare", run, tiny_run, "--out", tmp_path / "picture.png") == 0
    assert "was trained on 8 of the 8 validation images of the other run" in " ".join(capsys.readouterr().out.split())


def test_other_rules_of_keeping_boxes_are_told(
    tiny_run: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(tiny_run, run.path)
    detector = load_detector(run.last)
    save_detector(run.last, detector.model, replace(detector.card, score_threshold=0.001))
    assert softdet("compare", run.path, tiny_run, "--out", tmp_path / "picture.png") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"by other rules (inference.cls_th 0.001 and {detector.card.score_threshold:g})" in told
