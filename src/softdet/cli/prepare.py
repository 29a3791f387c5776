"""`softdet prepare`: the lists of images that training reads."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from softdet.cli.output import console, counted, say, say_lines
from softdet.data.coco_release import MMDETECTION_STEM, TRAIN_FILE, prepare_coco
from softdet.data.index_writing import Written
from softdet.data.prepare import Prepared, prepare
from softdet.data.sources.summary import Summary
from softdet.data.splits import split_index
from softdet.data.synthetic import write_synthetic
from softdet.errors import ConfigError
from softdet.report.tables import files_table

prepare_app = typer.Typer(help="Write the lists of images that training reads.")

_MOST_CLASSES = 40


@prepare_app.callback(invoke_without_command=True)
def prepare_command(
    context: typer.Context,
    labeled: Annotated[
        Path | None,
        typer.Option(help="Labeled images: COCO JSON, YOLO (data.yaml or folder), Pascal VOC or CVAT; file or folder."),
    ] = None,
    unlabeled: Annotated[
        str | None,
        typer.Option(help="Unlabeled images: a folder, a pattern, a list file (.txt), a video, or a COCO JSON."),
    ] = None,
    valid: Annotated[
        Path | None,
        typer.Option(help="Validation images, labeled; left out: the set's own, else a share is set aside."),
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Test images, labeled; left out: the set's own if it has any.")
    ] = None,
    valid_share: Annotated[
        float, typer.Option(help="How much of the labeled images is set aside where there are no validation images.")
    ] = 0.2,
    test_share: Annotated[float, typer.Option(help="The same for test images.")] = 0.0,
    group_by: Annotated[
        str | None,
        typer.Option(help="Regular expression; images in whose path its first group is the same stay on one side."),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Of a video's frames, take each so-many-th.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Other numbers set other images aside.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Where to write the lists.")] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the images there too; else the lists lead to them.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the lists that are there.")] = False,
) -> None:
    """Write the lists of images that training reads: from folders as they come, or by one of the commands below."""
    if context.invoked_subcommand is not None:
        if labeled or unlabeled or out:
            raise ConfigError(
                f"--labeled, --unlabeled and --out here and `{context.invoked_subcommand}` don't go together"
            )
        return
    if labeled is None or out is None:
        if not (labeled or unlabeled or out):
            typer.echo(context.get_help())
            raise typer.Exit
        raise ConfigError("give both: --labeled, a labeled set, and --out, the folder to write the lists to")
    prepared = prepare(
        labeled,
        unlabeled,
        out=out,
        valid=valid,
        test=test,
        valid_share=valid_share,
        test_share=test_share,
        group_by=group_by,
        every=every,
        seed=seed,
        copy=copy,
        overwrite=overwrite,
    )
    print_prepared(prepared)
    say(f"\nwritten to {out}; next:\n  {_next_command(prepared)}")


def print_prepared(prepared: Prepared) -> None:
    """Print what was found, written and left out."""
    say(f"found: {prepared.found}")
    console.print(_lists_table(prepared.summaries))
    console.print(_classes_table(prepared))
    say_lines("left out:", counted(prepared.dropped))
    say_lines("to know:", [*counted(prepared.noted), *prepared.notes])


def _lists_table(summaries: Iterable[Summary]) -> Table:
    summaries = list(summaries)
    # Most sets have neither.
    special: dict[str, list[int | None]] = {
        "no box": [each.num_background if each.boxes_by_class else None for each in summaries],
        "ignored": [each.num_ignored for each in summaries],
    }
    special = {name: counts for name, counts in special.items() if any(counts)}
    names = ("images", "boxes", *special, "box side")
    table = Table("list", *(Column(name, justify="right") for name in names), "image size")
    for row, each in enumerate(summaries):
        numbers = [each.num_boxes if each.boxes_by_class else None, *(counts[row] for counts in special.values())]
        side = f"{each.box_side:.0f} px" if each.box_side else ""
        shown = ["" if number is None else f"{number:,}" for number in (each.num_images, *numbers)]
        table.add_row(escape(each.name), *shown, side, _sizes(each))
    return table


def _sizes(summary: Summary) -> str:
    middle, smallest, largest = ("x".join(map(str, size)) for size in summary.image_sizes)
    return middle if smallest == largest else f"{middle} ({smallest} to {largest})"


def _classes_table(prepared: Prepared) -> Table:
    labeled = [each for each in prepared.summaries if each.boxes_by_class]
    table = Table("class", *(Column(f"{each.name} boxes", justify="right") for each in labeled))
    for number, name in enumerate(prepared.class_names[:_MOST_CLASSES]):
        table.add_row(escape(name), *(f"{each.boxes_by_class[number]:,}" for each in labeled))
    if len(prepared.class_names) > _MOST_CLASSES:
        table.add_row(f"and {len(prepared.class_names) - _MOST_CLASSES} more")
    return table


def _next_command(prepared: Prepared) -> str:
    words = ["softdet", "train", "--labeled", str(prepared.train), "--valid", str(prepared.valid)]
    words += [] if prepared.unlabeled else ["--supervised"]
    for option, path in (("--test", prepared.test), ("--unlabeled", prepared.unlabeled)):
        words += [option, str(path)] if path else []
    return shlex.join(words)


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
    train = next((each for each in written if each.path.name == TRAIN_FILE), None)
    if percent is not None:
        written += split_index(out / TRAIN_FILE, percent=percent, fold=fold, stem=MMDETECTION_STEM)
    _print_written(written)
    if percent is not None and train and not train.note.startswith(f"from {MMDETECTION_STEM}.json"):
        say(
            f"note: {train.note.partition(';')[0]} the images come in another order than in {MMDETECTION_STEM}.json, "
            f"so this fold {fold} isn't the one that mmdetection draws. For numbers to compare, use the 2017 files."
        )


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
    seed: Annotated[int, typer.Option(min=0, help="Other numbers give other scenes.")] = 0,
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
