"""From the official COCO download, the 2014 or the 2017 release, to the three index files of Soft Teacher's setting."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from softdet.data.index_reading import load_json
from softdet.data.index_writing import Written, relative_path, write_index, write_whole
from softdet.errors import DataError

_KEPT_KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
_CLASSES_FILE = "coco_classes.txt"
TRAIN_FILE = "coco_trainval35k.json"
# What mmdetection's labeled and unlabeled files are named after; trainval35k is train2017.
MMDETECTION_STEM = "instances_train2017"


@dataclass(frozen=True, slots=True)
class _Part:
    """An official annotation file and the folder that its images come in."""

    annotations: str
    images: str


@dataclass(frozen=True, slots=True)
class _Output:
    """A file to write, its official number of images, and the parts that make it in each release, 2017 first."""

    file: str
    num_images: int
    releases: tuple[tuple[_Part, ...], ...]


_OUTPUTS = (
    _Output(
        TRAIN_FILE,
        118_287,
        (
            (_Part("instances_train2017.json", "train2017"),),
            (_Part("instances_train2014.json", "train2014"), _Part("instances_valminusminival2014.json", "val2014")),
        ),
    ),
    _Output(
        "coco_minival5k.json",
        5_000,
        ((_Part("instances_val2017.json", "val2017"),), (_Part("instances_minival2014.json", "val2014"),)),
    ),
    _Output("coco_unlabel2017.json", 123_403, ((_Part("image_info_unlabeled2017.json", "unlabeled2017"),),)),
)


def prepare_coco(root: Path, out: Path) -> list[Written]:
    """Write the indexes of the official COCO files under a folder: what to train on, to test on, and to learn from.

    The labeled set (trainval35k: train2017, or train2014 with the part of val2014 that isn't minival), the validation
    set (minival5k: val2017) and all unlabeled images become plain COCO JSON. Ids and crowds stay as they are,
    segmentations are left out. Each `file_name` gets its image folder in front, and `info.root` is the way from `out`
    to `root`.

    Args:
        root: holds the annotation files, in itself or in `annotations/`, and the image folders (train2017 and others),
            in itself or in `images/`. Where both releases are there, the one with all its annotation files is taken,
            then the one with all its image folders, then 2017.
        out: the folder to write to, made where it's missing.

    Returns:
        One entry for each file written, the class names last. The notes say which annotation files, images or outputs
        are missing.

    Raises:
        DataError: no official annotation file is there, one can't be read, or a file can't be written.
    """
    files = _annotation_files(root)
    written: list[Written] = []
    absent: list[str] = []
    categories: list[dict[str, Any]] = []
    for output in _OUTPUTS:
        release = _best_release(output, files, root)
        if release is None:
            wanted = " or ".join(" + ".join(part.annotations for part in parts) for parts in output.releases)
            absent.append(f"{output.file} was not written: it needs {wanted}")
            continue
        content, notes = _merged(release, files, root, out)
        categories = categories or content["categories"]
        num_images = len(content["images"])
        if all(part.annotations in files for part in release) and num_images != output.num_images:
            notes.append(f"{num_images:,} images, where the official set has {output.num_images:,}")
        write_index(out / output.file, content)
        parts = " + ".join(part.annotations for part in release if part.annotations in files)
        note = "; ".join([f"from {parts}", *notes])
        written.append(Written(out / output.file, num_images, len(content["annotations"]), note))
    if categories:
        names = [category["name"] for category in sorted(categories, key=lambda category: category["id"])]
        write_whole(out / _CLASSES_FILE, "\n".join(names) + "\n")
        written.append(Written(out / _CLASSES_FILE, 0, 0, f"{len(names)} class names"))
    written[-1] = replace(written[-1], note="; ".join([written[-1].note, *absent]))
    return written


def _annotation_folders(root: Path) -> tuple[Path, ...]:
    return root / "annotations", root


def _image_folders(root: Path, name: str) -> tuple[Path, ...]:
    return root / name, root / "images" / name


def _annotation_files(root: Path) -> dict[str, Path]:
    """The official annotation files that are there, by name."""
    folders = _annotation_folders(root)
    names = [part.annotations for output in _OUTPUTS for parts in output.releases for part in parts]
    # Reversed, as the last one found stays: `annotations/` wins.
    files = {name: folder / name for folder in reversed(folders) for name in names if (folder / name).is_file()}
    if not files:
        raise DataError(
            f"no official COCO annotation file was found. Looked for {_listed(names)}; in the folders "
            f"{_listed(folders)}{'' if root.is_dir() else f' ({root} does not exist)'}. Unpack "
            "annotations_trainval2017.zip and image_info_unlabeled2017.zip there, or set --root to the folder that "
            "holds them."
        )
    return files


def _best_release(output: _Output, files: dict[str, Path], root: Path) -> tuple[_Part, ...] | None:
    """The release with all its files, then with all its image folders, then the newest; None where nothing is there."""

    def completeness(parts: tuple[_Part, ...]) -> tuple[bool, bool]:
        return (
            all(part.annotations in files for part in parts),
            all(any(folder.is_dir() for folder in _image_folders(root, part.images)) for part in parts),
        )

    begun = [parts for parts in output.releases if any(part.annotations in files for part in parts)]
    return max(begun, key=completeness, default=None)


def _merged(
    release: tuple[_Part, ...], files: dict[str, Path], root: Path, out: Path
) -> tuple[dict[str, Any], list[str]]:
    """The parts of a release that are there as one index, and what is to be said about it."""
    merged: dict[str, Any] = {}
    notes = []
    for part in release:
        if part.annotations not in files:
            notes.append(
                f"ONLY A PART of the set: {part.annotations} was not found in {_listed(_annotation_folders(root))}"
            )
            continue
        path = files[part.annotations]
        content = load_json(path)
        images, missing = _with_folder(content["images"], root, part.images)
        notes += missing
        annotations = [
            {key: annotation[key] for key in _KEPT_KEYS if key in annotation}
            for annotation in content.get("annotations", [])
        ]
        if not merged:
            info = content.get("info")
            merged = {
                "info": {**(info if isinstance(info, dict) else {}), "root": relative_path(root, out)},
                "licenses": content.get("licenses", []),
                "categories": content.get("categories", []),
                "images": images,
                "annotations": annotations,
            }
            continue
        if content.get("categories", []) != merged["categories"]:
            raise DataError(
                f"{path}: its categories differ from those of {files[release[0].annotations]}; official files of one "
                "release have the same. Was one of them edited? Download it again."
            )
        merged["images"] += images
        merged["annotations"] += annotations
    return merged, notes


def _with_folder(images: list[dict[str, Any]], root: Path, name: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Image entries with their folder in front of the file name, and a note where files are missing."""
    folders = _image_folders(root, name)
    # One listing per folder: asking for each of 118,287 files takes minutes on a network drive.
    present = {folder: {file.name for file in folder.iterdir()} for folder in folders if folder.is_dir()}
    absent = {
        folder: [image["file_name"] for image in images if image["file_name"] not in names]
        for folder, names in present.items()
    }
    best = min(absent, key=lambda folder: len(absent[folder]), default=folders[0])
    prefix = best.relative_to(root).as_posix()
    notes = []
    if len(absent.get(best, images)) == len(images):
        prefix = name
        notes.append(f"the images were not found: looked in {_listed(folders)}")
    elif absent[best]:
        notes.append(f"{len(absent[best]):,} of {len(images):,} images are not in {best}, the first: {absent[best][0]}")
    return [{**image, "file_name": f"{prefix}/{image['file_name']}"} for image in images], notes


def _listed(things: Iterable[object]) -> str:
    return ", ".join(map(str, things))
