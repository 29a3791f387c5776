"""`softdet doctor`: what is wrong with the images and labels, and what to do about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from softdet.cli.output import require_ending
from softdet.doctor.cache import FactCache, cache_folder
from softdet.doctor.examine import examine
from softdet.doctor.findings import LEVELS, Finding, Level, Report
from softdet.doctor.reach import Canvas
from softdet.errors import ConfigError
from softdet.files import write_json

_MOST_NAMES = 5
_COLOURS: dict[Level, str] = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}

console = Console(highlight=False)


def doctor(
    labeled: Annotated[Path, typer.Option(help="Labeled images: COCO, YOLO, Pascal VOC or CVAT; a file or a folder.")],
    unlabeled: Annotated[
        str | None, typer.Option(help="Unlabeled images: a folder, a pattern, a list file or a COCO JSON.")
    ] = None,
    valid: Annotated[Path | None, typer.Option(help="Validation images, like --labeled.")] = None,
    test: Annotated[Path | None, typer.Option(help="Test images, like --labeled.")] = None,
    image_size: Annotated[
        str, typer.Option(help="Rows x columns that training resizes images to, to find objects too small for it.")
    ] = "320x320",
    anchor_sizes: Annotated[
        str, typer.Option(help="Base sides of the run's anchors on P3 to P7, for the same; `train` prints its own.")
    ] = "32,64,128,256,512",
    root: Annotated[Path | None, typer.Option(help="The images' folder for COCO JSON files, tried last.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Open a sample of the images only, as at the start of training.")
    ] = False,
    json_out: Annotated[Path | None, typer.Option("--json", help="Also write all findings to this file.")] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither use nor keep what is known of files from earlier runs.")
    ] = False,
) -> None:
    """Check images and labels before the long run; ends with 1 where something must be mended."""
    require_ending("--json", json_out, ".json")
    cache = None if no_cache else FactCache(cache_folder())
    columns = (TextColumn("looking at files"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("")
        report = examine(
            labeled,
            unlabeled,
            valid,
            test,
            canvas=Canvas(_rows_and_columns(image_size), sizes=_sizes(anchor_sizes)),
            root=root,
            quick=quick,
            cache=cache,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if cache is not None:
        cache.close()
    print_report(report)
    if json_out is not None:
        write_json(json_out, report.as_json())
    raise typer.Exit(report.exit_code)


def print_report(report: Report, levels: tuple[Level, ...] = LEVELS) -> None:
    """Print findings, errors first, and the line that sums them up.

    Args:
        report: from `examine`.
        levels: which of them; the start of a training leaves the notes out.
    """
    for level in levels:
        for finding in report.of(level):
            _print_finding(finding)
    console.print(report.summary(), markup=False, soft_wrap=True)


def _print_finding(finding: Finding) -> None:
    colour = _COLOURS[finding.level]
    places = f"{finding.count:,} place" + ("" if finding.count == 1 else "s")
    console.print(f"[{colour}]{finding.level}[/] [bold]{finding.code}[/]: {places}", soft_wrap=True)
    console.print(f"  {finding.message}", markup=False, soft_wrap=True)
    for place in finding.places[:_MOST_NAMES]:
        console.print(f"    {place.file}" + (f"  {place.detail}" if place.detail else ""), markup=False, soft_wrap=True)
    if finding.count > _MOST_NAMES:
        console.print(f"    and {finding.count - min(_MOST_NAMES, len(finding.places)):,} more", markup=False)
    console.print(f"  fix: {finding.fix}", markup=False, soft_wrap=True)
    console.print()


def _rows_and_columns(text: str) -> tuple[int, int]:
    numbers = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip())
    if numbers is None or int(numbers[1]) < 32 or (numbers[2] and int(numbers[2]) < 32):
        raise ConfigError(f"--image-size {text}: rows x columns, such as 320x320, each 32 or more")
    return int(numbers[1]), int(numbers[2] or numbers[1])


def _sizes(text: str) -> tuple[float, ...]:
    numbers = [float(part) for part in text.split(",") if re.fullmatch(r"\s*\d+(\.\d+)?\s*", part)]
    if len(numbers) != 5 or len(text.split(",")) != 5 or min(numbers) <= 0:
        raise ConfigError(
            f"--anchor-sizes {text}: five numbers above 0, in pixels of the canvas, such as 16,32,64,128,256"
        )
    return tuple(numbers)
