"""Which of the formats a path holds, and why; where it is none or several, what to do."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from softdet.data.index import IMAGE_SUFFIXES
from softdet.data.sources.finding import files_below
from softdet.data.sources.parts import Split, split_of
from softdet.data.sources.voc import xml_root
from softdet.data.sources.yolo import has_yolo_labels, load_yaml
from softdet.errors import DataError

Format = Literal["COCO", "YOLO", "YOLO without YAML", "Pascal VOC", "CVAT"]

_SPLIT_FOLDERS = ("train", "valid", "val", "test", "annotations")
_READ = "COCO JSON, YOLO (data.yaml, or images and txt files), Pascal VOC (XML) or CVAT for images 1.1 (XML)"
# A list with something in it: an unlabeled list may have an empty one.
_ANNOTATIONS = re.compile(rb'"annotations"\s*:\s*\[\s*\{')
_UNREAD = {
    ".zip": "unpack it first",
    ".tfrecord": "TensorFlow records aren't read: export as COCO or YOLO",
    ".csv": "tables aren't read: export as COCO or YOLO",
    ".ndjson": "Labelbox lines aren't read: export as COCO or YOLO",
}


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a path was taken for.

    Attributes:
        format: its format.
        why: by what it was recognised.
        files: what the format's reader reads: for COCO a file for each split, else one file or folder.
    """

    format: Format
    why: str
    files: dict[Split, Path]


def recognise(path: Path) -> Recognised:
    """Say which format a file or folder has.

    Args:
        path: a label file, or a folder with labels and images; a lone folder in it is looked into.

    Raises:
        DataError: it is none, or several; the message lists what was found and how to choose.
    """
    if path.is_file():
        return _recognise_file(path)
    if not path.is_dir():
        raise DataError(f"there is no file or folder {path}, seen from {Path.cwd()}. Is the path right?")
    found = next(filter(None, map(_listed_sets, _lone_folders(path))), [])
    # These two are known by a single file anywhere below, so a set with a list of its own comes first.
    found = found or _voc(path) or _yolo_folder(path)
    if not found:
        raise DataError(f"{path}: no labels were found here; {_told(path)}. Read are {_READ}.")
    if len(found) > 1:
        listed = ", ".join(f"{each.why} ({each.format})" for each in found)
        named = next(iter(found[0].files.values()))
        raise DataError(f"{path} holds {len(found)} labeled sets: {listed}. Name one of them, such as {named}.")
    return found[0]


def _recognise_file(path: Path) -> Recognised:
    match path.suffix.lower():
        case ".json":
            return Recognised("COCO", path.name, {"train": path})
        case ".yaml" | ".yml":
            return Recognised("YOLO", path.name, {"train": path})
        case ".xml":
            tag = xml_root(path)
            if tag == "annotations":
                return Recognised("CVAT", f"{path.name} with <annotations>", {"train": path})
            if tag == "annotation":
                raise DataError(f"{path} is one of a Pascal VOC set's files, an image each. Name the folder of all.")
            raise DataError(f"{path}: an XML file that starts with <{tag}>. Read are {_READ}.")
    advice = _UNREAD.get(path.suffix.lower(), f"read are {_READ}")
    raise DataError(f"{path} is no labeled set: {advice}.")


def _lone_folders(folder: Path) -> list[Path]:
    """The folder, and those in it that are alone there: unpacking often puts a folder into one of the same name."""
    inside = [each for each in folder.iterdir() if not each.name.startswith((".", "__MACOSX"))]
    return [folder, *(_lone_folders(inside[0]) if len(inside) == 1 and inside[0].is_dir() else [])]


def _listed_sets(folder: Path) -> list[Recognised]:
    return [*_coco(folder), *_yolo(folder), *_cvat(folder)]


def _coco(folder: Path) -> list[Recognised]:
    files = [file for place in _places(folder) for file in sorted(place.glob("*.json")) if _is_coco(file)]
    # The official release has captions and keypoints beside its boxes.
    instances = [file for file in files if file.name.startswith("instances_")]
    files = instances or files
    splits = [_split_of_file(file, folder) for file in files]
    if len(files) > 1 and "train" in splits and None not in splits and len(set(splits)) == len(splits):
        by_split = {split: file for split, file in zip(splits, files, strict=True) if split}
        listed = ", ".join(str(file.relative_to(folder)) for file in files)
        return [Recognised("COCO", listed, by_split)]
    return [Recognised("COCO", str(file.relative_to(folder)), {"train": file}) for file in files]


def _split_of_file(file: Path, folder: Path) -> Split | None:
    own = split_of(file.stem)
    return own or (split_of(file.parent.name) if file.parent != folder else None)


def _is_coco(file: Path) -> bool:
    # Searched, not parsed: COCO's own takes seconds to parse, and is parsed once it's chosen.
    content = file.read_bytes()
    return b'"images"' in content and _ANNOTATIONS.search(content) is not None


def _yolo(folder: Path) -> list[Recognised]:
    files = [file for pattern in ("*.yaml", "*.yml") for file in sorted(folder.glob(pattern))]
    sets = [file for file in files if {"names", "train"} & load_yaml_keys(file)]
    return [Recognised("YOLO", file.name, {"train": file}) for file in sets]


def load_yaml_keys(file: Path) -> set[str]:
    """The keys of a YAML file, none where it is no mapping; a `data.yaml` that can't be read is an error."""
    try:
        return set(load_yaml(file))
    except DataError:
        if file.stem == "data":
            raise
        return set()


def _cvat(folder: Path) -> list[Recognised]:
    files = [file for place in (folder, folder / "annotations") for file in sorted(place.glob("*.xml"))]
    return [
        Recognised("CVAT", f"{file.name} with <annotations>", {"train": file})
        for file in files[:50]
        if xml_root(file) == "annotations"
    ]


def _voc(folder: Path) -> list[Recognised]:
    files = (file for file in files_below(folder) if file.suffix.lower() == ".xml")
    first = next((file for file in files if xml_root(file) == "annotation"), None)
    why = f"XML files with <annotation>, such as {first.relative_to(folder)}" if first else ""
    return [Recognised("Pascal VOC", why, {"train": folder})] if first else []


def _yolo_folder(folder: Path) -> list[Recognised]:
    why = "images with YOLO's text files"
    return [Recognised("YOLO without YAML", why, {"train": folder})] if has_yolo_labels(folder) else []


def _places(folder: Path) -> list[Path]:
    return [folder, *(folder / name for name in _SPLIT_FOLDERS)]


def _told(folder: Path) -> str:
    """What a folder holds instead, and what to do about it."""
    counts = Counter(file.suffix.lower() for file in files_below(folder))
    if not counts:
        return "the folder is empty"
    num_images = sum(count for suffix, count in counts.items() if suffix in IMAGE_SUFFIXES)
    others = [
        f"{count} {suffix or 'without an ending'}"
        for suffix, count in counts.most_common()
        if suffix not in IMAGE_SUFFIXES
    ]
    found = f"found {', '.join([f'{num_images} images', *others[:5]])}"
    advice = [f"{suffix}: {what}" for suffix, what in _UNREAD.items() if suffix in counts]
    if not advice and not others:
        advice = ["images without labels are what --unlabeled is for"]
    if not advice and ".json" in counts:
        advice = [
            "none of the JSON files has `images` and `annotations` with something in them (labelme's and Label "
            "Studio's own JSON don't: export as COCO)"
        ]
    return "; ".join([found, *advice])
