"""A run, or any detections, judged: by kept detections, by inferring anew, on images that it may have seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softdet.evaluation.run import RunFolder

Command = Callable[..., int]
Output = pytest.CaptureFixture[str]
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "eval_coco100"


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> RunFolder:
    """A copy of the run at another place, to be changed at will."""
    return RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "copied")))


@pytest.mark.parametrize("way", ["folder", "--config folder", "config", "--config config"])
def test_a_run_is_evaluated_by_its_folder_or_its_config(
    way: str, run: RunFolder, squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    before = content(run.evaluation)
    text = (squares / "tiny.yaml").read_text().replace(str(squares / "never"), str(run.path))
    (tmp_path / "mine.yaml").write_text(text)
    place = run.path if "folder" in way else tmp_path / "mine.yaml"
    option = ["--config"] if way.startswith("--config") else []
    assert softdet("evaluate", *option, place, "--json", tmp_path / "numbers.json") == 0
    out = capsys.readouterr().out
    assert f"{run.best} (kept detections): mAP {100 * before['AP']:.1f}" in out
    assert "red" in out
    assert content(run.evaluation) == before
    assert content(tmp_path / "numbers.json").items() <= before.items()


def test_inferring_anew_gives_the_numbers_of_training(run: RunFolder, softdet: Command, capsys: Output) -> None:
    before, detections = content(run.evaluation), run.detections.read_bytes()
    run.detections.write_text("[]")
    run.evaluation.unlink()
    for arguments in ([], ["--rerun"]):
        assert softdet("evaluate", run.path, *arguments) == 0
        assert "kept" not in capsys.readouterr().out
        assert content(run.evaluation) == before
        assert run.detections.read_bytes() == detections


def test_kept_detections_need_no_images_and_count_only_for_their_detector(
    run: RunFolder, squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    (tmp_path / "alone").mkdir()
    shutil.copy(squares / "valid.json", tmp_path / "alone" / "valid.json")
    text = (squares / "tiny.yaml").read_text().replace(str(squares / "never"), str(run.path))
    config = tmp_path / "alone" / "tiny.yaml"
    config.write_text(text.replace(str(squares / "valid.json"), str(tmp_path / "alone" / "valid.json")))

    assert softdet("evaluate", config) == 0
    assert "(kept detections)" in capsys.readouterr().out
    assert softdet("evaluate", config, "--rerun") == 2
    assert "valid_0.png" in capsys.readouterr().err
    with run.best.open("ab") as file:
        file.write(b"\0")
    assert softdet("evaluate", config) == 2


def test_any_detections_file_can_be_scored(
    tiny_run: Path, squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    detections = RunFolder(tiny_run).detections
    truth = ["--truth", squares / "valid.json", "--detections", detections]
    assert softdet("evaluate", *truth, "--json", tmp_path / "deep" / "numbers.json") == 0
    numbers = content(tmp_path / "deep" / "numbers.json")
    assert numbers["AP"] == content(RunFolder(tiny_run).evaluation)["AP"]
    assert f"{detections}: mAP {100 * numbers['AP']:.1f}" in capsys.readouterr().out


def test_test_images_that_a_run_has_seen_are_told(
    tiny_run: Path, tmp_path: Path, squares: Path, softdet: Command, capsys: Output
) -> None:
    run = RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run")))
    before = run.config.read_text()
    for name, told in (("train", "was trained on"), ("valid", "chose its best weights by")):
        run.config.write_text(before.replace("  test: null\n", f"  test: {squares / name}.json\n"))
        capsys.readouterr()
        assert softdet("evaluate", run.path, "--split", "test") == 0
        out = " ".join(capsys.readouterr().out.split())
        assert f"{told} 8 of the 8 test images, so its numbers are too good" in out
        assert out.count("warning: ") == 1


# Defined only where the example is: a test that skips says nothing.
if SHARED.is_dir():

    @pytest.mark.real
    def test_cocos_own_example_gives_cocos_own_numbers(tmp_path: Path, softdet: Command) -> None:
        files = [SHARED / "instances_val2014_100.json", SHARED / "instances_val2014_fakebbox100_results.json"]
        assert softdet("evaluate", "--truth", files[0], "--detections", files[1], "--json", tmp_path / "out.json") == 0
        expected = content(SHARED / "expected.json")["stats"]
        found = content(tmp_path / "out.json")
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)
