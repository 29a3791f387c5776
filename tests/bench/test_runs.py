"""The evidence: what is measured of a run, and one run that is stopped, resumed and measured for real."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import accuracy
from evidence import runs
from evidence.measure import last_ap, read_metrics, seconds_a_step
from evidence.rows import read_rows
from evidence.table import Job
from softdet.config import Config, load_config
from softdet.errors import RunError

TABLE = """
seed: 10
tuning_fold: 1
report_folds: [2]
every_run: {basenet.arch: test_resnet, basenet.pretrained: false, cuda.using: false, params.batch_size: 2,
            params.image_size: 64x64, params.log_every: 1, model.fpn_channels: 8, model.head_convs: 0}
every_tuned: {}
sets:
  drawn: {labeled: labeled.json, unlabeled: unlabeled, valid: valid.json, settings: {params.iterations: 150}}
groups:
  main: {folds: [1], arms: {supervised: {change: {soft_teacher.enabled: false}}, soft_teacher: {}}}
  control: {folds: [1], arms: {}}
  ablation: {folds: [2], arms: {}}
"""


def test_speed_is_the_faster_quartile_of_each_kind_of_step(tiny_config: Callable[..., Config]) -> None:
    config = tiny_config("soft_teacher.burn_in_steps=2", "soft_teacher.unlabeled_ratio=2")
    speeds = ["4", "2", "12", "6", "", "3"]
    rows = [{"step": str(step), "images_per_second": speed} for step, speed in enumerate(speeds, 1)]
    # 4 labeled images a step: 1 and 2 s. With 8 unlabeled ones: 1, 2 and 4 s; the fifth row is an evaluation's alone.
    assert seconds_a_step(rows, config) == pytest.approx((1.25, 1.5))
    assert seconds_a_step(rows[:2], config) == (pytest.approx(1.25), None)


def test_the_last_evaluation_counts(tmp_path: Path) -> None:
    rows = [{"valid_AP": "0.5"}, {"valid_AP": "0.25"}, {"valid_AP": ""}]
    assert last_ap(rows, tmp_path) == 0.25
    with pytest.raises(RunError, match="no evaluation in it"):
        last_ap(rows[2:], tmp_path)


@pytest.fixture
def own_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def stop_once_it_trains(folder: Path) -> None:
    """Send this process SIGTERM as soon as a run below the folder has logged its first step."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any("\n1," in file.read_text() for file in folder.rglob("metrics.csv")):
            os.kill(os.getpid(), signal.SIGTERM)
            return
        time.sleep(0.02)


MARKED = {"results.md": ("accuracy", "control", "search"), "method.md": ("ablation",)}


@pytest.mark.usefixtures("own_threads")
def test_a_run_is_stopped_resumed_measured_and_made_once(
    tmp_path: Path, softdet: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_POLL_SECONDS", 0.05)
    sizes = ["--labeled", "4", "--unlabeled", "2", "--valid", "4", "--side", "64"]
    assert softdet("prepare", "synthetic", "--out", tmp_path / "data" / "drawn", *sizes) == 0
    (tmp_path / "table.yaml").write_text(TABLE)
    for page, names in MARKED.items():
        text = "".join(f"<!-- begin: {name} -->\n<!-- end: {name} -->\n" for name in names)
        (tmp_path / page).write_text(text)
    places = {"--table": "table.yaml", "--data": "data", "--runs": "runs", "--docs": "."}
    options = [part for option, place in places.items() for part in (option, str(tmp_path / place))]
    options += ["--arms", "supervised", "--folds", "1"]

    stopper = threading.Thread(target=stop_once_it_trains, args=(tmp_path / "runs",))
    stopper.start()
    assert accuracy.main(options) == accuracy.STOPPED
    stopper.join()
    assert read_rows(tmp_path / "results.csv") == []
    assert accuracy.main([*options, "--list"]) == 0
    assert "150 steps: begun, at step" in capsys.readouterr().out

    assert accuracy.main(options) == 0
    (row,) = read_rows(tmp_path / "results.csv")
    assert row.job == Job("drawn", "supervised", 1, 10)
    assert row.seconds_supervised is not None
    assert row.seconds_semi is None
    (run,) = (tmp_path / "runs").rglob("run")
    assert row.digest in run.parent.name
    assert pytest.approx(last_ap(read_metrics(run / "metrics.csv"), run), abs=1e-5) == row.AP
    assert load_config(run / "config.yaml") == load_config(run.parent / "config.yaml")
    assert len(json.loads((run.parent / "sessions.json").read_text())) == 2
    assert f"| {100 * row.AP:.1f} |" in (tmp_path / "results.md").read_text()

    capsys.readouterr()
    assert accuracy.main(options) == 0
    assert "1 have their row, 0 to make" in capsys.readouterr().out
    (tmp_path / "table.yaml").write_text(TABLE.replace("150", "151"))
    assert accuracy.main([*options, "--report-only"]) == 0
    assert "stale: drawn supervised fold 1 seed 10" in capsys.readouterr().out
    assert accuracy.main([*options, "--sets", "none"]) == 2
