"""Making runs: each a process of its own with one thread, a few at once, and nothing lost when they are stopped."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

import softdet
from softdet.config import Config, save_config
from softdet.errors import SoftdetError
from softdet.evaluation.run import RunFolder
from softdet.files import write_json

_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of a run, and what is in it beside the run itself."""

    path: Path

    @property
    def run(self) -> RunFolder:
        """The run folder that `softdet train` fills."""
        return RunFolder(self.path / "run")

    @property
    def config(self) -> Path:
        """The config that the run is started with."""
        return self.path / "config.yaml"

    @property
    def log(self) -> Path:
        """All that the run has printed."""
        return self.path / "log.txt"

    @property
    def notes(self) -> Path:
        """Of each session of the run: the code's commit and its seconds."""
        return self.path / "sessions.json"

    @property
    def lock(self) -> Path:
        """Held as long as a process trains here."""
        return self.path / "lock"

    def sessions(self) -> list[dict[str, Any]]:
        """The notes so far."""
        sessions: list[dict[str, Any]] = json.loads(self.notes.read_text()) if self.notes.is_file() else []
        return sessions


@dataclass(frozen=True, slots=True)
class Task:
    """A run to make: what to call it, where, and with which config (whose exp_path is `place.run`)."""

    name: str
    place: Place
    config: Config


@dataclass(slots=True)
class Stop:
    """Whether Ctrl-C or SIGTERM has come."""

    asked: bool = False


@dataclass(frozen=True, slots=True)
class _Running:
    task: Task
    process: subprocess.Popen[bytes]
    files: tuple[IO[Any], ...]
    started: float


def make_runs(
    tasks: Sequence[Task], parallel: int, finish: Callable[[Task], None], say: Callable[[str], None]
) -> tuple[int, bool]:
    """Make runs, at most `parallel` at once, each started or, where it has a checkpoint, gone on with.

    Ctrl-C and SIGTERM end it early: no run is started any more, and those under way save their state and end.

    Args:
        tasks: in the order in which to start them.
        parallel: how many at once.
        finish: called after a run has ended well; a SoftdetError that it raises counts as the run's failure.
        say: takes a line for people.

    Returns:
        How many failed, and whether it was ended early.
    """
    waiting, running = deque(tasks), list[_Running]()
    num_failed, passed_on = 0, False
    with _stop_on_signals() as stop, _none_left_behind(running):
        while running or (waiting and not stop.asked):
            while waiting and len(running) < parallel and not stop.asked:
                task = waiting.popleft()
                started = _start(task)
                if started is None:
                    say(f"{task.name}: another process is at it; left alone")
                else:
                    running.append(started)
                    say(f"{task.name}: started, {len(waiting)} more to come; {task.place.log}")
            if stop.asked and not passed_on:
                passed_on = True
                say(f"stopping, runs under way: {len(running)}; they save their state first")
                for each in running:
                    each.process.terminate()
            time.sleep(_POLL_SECONDS if running else 0)
            for ended in [each for each in running if each.process.poll() is not None]:
                running.remove(ended)
                num_failed += not _end(ended, finish, say, stopped=passed_on)
    return num_failed, stop.asked


def code_version() -> str:
    """The commit of the code that runs, with a `+` where its files differ from it; `unknown` outside of git."""
    folder = str(Path(softdet.__file__).parent)

    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        commit, changes = git("rev-parse", "--short=8", "HEAD"), git("status", "--porcelain", "--", ".")
    except FileNotFoundError:
        return "unknown"
    return "unknown" if commit is None else commit + ("+" if changes else "")


def _start(task: Task) -> _Running | None:
    """Start a run or go on with it; None where another process holds its folder."""
    place = task.place
    place.path.mkdir(parents=True, exist_ok=True)
    lock = place.lock.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    if place.run.checkpoint.is_file():
        arguments = ["--resume", str(place.run.path)]
    else:
        save_config(task.config, place.config)
        place.notes.unlink(missing_ok=True)
        # What a run that was killed before its first checkpoint has left is of no use.
        arguments = ["--config", str(place.config), "--overwrite"]
    write_json(place.notes, [*place.sessions(), {"commit": code_version(), "seconds": 0.0}])
    log = place.log.open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "softdet", "train", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # The lock lives as long as the run, even if this process is killed; and Ctrl-C in a terminal must not reach the
        # run itself, which would die of it without saving.
        pass_fds=[lock.fileno()],
        start_new_session=True,
    )
    return _Running(task, process, (log, lock), time.monotonic())


def _end(ended: _Running, finish: Callable[[Task], None], say: Callable[[str], None], *, stopped: bool) -> bool:
    """Note how long the session took and take the run's result; False if it has failed."""
    task, place = ended.task, ended.task.place
    sessions = place.sessions()
    sessions[-1]["seconds"] = round(time.monotonic() - ended.started, 1)
    write_json(place.notes, sessions)
    try:
        if stopped:
            say(f"{task.name}: stopped; the next call goes on with it")
            return True
        if ended.process.returncode:
            say(f"{task.name}: failed with exit code {ended.process.returncode}; the end of {place.log}:")
            for line in place.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]:
                say(f"    {line}")
            return False
        finish(task)
    except SoftdetError as error:
        say(f"{task.name}: failed: {error}")
        return False
    finally:
        for file in ended.files:
            file.close()
    return True


@contextmanager
def _stop_on_signals() -> Iterator[Stop]:
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _none_left_behind(running: list[_Running]) -> Iterator[None]:
    """Let the runs that are still under way save and end, should the block end with an error of ours."""
    try:
        yield
    finally:
        for each in running:
            each.process.terminate()
        for each in running:
            each.process.wait()
