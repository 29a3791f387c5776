"""`softdet evaluate`: the mAP of a run, or of any detections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from softdet import builders
from softdet.builders.seen import describe_seen
from softdet.builders.settings import config_of
from softdet.cli.output import print_metrics, require_ending, say
from softdet.config import load_config
from softdet.errors import ConfigError
from softdet.evaluation.detector import read_card
from softdet.evaluation.run import RunFolder
from softdet.evaluation.run_facts import require_run
from softdet.evaluation.validation import evaluate_best, evaluate_files, evaluate_test, kept_detections_are_fresh
from softdet.files import write_json


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
    settings = config_of(RunFolder(place)) if place.is_dir() else load_config(place)
    folder = RunFolder(settings.model.exp_path)
    folder.require_result()
    device, batch_size = builders.device_of(settings), settings.inference.batch_size
    if split == "test":
        test = builders.load_test(settings, read_card(folder.best).class_names)
        for each in describe_seen(folder, test.source, settings.data.root, "test images", is_test=True):
            say(f"warning: {each}")
        metrics = evaluate_test(folder, test.source, test, device=device, batch_size=batch_size)
        print_metrics(metrics, f"{folder.best} on test")
        return metrics
    keeps = kept_detections_are_fresh(folder, settings.data.valid) and not rerun
    index = None if keeps else builders.load_valid(settings, read_card(folder.best).class_names)
    metrics = evaluate_best(folder, settings.data.valid, index, device=device, batch_size=batch_size)
    print_metrics(metrics, f"{folder.best}" + (" (kept detections)" if keeps else ""))
    return metrics
