"""The command `softdet`; a few lines a command, the work is below."""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from PIL import Image
from rich.console import Console
from rich.markup import escape

import softdet
from softdet import builders
from softdet.cli.doctor import doctor
from softdet.cli.export import export
from softdet.cli.output import console, print_metrics, require_ending, say
from softdet.cli.predict import predict
from softdet.cli.prepare import prepare_app
from softdet.cli.pseudo_label import merge, pseudo_label
from softdet.cli.report import report
from softdet.cli.train import train
from softdet.config import Config, describe, json_schema, keys, load_config, markdown
from softdet.data.index_reading import load_labeled, load_unlabeled
from softdet.data.sources.overlap import unseen
from softdet.data.sources.parts import Tally
from softdet.engine.host_memory import keep_freed_memory
from softdet.errors import ConfigError, SoftdetError
from softdet.evaluation.detector import read_card
from softdet.evaluation.inference import device_for
from softdet.evaluation.metrics import load_truth
from softdet.evaluation.outcome import describe_gain
from softdet.evaluation.run import RunFolder
from softdet.evaluation.run_comparison import compare as compare_runs
from softdet.evaluation.run_facts import require_run
from softdet.evaluation.torchvision_weights import save_converted
from softdet.evaluation.validation import evaluate_best, evaluate_files, evaluate_test, kept_detections_are_fresh
from softdet.files import whole_file, write_json
from softdet.report.tables import comparison_table

app = typer.Typer(
    name="softdet",
    help="Train an object detector from a few labeled images and a folder of unlabeled ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(prepare_app, name="prepare")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(f"softdet {softdet.__version__}")
        raise typer.Exit


app.command()(train)
app.command()(doctor)
app.command()(predict)
app.command()(pseudo_label)
app.command()(merge)
app.command()(export)
app.command()(report)


@app.command()
def evaluate(
    run: Annotated[Path | None, typer.Argument(help="A run folder, or a config file that names one.")] = None,
    config: Annotated[Path | None, typer.Option(help="The same, as an option.")] = None,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Infer anew, even if the kept detections are those of the best detector.")
    ] = False,
    split: Annotated[str, typer.Option(help="`valid`, or `test` for the images of data.test.")] = "valid",
    truth: Annotated[Path | None, typer.Option(help="Score a detections file: its COCO ground truth.")] = None,
    detections: Annotated[Path | None, typer.Option(help="Score a detections file: COCO results.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")] = None,
) -> None:
    """Give the mAP of a run on its validation or test images, or of any COCO detections file."""
    require_ending("--json", json_out, ".json")
    if split not in ("valid", "test"):
        raise ConfigError(f"--split {split}: it is valid or test")
    if (truth is None) != (detections is None):
        raise ConfigError("--truth and --detections go together")
    if truth is not None and detections is not None:
        metrics = evaluate_files(truth, detections)
        print_metrics(metrics, str(detections))
    else:
        place = run or config
        if place is None:
            raise ConfigError("give a run folder, or --truth GT.json --detections DT.json")
        metrics = _evaluate_run(place, split, rerun)
    if json_out is not None:
        write_json(json_out, metrics)


def _evaluate_run(place: Path, split: str, rerun: bool) -> dict[str, Any]:
    if place.is_dir():
        require_run(RunFolder(place))
    overrides = [f"model.exp_path={place.absolute()}"] if place.is_dir() else []
    settings = load_config(RunFolder(place).config if place.is_dir() else place, overrides)
    folder = RunFolder(settings.model.exp_path)
    folder.require_result()
    device, batch_size = _device(settings), settings.inference.batch_size
    if split == "test":
        test = builders.load_test(settings, read_card(folder.best).class_names)
        _warn_of_seen(folder, test.source, settings.data.root, "test images", is_test=True)
        metrics = evaluate_test(folder, test.source, test, device=device, batch_size=batch_size)
        print_metrics(metrics, f"{folder.best} on test")
        return metrics
    keeps = kept_detections_are_fresh(folder, settings.data.valid) and not rerun
    index = None if keeps else builders.load_valid(settings, read_card(folder.best).class_names)
    metrics = evaluate_best(folder, settings.data.valid, index, device=device, batch_size=batch_size)
    print_metrics(metrics, f"{folder.best}" + (" (kept detections)" if keeps else ""))
    return metrics


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="A run folder, such as the supervised control.")],
    after: Annotated[Path, typer.Argument(help="Another run folder on the same data.")],
    weights: Annotated[
        str, typer.Option(help="`last`: no run picks its luckiest evaluation; `best`: what each run ships.")
    ] = "last",
    out: Annotated[Path | None, typer.Option(help="Picture to write; left out: comparison.png in AFTER.")] = None,
) -> None:
    """Compare two runs on the validation images of the second: mAP, the gain and its 95% interval, a picture."""
    require_ending("--out", out, ".png", ".jpg", ".jpeg", ".webp")
    if weights not in ("last", "best"):
        raise ConfigError(f"--weights {weights}: it is last or best")
    runs = [RunFolder(before), RunFolder(after)]
    first, second = (run.last if weights == "last" else run.best for run in runs)
    for each in runs:
        require_run(each)
        each.require_result()
    settings = load_config(runs[1].config)
    result = compare_runs(
        first,
        second,
        builders.load_valid(settings, read_card(second).class_names),
        load_truth(settings.data.valid),
        device=_device(settings),
        batch_size=settings.inference.batch_size,
    )
    names = [str(run.path) for run in runs]
    _warn_of_seen(runs[0], settings.data.valid, settings.data.root, "validation images of the other run")
    console.print(comparison_table([*zip(names, (result.before, result.after), strict=True)]))
    say(f"gain {describe_gain(result.gain)}")
    steps = [read_card(run.last).step for run in runs if run.last.is_file()]
    if len(set(steps)) > 1:
        say(f"after {steps[0]:,} and {steps[1]:,} steps: part of that may be the longer training's")
    picture = out or runs[1].path / "comparison.png"
    with whole_file(picture) as draft:
        result.picture.save(draft, format=Image.registered_extensions()[picture.suffix.lower()])
    say(f"truth, before and after, a row each: {picture}")


def _warn_of_seen(run: RunFolder, judged_on: Path, root: Path | None, what: str, *, is_test: bool = False) -> None:
    """Say so where a run was trained on images that it is judged on here, or tested on those that chose its weights."""
    try:
        config = load_config(run.config)
        data = config.data
        trained_on = [load_labeled(data.train, root=data.root)]
        if data.unlabeled and config.soft_teacher.enabled:
            trained_on.append(load_unlabeled(data.unlabeled, data.root))
        used = {"was trained on": trained_on}
        if is_test:
            used["chose its best weights by"] = [load_labeled(data.valid, root=data.root)]
        judged = load_labeled(judged_on, root=root)
    except SoftdetError:
        # Its images may be gone by now.
        return
    files = [record.path for record in judged.images if record.path.is_file()]
    for how, indexes in used.items():
        known = [record.path for index in indexes for record in index.images if record.path.is_file()]
        if seen := len(files) - len(unseen(files, known, Tally())):
            say(f"warning: {run.path} {how} {seen} of the {len(files)} {what}, so its numbers are too good")


@app.command()
def explain(
    key: Annotated[str | None, typer.Argument(help="SECTION or SECTION.KEY; left out: all keys.")] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="All keys as a page: docs/config.md.")] = False,
    as_schema: Annotated[
        bool, typer.Option("--schema", help="The JSON schema for editors: configs/softdet.schema.json.")
    ] = False,
) -> None:
    """Say what a key of the config does, what it may be and what it is if left out."""
    if as_markdown or as_schema:
        if key or (as_markdown and as_schema):
            raise ConfigError("--markdown and --schema tell of all keys; give one of them, and no key beside it")
        typer.echo(markdown() if as_markdown else json_schema(), nl=False)
        return
    for each in [key] if key else keys():
        say(describe(each))


convert_app = typer.Typer(help="Make other libraries' weights into a start for training.", no_args_is_help=True)
app.add_typer(convert_app, name="convert")


@convert_app.command("torchvision")
def convert_torchvision(
    file: Annotated[Path, typer.Argument(help="torchvision's retinanet_resnet50_fpn_v2 weights (.pth).")],
    out: Annotated[Path, typer.Option(help="The detector's file to write.")] = Path("retinanet_r50_coco.safetensors"),
) -> None:
    """Convert torchvision's COCO-trained RetinaNet, to start from with model.is_finetune=True."""
    save_converted(file, out)
    say(f"wrote {out}; train with model.model_path={out} model.is_finetune=True basenet.arch=Res50")


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in the input is told without a traceback and ends with 2."""
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A class's name that the terminal can't write is no reason to stop.
            stream.reconfigure(errors="backslashreplace")
    try:
        app(argv)
    except SoftdetError as error:
        Console(stderr=True, highlight=False).print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _ABOUT_PLACES:
            raise
        place = f"{error.filename}: " if error.filename else ""
        told = f"{place}{error.strerror}. {_ABOUT_PLACES[error.errno]}"
        Console(stderr=True, highlight=False).print(f"[bold red]error:[/] {escape(told)}", soft_wrap=True)
        sys.exit(2)


_ELSEWHERE = "Something else is in the way there. Choose another place."
_NOT_ALLOWED = "You may not write or read there. Choose another place, or ask for the right."
_FULL = "Make room there; what was written before is whole. `softdet train --resume RUN` goes on with a run."
_ABOUT_PLACES = {
    errno.EEXIST: _ELSEWHERE,
    errno.ENOTDIR: _ELSEWHERE,
    errno.EISDIR: _ELSEWHERE,
    errno.ENAMETOOLONG: _ELSEWHERE,
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EROFS: _NOT_ALLOWED,
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
}


def _device(settings: Config) -> torch.device:
    ids = settings.cuda.gpu_id
    return device_for(settings.cuda.using, ids if isinstance(ids, int) else ids[0])
