"""The run folder: starting in it loses nothing that anybody may still want."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

import softdet
from softdet.errors import RunError
from softdet.evaluation.run import RunFolder


@pytest.fixture
def taken(tmp_path: Path) -> RunFolder:
    """A run that has come as far as its first checkpoint."""
    run = RunFolder(tmp_path / "run")
    run.best.parent.mkdir(parents=True)
    for path in (run.config, run.metrics, run.checkpoint, run.best):
        path.write_text("old")
    run.environment.write_text('{"softdet": "0.1"}')
    return run


def files(run: RunFolder) -> set[str]:
    return {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_new_folder_is_made_with_its_parents(tmp_path: Path, fabric: Fabric, overwrite: bool) -> None:
    run = RunFolder(tmp_path / "a" / "b" / "run")
    run.claim(fabric, resume=False, overwrite=overwrite)
    assert run.path.is_dir()


def test_an_empty_folder_is_free(tmp_path: Path, fabric: Fabric) -> None:
    RunFolder(tmp_path).claim(fabric, resume=False, overwrite=False)
    assert tmp_path.is_dir()


def test_a_run_that_failed_before_its_first_step_is_in_nobodys_way(tmp_path: Path, fabric: Fabric) -> None:
    run = RunFolder(tmp_path)
    run.config.write_text("old")
    run.write_environment(torch.device("cpu"))
    run.claim(fabric, resume=False, overwrite=False)
    assert files(run) == set()


@pytest.mark.parametrize("name", ["metrics.csv", "checkpoint.pt", "notes.txt"])
def test_a_taken_folder_is_kept_and_the_choices_are_named(tmp_path: Path, fabric: Fabric, name: str) -> None:
    run = RunFolder(tmp_path)
    (tmp_path / "config.yaml").write_text("old")
    run.write_environment(torch.device("cpu"))
    (tmp_path / name).write_text("old")
    with pytest.raises(RunError) as raised:
        run.claim(fabric, resume=False, overwrite=False)
    for choice in ("--overwrite", "model.exp_path="):
        assert choice in str(raised.value)
    assert (f"--resume {tmp_path}" in str(raised.value)) == (name == "checkpoint.pt"), (
        "what can't be done isn't offered"
    )
    assert files(run) == {"config.yaml", "environment.json", name}


@pytest.mark.parametrize("environment", [None, "{}", "name: mine"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_project_of_somebody_is_no_run_that_failed(
    tmp_path: Path, fabric: Fabric, environment: str | None, overwrite: bool
) -> None:
    run = RunFolder(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("config.yaml", "data/0.png", "data/labels.json"):
        (tmp_path / name).write_text("mine")
    if environment:
        run.environment.write_text(environment)
    before = files(run)
    with pytest.raises(RunError, match=r"holds files that no run of softdet wrote"):
        run.claim(fabric, resume=False, overwrite=overwrite)
    assert files(run) == before


def test_overwriting_deletes_the_run(taken: RunFolder, fabric: Fabric) -> None:
    taken.claim(fabric, resume=False, overwrite=True)
    assert files(taken) == set()
    assert taken.path.is_dir()


@pytest.mark.parametrize("left", ["config.yaml", "environment.json", None])
def test_overwriting_deletes_no_folder_of_somebody_else(tmp_path: Path, fabric: Fabric, left: str | None) -> None:
    run = RunFolder(tmp_path / "thesis")
    run.path.mkdir()
    (run.path / "thesis.tex").write_text("years of work")
    if left:
        (run.path / left).write_text("of some other program")
    before = files(run)
    with pytest.raises(RunError, match=r"thesis holds files that no run of softdet wrote"):
        run.claim(fabric, resume=False, overwrite=True)
    assert files(run) == before


def test_a_link_to_another_disk_stays_a_link(taken: RunFolder, fabric: Fabric, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(taken.path)
    (taken.path / "data").symlink_to(tmp_path)
    RunFolder(link).claim(fabric, resume=False, overwrite=True)
    assert link.is_symlink()
    assert files(RunFolder(link)) == set()
    assert tmp_path.is_dir()


def test_a_place_that_cannot_be_a_folder_is_named(tmp_path: Path, fabric: Fabric) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match=r"file is a file, and a run needs a folder"):
        RunFolder(tmp_path / "file").claim(fabric, resume=False, overwrite=True)
    with pytest.raises(RunError, match=r"model\.exp_path: .*file/run can't be written \(.+\)"):
        RunFolder(tmp_path / "file" / "run").claim(fabric, resume=False, overwrite=False)
    assert (tmp_path / "file").read_text() == "mine"


def test_resuming_keeps_everything(taken: RunFolder, fabric: Fabric) -> None:
    before = files(taken)
    taken.claim(fabric, resume=True, overwrite=False)
    assert files(taken) == before


def test_without_a_checkpoint_there_is_nothing_to_resume(taken: RunFolder, fabric: Fabric, tmp_path: Path) -> None:
    taken.checkpoint.unlink()
    for run in (taken, RunFolder(tmp_path / "nowhere")):
        how = "with --overwrite instead of --resume" if run is taken else "without --resume"
        with pytest.raises(RunError, match=rf"{re.escape(str(run.path))}: nothing to resume.*{how}"):
            run.claim(fabric, resume=True, overwrite=False)


def test_a_folder_without_a_result_says_what_it_lacks(taken: RunFolder) -> None:
    taken.require_result()
    taken.best.unlink()
    with pytest.raises(RunError, match=r"run: there is no weights/best\.safetensors"):
        taken.require_result()


def test_the_environment_is_noted(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_environment(torch.device("cpu"))
    facts = json.loads(run.environment.read_text())
    assert facts["softdet"] == softdet.__version__
    assert facts["torch"] == torch.__version__
    assert facts["device"] == "cpu"
    assert facts["threads"] == torch.get_num_threads()
