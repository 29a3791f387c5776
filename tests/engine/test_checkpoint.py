"""The state of a run: what is written comes back, and what can't be read is named."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

import softdet
from softdet.engine.checkpoint import load_checkpoint, misfit, save_checkpoint
from softdet.errors import RunError

STATE: dict[str, Any] = {"step": 7, "name": "a", "nested": {"ap": -1.0, "weights": torch.arange(6.0)}}


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.pt", STATE)
    found = load_checkpoint(tmp_path / "checkpoint.pt")
    assert torch.equal(found["nested"].pop("weights"), STATE["nested"]["weights"])
    assert found == {"step": 7, "name": "a", "nested": {"ap": -1.0}, "version": softdet.__version__}


def test_a_write_that_breaks_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        save_checkpoint(path, {"step": lambda: 8})
    assert load_checkpoint(path)["step"] == 7
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no checkpoint .*nothing\.pt.*without --resume"):
        load_checkpoint(tmp_path / "nothing.pt")


@pytest.mark.parametrize("size", [0, 10, 600, 1200])
def test_a_checkpoint_that_was_cut_off_is_named(tmp_path: Path, size: int) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    assert len(path.read_bytes()) > size
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RunError, match=r"checkpoint\.pt can't be read as a checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [b"step,loss\n1,2.5\n", b"0.", b"\x93\x80", b"h\xc8"])
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(RunError, match=r"checkpoint\.pt can't be read as a checkpoint \(.+\)"):
        load_checkpoint(tmp_path / "checkpoint.pt")


class Payload:
    """What a hostile file would run when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("was_run"),))


def test_a_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"step": Payload()}, tmp_path / "checkpoint.pt")
    with pytest.raises(RunError, match="can't be read as a checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("0.0.9", f"softdet 0.0.9 wrote it, this is {softdet.__version__}. Finish it with the version that"),
        (softdet.__version__, "config.yaml changed since it was written? Undo that, or start a new run."),
        (None, "config.yaml changed since it was written? Undo that, or start a new run."),
    ],
)
def test_what_does_not_fit_the_run_is_told_with_the_likely_reason(version: str | None, said: str) -> None:
    error = misfit(Path("run/checkpoint.pt"), {"version": version}, KeyError("monitor"))
    assert str(error).startswith("run/checkpoint.pt doesn't fit the run (KeyError: 'monitor'). ")
    assert said in str(error)
