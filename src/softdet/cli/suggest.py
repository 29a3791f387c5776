"""`softdet suggest`: which unlabeled images to label next."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer

from softdet.cli.output import require_ending, say
from softdet.cli.predict import BatchSize, Cpu
from softdet.cli.progress import show_progress
from softdet.config import load_config
from softdet.data.index import ImageRecord, load_labeled, load_unlabeled
from softdet.deploy.suggestion import Look, Suggestion, look_over, suggest_images
from softdet.engine.detector import Detector, load_detector
from softdet.engine.evaluation import device_for
from softdet.engine.run import RunFolder
from softdet.errors import DataError
from softdet.files import whole_file

_MOST_SHOWN = 10
_COLUMNS = ("place", "file", "value", "boxes_in_doubt", "boxes_unlike_mirrored", "distance", "reason")


def suggest(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many images to suggest.")] = 50,
    unlabeled: Annotated[
        Path | None, typer.Option(help="Where to choose from: a folder or a COCO JSON; left out: the run's own images.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The CSV file to write; left out: RUN/suggestions.csv.")] = None,
    batch_size: BatchSize = 8,
    cpu: Cpu = False,
) -> None:
    """Name the unlabeled images to label next, those the detector is most in doubt about, each with the reason.

    Beside the table goes a list of their files, named alike but for .txt, for `softdet pseudo-label`.
    """
    require_ending("--out", out, ".csv")
    folder = RunFolder(run)
    folder.require_result()
    data = load_config(folder.config, [f"model.exp_path={run.absolute()}"]).data
    source = unlabeled or data.unlabeled
    if source is None:
        raise DataError(f"{run} was trained without unlabeled images. Say where to choose from with --unlabeled.")
    detector, device = load_detector(folder.best), device_for(not cpu)
    detector.model.to(device)
    names = detector.card.class_names
    labeled, pool = load_labeled(data.train, names, data.root), load_unlabeled(source, data.root)
    known = _looks_at(detector, labeled.images, "labeled images", device, batch_size)
    looks = _looks_at(detector, pool.images, "unlabeled images", device, batch_size)
    if not looks:
        raise DataError(f"{source}: none of its {len(pool)} images can be read")
    features = torch.stack([look.feature for look in known]) if known else None
    chosen = suggest_images(looks, features, torch.from_numpy(labeled.boxes_by_class()), number)
    table = out or folder.suggestions
    _write(table, chosen, names)
    for place, each in enumerate(chosen[:_MOST_SHOWN], 1):
        say(f"{place:3d}  {each.path.name}: {each.reason(names)}")
    if len(chosen) > _MOST_SHOWN:
        say(f"     and {len(chosen) - _MOST_SHOWN} more")
    if len(looks) < len(pool):
        say(f"left out: {len(pool) - len(looks)} images that can't be read")
    say(f"wrote {table} and {_list_beside(table)}: {len(chosen)} of {len(looks)} images, the most doubtful first")
    words = ["softdet", "pseudo-label", str(run), str(_list_beside(table)), "--to", "cvat", "--out", "LABELS"]
    say(f"to label them, with the detector's boxes as a start: {shlex.join(words)}")


def _looks_at(
    detector: Detector, records: Sequence[ImageRecord], what: str, device: torch.device, batch_size: int
) -> list[Look]:
    """Look at images, showing how far it is; those that can't be read are left out."""
    looks: list[Look] = []

    def look() -> Iterator[int]:
        yield 0
        for done, each in enumerate(look_over(detector, records, device=device, batch_size=batch_size), 1):
            looks.extend([each] if each else [])
            yield done

    show_progress(look(), len(records), what)
    return looks


def _list_beside(table: Path) -> Path:
    return table.with_suffix(".txt")


def _write(table: Path, chosen: Sequence[Suggestion], names: Sequence[str]) -> None:
    with whole_file(table) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for place, each in enumerate(chosen, 1):
            value, distance = f"{each.value:.4f}", f"{each.distance:.4f}"
            doubts = (each.doubtful.total(), each.num_shaken)
            writer.writerow((place, each.path.absolute(), value, *doubts, distance, each.reason(names)))
    with whole_file(_list_beside(table)) as draft:
        draft.write_text("".join(f"{each.path.absolute()}\n" for each in chosen), encoding="utf-8")
