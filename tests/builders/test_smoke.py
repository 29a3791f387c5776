"""The first minute of a run: everything is tried once, in a place of its own, and the run is as if it had not been."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from states import differences
from trainers import numbers_of

from softdet import builders
from softdet.builders.proof import prove_checkpoint, prove_detector
from softdet.builders.rehearsal import scratch_trainer
from softdet.builders.smoke import Proof, prove
from softdet.config import Config, load_config
from softdet.engine.checkpoint import load_checkpoint
from softdet.errors import RunError
from softdet.evaluation.detector import load_detector
from softdet.evaluation.run import RunFolder

Command = Callable[..., int]
Make = Callable[..., Config]
Output = pytest.CaptureFixture[str]
SHORT = ("params.iterations=3", "soft_teacher.burn_in_steps=2", "params.log_every=1", "params.evaluate_every=2")


@pytest.fixture(scope="module")
def both(squares: Path, tmp_path_factory: pytest.TempPathFactory, softdet: Command) -> list[RunFolder]:
    """A run behind its smoke pass, and the same without, which was in the same folder."""
    folder = tmp_path_factory.mktemp("smoke")
    runs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, extra in (("with", []), ("without", ["--no-smoke", "--no-doctor"])):
            assert softdet("train", "--config", squares / "tiny.yaml", "--out", "run", *SHORT, *extra) == 0
            (folder / "run").rename(folder / name)
            runs.append(RunFolder(folder / name))
    return runs


def test_the_run_is_to_the_bit_as_if_the_smoke_had_not_been(both: list[RunFolder]) -> None:
    one, other = both
    assert differences(load_checkpoint(one.checkpoint), load_checkpoint(other.checkpoint)) == []
    assert numbers_of(one.path) == numbers_of(other.path)
    assert one.best.read_bytes() == other.best.read_bytes()
    assert one.gallery.read_bytes() == other.gallery.read_bytes()
    files = [{path.relative_to(run.path) for path in run.path.rglob("*") if path.is_file()} for run in (one, other)]
    assert files[0] - files[1] == {Path("pictures/first_batch.jpg"), Path("doctor.json")}
    assert files[1] <= files[0]
    with Image.open(one.pictures / "first_batch.jpg") as picture:
        assert picture.format == "JPEG"


def launched(config: Config) -> tuple[Any, builders.Data]:
    fabric = builders.make_fabric(config)
    fabric.launch()
    return fabric, builders.load_data(config)


def proved(config: Config) -> Proof:
    fabric, data = launched(config)
    return prove(config, data, fabric)


def test_what_was_checked_is_told(tiny_config: Make, tmp_path: Path) -> None:
    config = tiny_config(f"model.exp_path={tmp_path / 'run'}")
    proof = proved(config)
    assert " s: a supervised step, a semi-supervised step, evaluation, checkpoint, reload, picture" in str(proof)
    assert str(proof).startswith("checked in ")
    # Nothing at all is in the run's folder: no detector of the smoke can become the best.
    assert list(tmp_path.iterdir()) == []
    alone = tiny_config(f"model.exp_path={tmp_path / 'run'}", "soft_teacher.enabled=False")
    assert proved(alone).checked[:2] == ("a supervised step", "evaluation")
    at_once = tiny_config(f"model.exp_path={tmp_path / 'run'}", "soft_teacher.burn_in_steps=0")
    assert proved(at_once).checked[:2] == ("a semi-supervised step", "evaluation")


def test_a_full_disk_is_told_before_the_run_and_an_earlier_run_stays(
    tiny_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(f"model.exp_path={tmp_path / 'run'}")
    fabric, data = launched(config)
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real._replace(free=1_000_000))
    with pytest.raises(RunError, match=r"has 0\.0 GB left, and this run writes 0\.1 GB\. Make room, or choose"):
        prove(config, data, fabric)


def test_a_checkpoint_that_is_not_what_was_written_is_found(tiny_config: Make, tmp_path: Path) -> None:
    config = tiny_config(f"model.exp_path={tmp_path / 'run'}")
    fabric, data = launched(config)
    with scratch_trainer(config, data, fabric) as trainer:
        trainer.save()
        prove_checkpoint(trainer)
        weight = next(trainer.student.module.parameters())
        with torch.no_grad():
            weight[0] += 1
        with pytest.raises(RunError, match="1 values differ, the first student"):
            prove_checkpoint(trainer)


def test_a_detector_that_is_not_what_was_written_is_found(tiny_run: Path, tiny_config: Make) -> None:
    run = RunFolder(tiny_run)
    model, valid = load_detector(run.last).model, builders.load_data(tiny_config()).valid
    where: Any = {"device": torch.device("cpu"), "batch_size": 2}
    prove_detector(run.last, model, valid, **where)
    with torch.no_grad():
        next(model.class_head.parameters()).add_(1.0)
    with pytest.raises(RunError, match="detects something else"):
        prove_detector(run.last, model, valid, **where)


def test_a_picture_that_cannot_be_read_is_no_reason_to_stop(own_squares: Path, tmp_path: Path) -> None:
    config = load_config(own_squares / "tiny.yaml", [f"model.exp_path={tmp_path / 'run'}"])
    (own_squares / "images" / "valid_0.png").write_bytes(b"cut off")
    assert proved(config).picture is not None


def test_doctor_stops_a_run_before_it_deletes_anything(
    own_squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    shutil.copy(own_squares / "images" / "valid_0.png", own_squares / "unlabeled" / "other_name.png")
    arguments = ["train", "--config", own_squares / "tiny.yaml", "--out", tmp_path / "run", *SHORT]
    assert softdet(*arguments) == 2
    told = capsys.readouterr()
    assert "error leak: 1 place" in told.out
    assert "other_name.png" in told.out
    assert f"softdet doctor --labeled {own_squares / 'train.json'} --unlabeled {own_squares / 'unlabeled'}" in told.err
    assert not (tmp_path / "run").exists()
    assert softdet(*arguments, "--no-doctor", "--no-smoke") == 0
    assert "leak" not in capsys.readouterr().out
    # What goes on isn't looked at again.
    assert softdet("train", "--resume", tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert "leak" not in out
    assert "checked in" not in out


def test_warnings_take_a_line_each_and_name_the_next_command(
    own_squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    shutil.copy(own_squares / "images" / "train_0.png", own_squares / "unlabeled" / "other_name.png")
    changes = [f"model.exp_path={tmp_path / 'run'}", *SHORT]
    assert softdet("train", "--config", own_squares / "tiny.yaml", "--dry-run", *changes) == 0
    lines = capsys.readouterr().out.splitlines()
    warned = [line for line in lines if line.startswith("warning labeled-in-unlabeled: ")]
    assert len(warned) == 1
    assert "other_name.png" in warned[0]
    assert any(line.startswith("where, and what to do: softdet doctor --labeled ") for line in lines)
