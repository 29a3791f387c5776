"""Folders in, a model out: `softdet train --labeled X --unlabeled Y`, its plan, and what it leaves where."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from softdet.config import load_config
from softdet.config.auto import undecided
from softdet.evaluation.run import RunFolder

Command = Callable[..., int]
Output = pytest.CaptureFixture[str]

# A network and a schedule for seconds; the rest is derived.
SMALL = (
    "basenet.arch=test_resnet",
    "basenet.pretrained=False",
    "model.fpn_channels=16",
    "model.head_convs=1",
    "params.image_size=64",
    "params.iterations=6",
    "params.batch_size=4",
    "params.evaluate_student=False",
    "cuda.using=False",
)


@pytest.fixture
def folders(squares: Path) -> list[object]:
    """The options that name the squares."""
    return [
        "--labeled",
        squares / "train.json",
        "--valid",
        squares / "valid.json",
        "--unlabeled",
        squares / "unlabeled",
    ]


def test_folders_become_a_run_that_goes_on_by_itself(
    folders: list[object], tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    run = RunFolder(tmp_path / "run")
    assert softdet("train", *folders, "--out", run.path, *SMALL) == 0
    out = capsys.readouterr().out
    assert "found: COCO" in out
    assert re.search(r"^optimizer\.lr +2\.5e-4 += 5e-4 x 4/8 labeled images a step$", out, re.MULTILINE)
    assert re.search(r"^soft_teacher\.burn_in_steps +2 += two fifths of the 6 steps$", out, re.MULTILINE)
    assert "first the supervised control" in out
    settings = load_config(run.config)
    assert undecided(settings) == []
    assert settings.data.train == run.data / "train.json"
    assert {path.name for path in run.data.iterdir()} == {"train.json", "valid.json", "unlabeled.json"}
    assert not run.new_data.exists()
    assert run.best.is_file()
    assert json.loads(run.doctor.read_text())["exit_code"] == 0, "for the report"
    # Nothing is derived or prepared anew.
    assert softdet("train", "--resume", run.path) == 0
    assert "labeled images a step" not in capsys.readouterr().out
    # Nor is the run lost to a second one with a mistake in its data.
    before = run.best.read_bytes()
    mistake = ["--labeled", tmp_path / "nowhere", *folders[2:], "--out", run.path, "--overwrite"]
    assert softdet("train", *mistake, *SMALL) == 2
    assert run.best.read_bytes() == before
    assert not run.new_data.exists()
    assert softdet("train", *folders, "--out", run.path, *SMALL) == 2
    assert "already holds files" in capsys.readouterr().err
    # Its config names the lists that lie in it.
    assert softdet("train", "--config", run.config, "--overwrite", "--no-smoke") == 2
    assert f"data.train: {run.data / 'train.json'} lies in {run.path}, which would be" in capsys.readouterr().err
    # And labels that were put there are not only read from it.
    corrected = run.path / "more" / "corrected.json"
    corrected.parent.mkdir()
    corrected.write_bytes((run.data / "train.json").read_bytes())
    inside = ["--labeled", corrected, *folders[2:], "--out", run.path, "--overwrite"]
    assert softdet("train", *inside, "--no-smoke", *SMALL) == 2
    assert f"--labeled: {corrected} lies in {run.path}" in capsys.readouterr().err
    # Nor by another way to it.
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    by_link = ["--labeled", corrected, *folders[2:], "--out", tmp_path / "link" / run.path.relative_to(tmp_path)]
    assert softdet("train", *by_link, "--overwrite", "--no-smoke", *SMALL) == 2
    assert f"--labeled: {corrected} lies in" in capsys.readouterr().err
    assert corrected.is_file()
    assert run.best.read_bytes() == before


def test_a_supervised_run_needs_no_unlabeled_images(folders: list[object], tmp_path: Path, softdet: Command) -> None:
    run = RunFolder(tmp_path / "run")
    assert softdet("train", *folders[:4], "--supervised", "--out", run.path, *SMALL) == 0
    settings = load_config(run.config)
    assert not settings.soft_teacher.enabled
    assert settings.data.unlabeled is None


def test_a_dry_run_measures_and_leaves_nothing(
    folders: list[object], tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    assert softdet("train", *folders, "--out", tmp_path / "run", "--dry-run", *SMALL) == 0
    out = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    for row in ("burn-in", "supervised control", "Soft Teacher", "evaluation (8 images)", "all"):
        assert f"│ {row} " in out
    assert "GB" in out
    assert "2 steps of burn-in are few" in out.replace("\n", " ")


def test_a_schedule_is_fitted_to_the_hours(
    folders: list[object], tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    changes = [change for change in SMALL if "iterations" not in change]
    limit = ("--max-hours", "1e-3", "params.evaluate_every=100000")
    assert softdet("train", *folders, "--out", tmp_path / "run", "--dry-run", *limit, *changes) == 0
    out = capsys.readouterr().out
    found = re.search(
        r"^params\.iterations +(\d+) += 4,?100 would take longer than --max-hours 0.001$", out, re.MULTILINE
    )
    assert found
    assert 10 <= int(found[1]) < 4100


def test_a_second_command_in_the_folder_is_told_so(
    folders: list[object], tmp_path: Path, softdet: Command, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softdet.evaluation.sole_writer._PATIENCE", 0.1)
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    hold = "import sys, filelock as f; lock = f.FileLock(sys.argv[1]); lock.acquire(); print(); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(run.lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert softdet("train", *folders, "--out", run.path, *SMALL) == 2
    assert f"{run.path}: another `softdet train` is at work in this folder" in capsys.readouterr().err
    assert list(run.path.iterdir()) == [run.lock]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--labeled", "{squares}/train.json"], "--unlabeled is missing"),
        (["--unlabeled", "{squares}/unlabeled"], "--unlabeled without --labeled"),
        (["--valid", "a", "--test", "b", "--config", "c"], "--valid and --test without --labeled"),
        (
            ["--labeled", "{squares}/images", "--unlabeled", "{squares}/unlabeled", "data.test=my/test.json"],
            "data.test=my/test.json beside --labeled, from which the lists are made: give --test my/test.json",
        ),
        (["--labeled", "nowhere", "--unlabeled", "{squares}/unlabeled"], "nowhere"),
        (["--labeled", "{squares}/train.json", "--unlabeled", "nowhere"], "nowhere"),
        (["--config", "{squares}/tiny.yaml", "--max-hours", "0"], "--max-hours 0: write a number above 0"),
        (["--resume", "{squares}", "--dry-run"], "give nothing beside it"),
        (["--resume", "{squares}", "--labeled", "a", "--unlabeled", "b"], "give nothing beside it"),
        ([], "--labeled IMAGES --unlabeled IMAGES"),
    ],
)
def test_a_mistake_is_told_and_leaves_nothing(
    arguments: list[str],
    said: str,
    squares: Path,
    softdet: Command,
    capsys: Output,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert softdet("train", *(argument.format(squares=squares) for argument in arguments)) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []
