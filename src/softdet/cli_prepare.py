"""`softdet prepare`: the lists of images that training reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from softdet.data.coco_release import MMDETECTION_STEM, TRAIN_FILE, prepare_coco
from softdet.data.index_writing import Written
from softdet.data.splits import split_index
from softdet.data.synthetic import write_synthetic
from softdet.report.tables import files_table

prepare_app = typer.Typer(help="Write the lists of images that training reads.", no_args_is_help=True)
console = Console(highlight=False)


@prepare_app.command("coco")
def prepare_coco_command(
    root: Annotated[Path, typer.Option(help="Folder of the COCO release: annotations/ and the image folders.")],
    out: Annotated[Path, typer.Option(help="Where to write the lists.")] = Path("data"),
    percent: Annotated[
        float | None, typer.Option(help="Also split the training list, as mmdetection does: so much stays labeled.")
    ] = None,
    fold: Annotated[int, typer.Option(help="Seed of that draw.")] = 1,
) -> None:
    """Turn the official COCO files, whichever release is there, into softdet's lists."""
    written = prepare_coco(root, out)
    if percent is not None:
        written += split_index(out / TRAIN_FILE, percent=percent, fold=fold, stem=MMDETECTION_STEM)
    _print_written(written)


@prepare_app.command("split")
def prepare_split_command(
    file: Annotated[Path, typer.Argument(help="A labeled COCO JSON.")],
    percent: Annotated[float, typer.Option(help="How much of it stays labeled.")] = 10,
    fold: Annotated[int, typer.Option(help="Seed of the draw.")] = 1,
    val: Annotated[float, typer.Option(help="Share of the images to set aside for validation first.")] = 0.0,
    out: Annotated[Path | None, typer.Option(help="Where to write; left out: beside the file.")] = None,
) -> None:
    """Split a labeled list into labeled and unlabeled images, as mmdetection does, for experiments."""
    _print_written(split_index(file, percent=percent, fold=fold, validation_share=val, out=out))


@prepare_app.command("synthetic")
def prepare_synthetic_command(
    out: Annotated[Path, typer.Option(help="Where to write.")],
    labeled: Annotated[int, typer.Option(help="Labeled images.")] = 40,
    unlabeled: Annotated[int, typer.Option(help="Unlabeled images.")] = 400,
    valid: Annotated[int, typer.Option(help="Validation images.")] = 200,
    side: Annotated[int, typer.Option(help="Their side in pixels.")] = 128,
    seed: Annotated[int, typer.Option(help="Other numbers give other scenes.")] = 0,
) -> None:
    """Draw a small detection set to try everything on."""
    write_synthetic(out, num_labeled=labeled, num_unlabeled=unlabeled, num_valid=valid, side=side, seed=seed)
    console.print(
        f"wrote {labeled} labeled, {unlabeled} unlabeled and {valid} validation images to {out}",
        markup=False,
        soft_wrap=True,
    )


def _print_written(files: list[Written]) -> None:
    console.print(files_table((str(file.path), file.num_images, file.num_boxes, file.note) for file in files))
