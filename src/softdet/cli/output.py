"""What commands print."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from softdet.engine.evaluation import describe_metrics
from softdet.report.tables import metrics_table

console = Console(highlight=False)


def say(text: str) -> None:
    """Print a text as it is: brackets are no markup, and a long line isn't broken where a log has 80 columns."""
    console.print(text, markup=False, soft_wrap=True)


def print_metrics(metrics: dict[str, Any], title: str) -> None:
    """Print a detector's numbers, in a line and by class."""
    say(describe_metrics(metrics, title))
    console.print(metrics_table(metrics))
