"""`softdet report` on runs in every state."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from softdet.cli.report import draw_run
from softdet.config import load_config
from softdet.evaluation.run import RunFolder


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> RunFolder:
    """A copy of a finished run, to be changed at will."""
    shutil.copytree(tiny_run, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def said(capsys: pytest.CaptureFixture[str]) -> str:
    # Lines are not broken on purpose, but a narrow terminal may do so.
    return " ".join(capsys.readouterr().out.split())


def test_a_finished_run(softdet: Callable[..., int], run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert softdet("report", run.path) == 0
    out = said(capsys)
    assert "wrote" in out
    assert "not in the report" not in out
    page = run.report.read_text(encoding="utf-8")
    for part in ("Soft Teacher: mAP", "It finds blue, red, learned from 8 labeled images and 6 unlabeled images",
                 'id="gallery-data"', "Confusion matrix", "doctor found nothing wrong", "pseudo_cls_th"):  # fmt: skip
        assert part in page, part
    assert len(list(run.plots.iterdir())) == 10


def test_another_place_leaves_the_run_as_it_is(softdet: Callable[..., int], run: RunFolder, tmp_path: Path) -> None:
    shutil.rmtree(run.plots)
    assert softdet("report", run.path, "--out", tmp_path / "some" / "page.html") == 0
    assert (tmp_path / "some" / "page.html").is_file()
    assert not run.report.exists()
    assert not run.plots.exists()


def test_an_unfinished_run_says_so(
    softdet: Callable[..., int], run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = run.metrics.read_text().splitlines()
    run.metrics.write_text("\n".join(rows[:3]) + "\n")
    for gone in (run.best, run.last, run.detections, run.evaluation, run.gallery):
        gone.unlink()
    assert softdet("report", run.path) == 0
    out = said(capsys)
    assert "there is no best.safetensors before the first evaluation" in out
    page = run.report.read_text(encoding="utf-8")
    assert "Unfinished: step 8 of 24" in page
    assert f"softdet train --resume {run.path}" in page
    assert "This run kept no gallery" in page


def test_detections_of_other_weights_are_not_shown(
    softdet: Callable[..., int], run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run.detections.write_text("[]")
    assert softdet("report", run.path) == 0
    assert f"softdet evaluate {run.path} --rerun" in said(capsys)
    assert "Confusion matrix" not in run.report.read_text(encoding="utf-8")


def test_a_run_whose_images_and_config_are_gone_still_shows_its_numbers(
    softdet: Callable[..., int], run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run.config.write_text(run.config.read_text().replace("train.json", "gone.json"))
    assert softdet("report", run.path) == 0
    assert "The labeled images: there is no file" in said(capsys)
    run.config.write_text("nonsense: 1\n")
    assert softdet("report", run.path) == 0
    assert "The config, and with it the images" in said(capsys)
    assert "Validation mAP" in run.report.read_text(encoding="utf-8")


def test_outcome_control_and_doctor_are_read(softdet: Callable[..., int], run: RunFolder) -> None:
    gain = {"before": 0.2, "after": 0.3, "difference": 0.1, "low": 0.05, "high": 0.15}
    outcome = {"winner": "soft_teacher", "chosen_on": "valid", "reported_on": "valid", "gains": {"valid": gain}}
    per_class = [{"name": "red", "before": 0.2, "after": 0.35, "num_boxes": 9}]
    run.outcome.write_text(json.dumps(outcome | {"reasons": [], "per_class": per_class}))
    run.control.path.mkdir()
    shutil.copy(run.metrics, run.control.metrics)
    run.doctor.write_text(json.dumps({"findings": [{"level": "note", "message": "two look alike", "fix": "look"}]}))
    assert softdet("report", run.path) == 0
    page = run.report.read_text(encoding="utf-8")
    for part in ("brought +10.0 mAP", "supervised 20.0 -&gt; 30.0", "+15.0", "supervised control", "two look alike"):
        assert part in page, part


def test_what_is_no_run_is_refused_with_a_hint(
    softdet: Callable[..., int], run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert softdet("report", tmp_path / "nowhere") == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert softdet("report", tmp_path) == 2
    assert f"Did you mean {run.path}?" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert softdet("report", tmp_path / "empty") == 2
    assert "Has the run been started?" in capsys.readouterr().err


def test_a_place_that_cant_be_written_is_named(
    softdet: Callable[..., int], run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert softdet("report", run.path, "--out", tmp_path / "file" / "page.html") == 2
    assert "can't be written" in capsys.readouterr().err


def test_plots_that_cant_be_drawn_end_no_run(run: RunFolder) -> None:
    shutil.rmtree(run.plots)
    run.plots.write_text("a file where the folder should be")
    with pytest.warns(RuntimeWarning, match="the plots of .* couldn't be drawn"):
        draw_run(load_config(run.config, [f"model.exp_path={run.path}"]))
