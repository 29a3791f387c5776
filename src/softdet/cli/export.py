"""`softdet export`: a detector for places without softdet, with its model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from softdet.builders.data import load_valid
from softdet.builders.settings import config_of
from softdet.cli.output import require_ending, say
from softdet.config import Config
from softdet.data.index import ImageRecord
from softdet.data.index_reading import load_labeled, load_unlabeled
from softdet.deploy.export import Exported, describe_parity, export_detector
from softdet.deploy.export_files import Format, require_packages
from softdet.deploy.model_card import ModelFacts, model_card
from softdet.deploy.model_facts import (
    Brought,
    Labeled,
    Training,
    describe_labeled,
    is_still,
    read_brought,
    read_environment,
    read_scores,
)
from softdet.errors import ConfigError, SoftdetError
from softdet.evaluation.detector import DetectorCard, read_card
from softdet.evaluation.run import RunFolder
from softdet.files import digest, whole_file

_FORMATS: dict[str, Format] = {"onnx": "onnx", "pt2": "pt2"}


def export(
    run: Annotated[Path, typer.Argument(help="A run folder, or a detector's .safetensors file.")],
    format: Annotated[
        str, typer.Option(metavar="onnx|pt2", help="onnx runs nearly everywhere; pt2 is torch.export's.")
    ] = "onnx",
    nms: Annotated[
        bool,
        typer.Option(help="Detections come out; without it the boxes and scores of all anchors, for other runtimes."),
    ] = True,
    images: Annotated[
        Path | None,
        typer.Option(help="A folder of images to compare on; left out: the run's validation images."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; left out: RUN/export/model.FORMAT, or beside the weights.")
    ] = None,
) -> None:
    """Export a detector as one file with class names, preprocessing and threshold inside, and write its model card.

    The file is run beside the detector on real images before it takes its place.
    """
    if format not in _FORMATS:
        raise ConfigError(f"--format {format}: it is {' or '.join(_FORMATS)}")
    kind = _FORMATS[format]
    require_packages(kind)
    folder = RunFolder(run) if run.is_dir() else None
    if folder is not None:
        folder.require_result()
    weights = folder.best if folder is not None else run
    card = read_card(weights)
    target = out or (run / "export" / f"model.{kind}" if folder is not None else weights.with_suffix(f".{kind}"))
    require_ending("--out", target, f".{kind}")
    settings = None if folder is None else _settings_of(folder)
    records = _images_to_compare(images, settings, card)
    try:
        done = export_detector(weights, target, kind, with_nms=nms, records=records)
        text = model_card(_facts(done, weights, folder, settings, with_nms=nms))
        # Beside a file of the user's choice there may be another card.
        beside = target.with_name("model_card.md" if out is None else f"{target.stem}.model_card.md")
        with whole_file(beside) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"--out {target} can't be written ({error.strerror or error}). Choose another place."
        ) from error
    say(f"wrote {target} ({done.megabytes:.1f} MB) and {beside}")
    say(describe_parity(done.parity, with_nms=nms, on_images=done.on_images))
    say(f"show boxes with a score of at least {card.operating_threshold:.2f}, the operating point in the file")


def _settings_of(folder: RunFolder) -> Config | None:
    try:
        return config_of(folder)
    except ConfigError as error:
        say(f"the run's config can't be used, so the model card will tell less: {error}")
        return None


def _images_to_compare(given: Path | None, settings: Config | None, card: DetectorCard) -> Sequence[ImageRecord]:
    if given is not None:
        return load_unlabeled(given).images
    if settings is None:
        return ()
    try:
        return load_valid(settings, card.class_names).images
    except SoftdetError as error:
        say(f"the validation images can't be used: {error}")
        return ()


def _facts(
    done: Exported, weights: Path, folder: RunFolder | None, settings: Config | None, *, with_nms: bool
) -> ModelFacts:
    card = done.detector.card
    brought = None if folder is None else read_brought(folder)
    training = scores = None
    if folder is not None and settings is not None:
        training = _training(folder, settings, card, brought)
        scores = read_scores(folder, settings.data.valid, card)
    return ModelFacts(
        title=weights.stem if folder is None else folder.path.resolve().name,
        card=card,
        file=done.path.name,
        megabytes=done.megabytes,
        with_nms=with_nms,
        num_parameters=sum(weight.numel() for weight in done.detector.model.parameters()),
        weights=digest(weights),
        training=training,
        scores=scores,
        brought=brought,
    )


def _training(folder: RunFolder, settings: Config, card: DetectorCard, brought: Brought | None) -> Training:
    pretrained = settings.basenet.pretrained
    if settings.model.model_path is not None:
        start = f"the detector `{settings.model.model_path.name}`"
    elif isinstance(pretrained, Path):
        start = f"a backbone with the weights `{pretrained.name}`"
    else:
        start = f"a backbone with timm's weights of `{card.architecture['arch']}`" if pretrained else "random numbers"
    method = "the labeled images alone"
    if settings.soft_teacher.enabled:
        method = "Soft Teacher, from labeled and unlabeled images"
        if brought is not None and brought.winner == "supervised":
            method = "the labeled images alone, since the run's supervised control won"
    return Training(method, _labeled(settings, card), _unlabeled(settings), start, read_environment(folder))


def _labeled(settings: Config, card: DetectorCard) -> Labeled | None:
    if not is_still(settings.data.train, card, "train"):
        return None
    try:
        return describe_labeled(load_labeled(settings.data.train, card.class_names, settings.data.root), card)
    except SoftdetError:
        return None


def _unlabeled(settings: Config) -> tuple[int, str] | None:
    source = settings.data.unlabeled
    if source is None or not settings.soft_teacher.enabled:
        return None
    try:
        return len(load_unlabeled(source, settings.data.root)), source.name
    except SoftdetError:
        return None
