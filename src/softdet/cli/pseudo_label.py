"""`softdet pseudo-label` and `softdet merge`: a detector's labels out to annotation tools, and corrected back in."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from softdet.builders.settings import config_of
from softdet.cli.output import counted, say, say_lines
from softdet.cli.predict import (
    BatchSize,
    Cpu,
    Every,
    Overwrite,
    Run,
    Threshold,
    chosen,
    classes_of,
    detect,
    origin_of,
    tell,
    weights_of,
)
from softdet.config import Config
from softdet.data.corrections import Change
from softdet.data.index import Index
from softdet.data.index_reading import load_labeled, load_unlabeled
from softdet.data.index_writing import write_index
from softdet.data.known_images import KnownImages, with_images
from softdet.data.merging import Corrected, corrected_images, joined, left_unlabeled
from softdet.data.sources.overlap import unseen
from softdet.data.sources.parts import Tally
from softdet.data.sources.reading import read_labeled
from softdet.data.sources.versions import versions_among
from softdet.data.sources.voc import NO_LABEL_FILE
from softdet.data.writers.folders import SET_FORMATS, SetFormat, write_set
from softdet.data.writers.label_studio import LOCAL_FILES
from softdet.deploy.prediction import open_job
from softdet.deploy.processes import joined_processes
from softdet.deploy.shards import FoundImages, append_rows, read_rows
from softdet.errors import DataError, RunError
from softdet.evaluation.detector import read_card
from softdet.evaluation.run import RunFolder

_HINTS: dict[SetFormat, str] = {
    "coco": "labels.json imports as COCO (CVAT: `COCO 1.0`; Roboflow: drop the folder)",
    "yolo": "data.yaml, images/ and labels/ import as YOLO; the sixth column of a line is its score",
    "voc": "Annotations/ and JPEGImages/ import as Pascal VOC; <score> is kept by tools that know it",
    "cvat": "in CVAT: make a task with these images, its labels pasted from cvat_labels.json (tab Raw); then "
    "Actions > Upload annotations > CVAT 1.1: annotations.xml",
    "labelstudio": "in Label Studio: paste labeling_config.xml under Settings > Labeling Interface > Code, add "
    "{folder} as a storage of local files, import tasks.json; export as COCO or YOLO when you are done",
}


def pseudo_label(
    run: Run,
    folder: Annotated[str, typer.Argument(help="Images: a folder, 'a/pattern/*.jpg', a list (.txt), a video.")],
    to: Annotated[str, typer.Option(metavar="coco|yolo|voc|cvat|labelstudio", help="The annotation tool's format.")],
    out: Annotated[Path, typer.Option(help="The folder to write to.")],
    threshold: Threshold = None,
    images: Annotated[
        bool, typer.Option(help="Put the images beside the labels too: links that take no space.")
    ] = True,
    url: Annotated[
        str, typer.Option(help="For labelstudio: what comes before an image's name, such as https://host/images/.")
    ] = LOCAL_FILES,
    every: Every = 30,
    batch_size: BatchSize = 8,
    cpu: Cpu = False,
    overwrite: Overwrite = False,
) -> None:
    """Label images with a detector, with scores, to correct them in an annotation tool; see `softdet merge`."""
    (format,) = chosen("--to", [to], SET_FORMATS)
    with joined_processes() as (rank, world_size):
        job = open_job(
            weights_of(run),
            [folder],
            out,
            threshold=threshold,
            every=every,
            overwrite=overwrite,
            rank=rank,
            world_size=world_size,
        )
        detect(job, batch_size=batch_size, cpu=cpu)
        if rank == 0:
            classes, origin = classes_of(job), origin_of(job, run)
            found = job.folder.found(world_size)
            written = write_set(format, found, classes, out, origin=origin, with_images=images, url_prefix=url)
            if run.is_dir():
                _note(RunFolder(run), found)
            tell(job.folder.finish(found, classes.names, origin, written), job, written)
            say(_HINTS[format].format(folder=folder))
            if run.is_dir():
                say(f"corrected? {shlex.join(['softdet', 'merge', str(run), 'CORRECTED', '--out', 'DIR'])}")


def _note(run: RunFolder, found: FoundImages) -> None:
    """Write down what `merge` compares with; the last labels of an image count."""
    try:
        append_rows(run.pseudo_labels, found)
    except OSError as error:
        say(f"{run.pseudo_labels} can't be written ({error.strerror or error}), so `merge` won't count changes")


def merge(
    run: Annotated[Path, typer.Argument(help="The run folder whose detector made the pseudo-labels.")],
    corrected: Annotated[
        Path, typer.Argument(help="Corrected labels: a file or folder, COCO, YOLO, Pascal VOC or CVAT 1.1.")
    ],
    out: Annotated[Path, typer.Option(help="Where to write the new lists, train.json and unlabeled.json.")],
    changed_only: Annotated[
        bool, typer.Option("--changed-only", help="Leave images unlabeled whose boxes are all as they were.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace lists that are in OUT.")] = False,
) -> None:
    """Take corrected pseudo-labels back: they join the run's labeled list and leave its unlabeled one."""
    folder = RunFolder(run)
    folder.require_result()
    settings = config_of(folder)
    _require_free(out, overwrite)
    class_names = read_card(folder.best).class_names
    train = load_labeled(settings.data.train, class_names, settings.data.root)
    unlabeled = load_unlabeled(settings.data.unlabeled, settings.data.root) if settings.data.unlabeled else None
    found = {image.path.resolve(): image for image in read_rows(folder.pseudo_labels)}
    known = KnownImages([*_names_of(unlabeled), *((image.name, path) for path, image in found.items())])
    with with_images(corrected, known) as place:
        labeled = read_labeled(place, class_names)
        back = corrected_images(labeled, known, found, class_names)
    for title, tally in (("left out:", labeled.dropped), ("to know:", labeled.noted)):
        # People know where their labels are, not where they were put together with images.
        rows = [row for row in tally.rows() if place == corrected or row[0] != NO_LABEL_FILE]
        say_lines(title, [line.replace(str(place), str(corrected)) for line in counted(rows)])
    back, held_out = _without_evaluated(back, unlabeled, settings, class_names)
    untouched = [each for each in back if each.is_untouched]
    if changed_only:
        back = [each for each in back if not each.is_untouched]
    if not back:
        raise DataError(f"{corrected}: no image is left to join the labeled ones ({len(untouched)} are as they were)")
    lists = _write(out, train, unlabeled, back)
    _tell_changes(back, untouched, held_out, changed_only)
    for path, num_images, note in lists:
        say(f"wrote {path}: {num_images} images{note}")
    say("go on training from the current weights:")
    say(f"  {_next_command(folder, settings, out, has_unlabeled=len(lists) > 1)}")


def _require_free(out: Path, overwrite: bool) -> None:
    taken = [path for path in (out / "train.json", out / "unlabeled.json") if path.exists()]
    if taken and not overwrite:
        raise RunError(f"{taken[0]} is there already. Choose another --out, or add --overwrite to replace it.")


def _names_of(unlabeled: Index | None) -> Iterable[tuple[str, Path]]:
    """The images of a list by what people see of them: the way below their folder, or the file's name."""
    records = unlabeled.images if unlabeled else ()
    return ((record.id if isinstance(record.id, str) else record.path.name, record.path) for record in records)


def _without_evaluated(
    back: list[Corrected], unlabeled: Index | None, settings: Config, class_names: tuple[str, ...]
) -> tuple[list[Corrected], int]:
    """Leave out the images that the run is evaluated on, copies of them, and Roboflow's versions."""
    lists = [path for path in (settings.data.valid, settings.data.test) if path]
    evaluated = [load_labeled(path, class_names, settings.data.root) for path in lists]
    files = [record.path for index in evaluated for record in index.images if record.path.is_file()]
    allowed = set(unseen([each.path for each in back], files, Tally()))
    pool = [record.path for record in unlabeled.images] if unlabeled else []
    allowed -= versions_among([each.path for each in back], files, [*files, *pool])
    kept = [each for each in back if each.path in allowed]
    return kept, len(back) - len(kept)


def _write(out: Path, train: Index, unlabeled: Index | None, back: list[Corrected]) -> list[tuple[Path, int, str]]:
    content = joined(train, back, out)
    write_index(out / "train.json", content)
    note = f" ({len(train)} before), {len(content['annotations'])} boxes"
    lists = [(out / "train.json", len(content["images"]), note)]
    rest: dict[str, Any] = left_unlabeled(unlabeled, back, out) if unlabeled else {"images": []}
    if rest["images"]:
        write_index(out / "unlabeled.json", rest)
        lists.append((out / "unlabeled.json", len(rest["images"]), f" ({len(unlabeled or ())} before)"))
    else:
        (out / "unlabeled.json").unlink(missing_ok=True)
    return lists


def _tell_changes(back: list[Corrected], untouched: list[Corrected], held_out: int, changed_only: bool) -> None:
    compared = [each for each in back if each.changes is not None]
    changes: Counter[Change] = sum((each.changes for each in compared if each.changes), Counter())
    told = (
        f"{changes['added']} added, {changes['moved']} moved, {changes['renamed']} given another class, "
        f"{changes['deleted']} deleted, {changes['kept']} as they were"
    )
    say(f"{len(back)} corrected images with {sum(len(each.annotations) for each in back)} boxes")
    if compared:
        say(f"against the pseudo-labels: {told}")
    if len(compared) < len(back):
        say(f"{len(back) - len(compared)} images have no pseudo-labels of this run to compare with")
    if held_out:
        say(f"left out: {held_out} images that the run is evaluated on")
    if untouched and changed_only:
        say(f"left unlabeled: {len(untouched)} images whose boxes are all as they were")
    elif untouched:
        say(
            f"{len(untouched)} images have exactly the detector's boxes. If nobody has looked at them, leave them "
            "unlabeled: --changed-only"
        )


def _next_command(run: RunFolder, settings: Config, out: Path, *, has_unlabeled: bool) -> str:
    number = 2
    while (target := run.path.with_name(f"{run.path.name}_{number}")).exists():
        number += 1
    words = ["softdet", "train", "--config", str(run.config), f"data.train={out / 'train.json'}"]
    if has_unlabeled:
        words.append(f"data.unlabeled={out / 'unlabeled.json'}")
    elif settings.soft_teacher.enabled:
        # No unlabeled image is left.
        words.append("--supervised")
    return shlex.join([*words, f"model.model_path={run.best}", "--out", str(target)])
