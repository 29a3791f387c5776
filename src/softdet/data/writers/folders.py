"""Which files a format is made of, written whole and piece by piece, however many images there are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from softdet.data.writers import coco, cvat, label_studio, table, voc, yolo
from softdet.data.writers.found import Classes, FoundImage
from softdet.errors import DataError
from softdet.files import whole_file

ResultFormat = Literal["coco", "yolo", "csv"]
SetFormat = Literal["coco", "yolo", "voc", "cvat", "labelstudio"]
RESULT_FORMATS: tuple[ResultFormat, ...] = get_args(ResultFormat)
SET_FORMATS: tuple[SetFormat, ...] = get_args(SetFormat)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where labels come from.

    Attributes:
        name: of the detector, such as its run folder's.
        step: optimizer steps behind it.
        threshold: no score is below it.
    """

    name: str
    step: int
    threshold: float

    def __str__(self) -> str:
        return f"softdet {self.name}, step {self.step}, scores from {self.threshold:.2f}"


def write_results(format: ResultFormat, images: Iterable[FoundImage], classes: Classes, out: Path) -> Path:
    """Write detections for scripts and spreadsheets.

    Args:
        format: `coco` is a results list, `yolo` a text file an image, `csv` a table.
        images: what was found; gone through once.
        classes: of the detector.
        out: the folder to write to.

    Returns:
        The file or folder that was written.
    """
    match format:
        case "coco":
            return _write(out / "detections.json", coco.results(images, classes))
        case "csv":
            return _write(out / "detections.csv", table.csv_rows(images, classes.names))
        case "yolo":
            _write_yolo_labels(images, out)
            _write(out / "classes.txt", (f"{name}\n" for name in classes.names))
            return out / "labels"


def write_set(
    format: SetFormat,
    images: Iterable[FoundImage],
    classes: Classes,
    out: Path,
    *,
    origin: Origin,
    with_images: bool = True,
    url_prefix: str = label_studio.LOCAL_FILES,
) -> list[Path]:
    """Write detections as labels that annotation tools import, the images beside them.

    Args:
        format: see the modules of this package.
        images: what was found; gone through more than once.
        classes: of the detector.
        out: the folder to write to.
        origin: of the labels.
        with_images: put the images into `out` too: hard links, which take no space, or copies on another disk. Label
            Studio serves them from elsewhere and gets none.
        url_prefix: for Label Studio, see `label_studio.tasks_json`.

    Returns:
        The files and folders that were written, the one to import first.
    """
    written: list[Path]
    folder = out / "images"
    match format:
        case "coco":
            written = [_write(out / "labels.json", coco.labeled_set(images, classes, str(origin)))]
        case "yolo":
            _write_yolo_labels(images, out)
            written = [_write(out / "data.yaml", [yolo.data_yaml(classes.names)]), out / "labels"]
        case "voc":
            folder = out / "JPEGImages"
            for image in images:
                file = out / "Annotations" / PurePosixPath(image.name).with_suffix(".xml")
                _write(file, [voc.annotation_xml(image, classes.names)])
            written = [out / "Annotations"]
            names = [str(PurePosixPath(image.name).with_suffix("")) for image in images]
            # A list's lines are names without folders, and end at a space; readers do without a list too.
            if not any("/" in name or len(name.split()) != 1 for name in names):
                written.append(
                    _write(out / "ImageSets" / "Main" / "train.txt", (f"{name}\n" for name in names)).parents[1]
                )
        case "cvat":
            pieces = cvat.annotations_xml(images, classes.names, str(origin))
            constructor = cvat.label_constructor(classes.names)
            written = [_write(out / "annotations.xml", pieces), _write(out / "cvat_labels.json", [constructor])]
        case "labelstudio":
            pieces = label_studio.tasks_json(images, classes.names, f"{origin.name} step {origin.step}", url_prefix)
            config = label_studio.labeling_config(classes.names)
            return [_write(out / "tasks.json", pieces), _write(out / "labeling_config.xml", [config])]
    if with_images:
        for image in images:
            place_image(image.path, folder / image.name)
        written.append(folder)
    return written


def place_image(source: Path, target: Path) -> None:
    """Put an image at a second place: a hard link, or a copy where there can be none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.exists() and target.exists() and target.samefile(source):
        return
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise DataError(f"{source} can't be copied to {target} ({error.strerror or error})") from error


def _write_yolo_labels(images: Iterable[FoundImage], out: Path) -> None:
    for image in images:
        _write(out / "labels" / PurePosixPath(image.name).with_suffix(".txt"), [yolo.label_text(image)])


def _write(path: Path, pieces: Iterable[str]) -> Path:
    try:
        with (
            whole_file(path) as draft,
            draft.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
        ):
            file.writelines(pieces)
    except OSError as error:
        raise DataError(
            f"{path} can't be written ({error.strerror or error}). Is the disk full, or is the folder not yours to "
            "write in? Choose another one with --out."
        ) from error
    return path
