"""The progress line: losses, pseudo boxes, speed, and an ETA that knows how slow semi-supervised steps are."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

# Windows has none.
resource = import_module("resource") if find_spec("resource") else None

# Until the first semi-supervised step is timed: one costs about as much as three supervised ones.
_GUESSED_RATIO = 3.0
_SMOOTHING = 0.9


class StepTimes:
    """How long steps take, supervised and semi-supervised apart.

    Args:
        num_steps: of the whole run.
        semi_from: the first semi-supervised step.
    """

    def __init__(self, num_steps: int, semi_from: int) -> None:
        self.num_steps = num_steps
        self.semi_from = min(semi_from, num_steps)
        self._seconds: dict[bool, float] = {}

    def observe(self, step: int, seconds: float) -> None:
        """Take the duration of a step."""
        semi = step >= self.semi_from
        before = self._seconds.get(semi, seconds)
        self._seconds[semi] = _SMOOTHING * before + (1 - _SMOOTHING) * seconds

    def remaining(self, step: int) -> float:
        """Seconds from the end of a step to the end of the run, evaluations aside."""
        left_semi = self.num_steps - max(step + 1, self.semi_from)
        left_supervised = self.num_steps - (step + 1) - left_semi
        supervised = self._seconds.get(False, self._seconds.get(True, 0.0) / _GUESSED_RATIO)
        semi = self._seconds.get(True, supervised * _GUESSED_RATIO)
        return left_supervised * supervised + left_semi * semi


class ProgressLine:
    """A bar on a terminal; a plain line now and then where output goes to a file.

    Args:
        num_steps: of the whole run.
        first_step: where it starts.
        quiet: print nothing (ranks above 0).
    """

    def __init__(self, num_steps: int, first_step: int, quiet: bool) -> None:
        self.console = Console(stderr=False, quiet=quiet, highlight=False)
        self._bar = Progress(
            TextColumn("[bold]train"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[line]}"),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=num_steps, completed=first_step, line="")
        self._num_steps = num_steps

    def __enter__(self) -> ProgressLine:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, step: int) -> None:
        """Move the bar to the end of a step."""
        self._bar.update(self._task, completed=step + 1)

    def report(self, step: int, metrics: Mapping[str, float], remaining: float, health: str | None = None) -> None:
        """Show the numbers of a step, and how the run does."""
        parts = [f"loss {metrics['loss']:.3f}"]
        if "pseudo_boxes" in metrics:
            parts.append(f"pseudo {metrics['pseudo_boxes']:.1f}/image")
        if health:
            parts.append(health)
        parts.append(f"{metrics['images_per_second']:.1f} images/s, data {metrics['data_wait']:.0%}")
        if metrics["memory_gb"]:
            parts.append(f"{metrics['memory_gb']:.1f} GB")
        parts.append(f"ETA {format_seconds(remaining)}")
        line = " | ".join(parts)
        if self._bar.disable:
            self.console.print(f"step {step + 1}/{self._num_steps} | {line}", soft_wrap=True)
        else:
            self._bar.update(self._task, line=line)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(text, markup=False, soft_wrap=True)


def format_seconds(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def memory_gb(device: torch.device) -> float:
    """The largest memory so far: of the GPU where there is one, else of this process; 0 where no one can tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if resource is None:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)


class Stopwatch:
    """Seconds since it was last asked."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        return seconds
