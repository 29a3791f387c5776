"""A bar while pictures are worked through; where output goes to a file, a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 30


def show_progress(done: Iterable[int], total: int, what: str, *, quiet: bool = False) -> None:
    """Work through a generator and show how far it is.

    Args:
        done: gives how many of the pictures are done; the first number is what was there before.
        total: how many there are.
        what: one word for the work.
        quiet: show nothing (processes above the first).
    """
    console = Console(quiet=quiet, highlight=False)
    bar = Progress(
        TextColumn(f"[bold]{what}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    )
    task = bar.add_task(what, total=total, speed="")
    start = last_line = time.perf_counter()
    before = None
    with bar:
        for number in done:
            now = time.perf_counter()
            before = number if before is None else before
            speed = (number - before) / max(now - start, 1e-9)
            bar.update(task, completed=number, speed=f"{speed:.1f} images/s")
            if bar.disable and now - last_line > _SECONDS_BETWEEN_LINES:
                console.print(f"{what} {number}/{total} | {speed:.1f} images/s", soft_wrap=True)
                last_line = now
