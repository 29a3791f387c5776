"""Two commands never write into one run folder, and a command that died is in nobody's way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from lightning_fabric import Fabric

from softdet.errors import RunError
from softdet.evaluation import sole_writer as module
from softdet.evaluation.run import RunFolder
from softdet.evaluation.sole_writer import sole_writer

HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


@pytest.fixture
def other_command(run: RunFolder) -> Iterator[subprocess.Popen[str]]:
    """A process that is at work in the run folder."""
    run.path.mkdir()
    command = [sys.executable, "-c", HOLD, str(run.lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_command_is_refused_and_changes_nothing(
    run: RunFolder, fabric: Fabric, other_command: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    with pytest.raises(RunError, match="another `softdet train` is at work in this folder"), sole_writer(run, fabric):
        pytest.fail("two at once")
    assert run.lock.is_file()
    assert other_command.poll() is None


def test_a_command_that_was_killed_holds_nothing(
    run: RunFolder, fabric: Fabric, other_command: subprocess.Popen[str]
) -> None:
    other_command.kill()
    other_command.wait()
    with sole_writer(run, fabric):
        assert run.lock.is_file()


def test_what_came_into_the_folder_stays_and_the_lock_does_not(run: RunFolder, fabric: Fabric) -> None:
    with sole_writer(run, fabric):
        run.claim(fabric, resume=False, overwrite=False)
        run.config.write_text("new")
    assert list(run.path.iterdir()) == [run.config]


def test_the_lock_is_held_while_the_folder_is_emptied(run: RunFolder, fabric: Fabric) -> None:
    run.path.mkdir()
    run.config.write_text("old")
    run.environment.write_text('{"softdet": "0.1"}')
    with sole_writer(run, fabric):
        run.claim(fabric, resume=False, overwrite=True)
        assert list(run.path.iterdir()) == [run.lock]


def test_folders_that_stayed_empty_go_again(tmp_path: Path, fabric: Fabric) -> None:
    with sole_writer(RunFolder(tmp_path / "a" / "b" / "run"), fabric):
        (tmp_path / "a" / "another").mkdir()
    assert list(tmp_path.rglob("*")) == [tmp_path / "a", tmp_path / "a" / "another"]


def test_an_empty_folder_that_was_there_stays(run: RunFolder, fabric: Fabric) -> None:
    run.path.mkdir()
    with sole_writer(run, fabric):
        pass
    assert list(run.path.iterdir()) == []


def test_a_disk_without_locks_keeps_nobody_from_training(
    run: RunFolder, fabric: Fabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    def acquire(self: FileLock, timeout: float) -> None:
        raise NotImplementedError("no flock on this disk")

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with sole_writer(run, fabric):
        run.config.write_text("new")
    assert run.config.read_text() == "new"
