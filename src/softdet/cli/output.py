"""What commands print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from softdet.errors import ConfigError
from softdet.evaluation.inference import describe_metrics
from softdet.report.tables import metrics_table

console = Console(highlight=False)


def say(text: str) -> None:
    """Print a text as it is: brackets are no markup, and a long line isn't broken where a log has 80 columns."""
    console.print(text, markup=False, soft_wrap=True)


def say_lines(title: str, lines: Sequence[str]) -> None:
    """Print lines below a title, if there are any."""
    if lines:
        say("\n  ".join([title, *lines]))


def counted(rows: Iterable[tuple[str, int, tuple[str, ...]]]) -> list[str]:
    """A line for each row of a tally: what, how often, and where first."""
    lines = []
    for what, count, places in rows:
        more = f" and {count - len(places):,} more" if count > len(places) else ""
        lines.append(f"{what}: {count:,} ({', '.join(places)}{more})")
    return lines


def require_ending(option: str, path: Path | None, *endings: str) -> None:
    """Make sure, before the work, that a file to write is named like what goes into it: it may hold something else.

    Raises:
        ConfigError: it has another ending, or is a folder.
    """
    if path is not None and path.suffix.lower() not in endings:
        name = path / "name" if path.is_dir() else path.with_suffix("")
        known = " or ".join(endings)
        raise ConfigError(f"{option} {path}: the file to write ends in {known}, such as {name}{endings[0]}")


def print_metrics(metrics: dict[str, Any], title: str) -> None:
    """Print a detector's numbers, in a line and by class."""
    say(describe_metrics(metrics, title))
    console.print(metrics_table(metrics))
