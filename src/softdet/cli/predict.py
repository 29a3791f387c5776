"""`softdet predict`: what a detector finds in any pictures, drawn and as files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from softdet.cli.output import say
from softdet.cli.progress import show_progress
from softdet.data.writers.folders import RESULT_FORMATS, Origin, write_results
from softdet.data.writers.found import Classes
from softdet.deploy.job_folder import Summary
from softdet.deploy.prediction import Job, open_job, work
from softdet.deploy.processes import joined_processes
from softdet.errors import ConfigError
from softdet.evaluation.inference import device_for
from softdet.evaluation.run import RunFolder

_Choice = TypeVar("_Choice", bound=str)

Run = Annotated[Path, typer.Argument(help="A run folder, or a detector's .safetensors file.")]
Threshold = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Lowest score; left out: the operating point stored in the detector."),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per forward pass.")]
Every = Annotated[int, typer.Option(min=1, help="Of a video's frames, each so-many-th is taken.")]
Cpu = Annotated[bool, typer.Option("--cpu", help="Don't use a GPU.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Delete the results that are in OUT.")]


def predict(
    run: Run,
    sources: Annotated[
        list[str],
        typer.Argument(help="Images, folders, 'patterns/*.jpg', lists (.txt), COCO JSON files, videos."),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("predictions"),
    format: Annotated[
        list[str] | None,
        typer.Option(
            metavar="coco|yolo|csv", help="What to write, may be given several times; left out: coco (detections.json)."
        ),
    ] = None,
    drawings: Annotated[bool, typer.Option(help="Also draw the boxes onto each picture.")] = True,
    threshold: Threshold = None,
    every: Every = 30,
    batch_size: BatchSize = 8,
    cpu: Cpu = False,
    overwrite: Overwrite = False,
) -> None:
    """Detect in pictures: draw the boxes, write them as COCO JSON, YOLO text files or CSV.

    Interrupted, the same command goes on where it stopped.

    Many GPUs or machines: `torchrun ... -m softdet predict ...`, OUT seen by all.
    """
    formats = chosen("--format", format or ["coco"], RESULT_FORMATS)
    with joined_processes() as (rank, world_size):
        job = open_job(
            weights_of(run),
            sources,
            out,
            threshold=threshold,
            drawings=drawings,
            every=every,
            overwrite=overwrite,
            rank=rank,
            world_size=world_size,
        )
        detect(job, batch_size=batch_size, cpu=cpu)
        if rank == 0:
            classes = classes_of(job)
            found = job.folder.found(world_size)
            written = [write_results(each, found, classes, out) for each in formats]
            if job.folder.drawings.is_dir():
                written.append(job.folder.drawings)
            summary = job.folder.finish(found, classes.names, origin_of(job, run), written)
            tell(summary, job, written)


def chosen(option: str, given: Sequence[str], known: Sequence[_Choice]) -> list[_Choice]:
    """Those of the known words that an option names, in their own order.

    Raises:
        ConfigError: it names another.
    """
    given = [word for each in given for word in each.split(",")]
    unknown = [each for each in given if each not in known]
    if unknown:
        raise ConfigError(f"{option} {unknown[0]}: it is {', '.join(known[:-1])} or {known[-1]}")
    return [each for each in known if each in given]


def weights_of(run: Path) -> Path:
    """The detector's file of a run, or the file itself."""
    return RunFolder(run).best if run.is_dir() else run


def detect(job: Job, *, batch_size: int, cpu: bool) -> None:
    """Work through this process's share, showing how far it is."""
    if job.rank == 0:
        many = f", shared by {job.world_size} processes" if job.world_size > 1 else ""
        say(f"{len(job.pictures)} images, boxes with scores from {job.threshold:.2f}{many}")
    device = device_for(not cpu, int(os.environ.get("LOCAL_RANK", "0")))
    show_progress(work(job, device=device, batch_size=batch_size), len(job.share), "detect", quiet=job.rank > 0)


def classes_of(job: Job) -> Classes:
    """The classes of a job's detector."""
    return Classes(job.detector.card.class_names, job.detector.card.class_ids)


def origin_of(job: Job, run: Path) -> Origin:
    """Where a job's labels come from."""
    return Origin(run.resolve().name if run.is_dir() else run.stem, job.detector.card.step, job.threshold)


def tell(summary: Summary, job: Job, written: Sequence[Path]) -> None:
    """Say what a job came to.

    Raises:
        DataError: too many images couldn't be read.
    """
    most = [f"{name} {count}" for name, count in list(summary.boxes_per_class.items())[:8]]
    rest = len(summary.boxes_per_class) - len(most)
    boxes = f"{summary.num_boxes} boxes" + (
        f" ({', '.join(most)}{f' and {rest} classes' if rest else ''})" * bool(most)
    )
    say(f"{boxes} in {summary.num_images - summary.num_empty} of {summary.num_images} images")
    if summary.num_images and not summary.num_boxes:
        say(f"nothing has a score of {job.threshold:.2f} or more; try a lower one, such as --threshold 0.05")
    for what, count, examples in job.dropped.rows():
        say(f"left out: {count} {what}: {', '.join(examples)}")
    if summary.renamed:
        name, path = next(iter(summary.renamed.items()))
        say(
            f"images whose name another one has, endings aside: {len(summary.renamed)}, such as {path}, called {name} "
            f"here; {job.folder.summary.name} lists them"
        )
    for place in written:
        say(f"wrote {place}{'/' if place.is_dir() else ''}")
    summary.require_most_readable()
    if summary.failures:
        say(f"left out: {summary.num_failures} images that can't be read:")
        for failure in summary.failures:
            say(f"  {failure}")
