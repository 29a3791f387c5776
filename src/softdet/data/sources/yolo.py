"""YOLO sets: a `data.yaml`, or no more than images and their text files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from softdet.data.index import IMAGE_SUFFIXES
from softdet.data.index_reading import read_class_names
from softdet.data.sources.finding import files_below, images_below, tails
from softdet.data.sources.parts import Entry, Part, Split, Tally, categories_of, split_of_path
from softdet.data.sources.yolo_labels import read_labels
from softdet.errors import DataError

_SPLIT_KEYS: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "valid": ("val", "valid", "validation"),
    "test": ("test",),
}
# labelImg's, CVAT's and Roboflow's lists of names.
NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt")
_NO_LABELS = {*NAME_FILES, "train.txt", "val.txt", "valid.txt", "test.txt", "readme.txt"}


def read_yolo_yaml(path: Path, dropped: Tally, noted: Tally) -> dict[Split, Part]:
    """Read a set by its `data.yaml`.

    Args:
        path: the YAML file.
        dropped: counts label files without an image.
        noted: counts images without a label file, and splits that the YAML names and that aren't there.

    Raises:
        DataError: the YAML or a label file can't be used, or its training images aren't there.
    """
    content = load_yaml(path)
    names = _names(path, content)
    parts: dict[Split, Part] = {}
    for split, keys in _SPLIT_KEYS.items():
        key = next((key for key in keys if content.get(key)), None)
        if key is None:
            continue
        images = _listed_images(path, content, key)
        if images is None:
            if split == "train":
                raise DataError(_not_there(path, content, key))
            noted.add(f"splits that {path.name} names and that aren't there", f"{key}: {content[key]}")
            continue
        entries = _entries(images, names, dropped, noted, has_keypoints="kpt_shape" in content)
        parts[split] = Part(categories_of(names, 0), entries)
    if "train" not in parts:
        raise DataError(
            f"{path}: no `train`; found the keys {', '.join(content)}. Name the folder of the training images there."
        )
    return parts


def read_yolo_folder(root: Path, class_names: Sequence[str] | None, dropped: Tally, noted: Tally) -> dict[Split, Part]:
    """Read a folder of images with their text files: beside them, or in `labels/` where they are in `images/`.

    Args:
        root: the folder; folders named for splits below it are splits.
        class_names: those to take where no file of names is there; None: the classes are called by their number.
        dropped: counts label files without an image.
        noted: counts images without a label file.
    """
    files = [root / name for name in NAME_FILES] + [root / "labels" / name for name in NAME_FILES]
    file = next((file for file in files if file.is_file()), None)
    names = list(read_class_names(file)) if file else list(class_names or [])
    by_split: dict[Split, list[Path]] = {}
    images = images_below(root)
    splits = [split_of_path(image, root) for image in images]
    for image, split in zip(images, splits, strict=True):
        by_split.setdefault(split or "train", []).append(image)
    entries = {
        split: _entries(by_split[split], names or None, dropped, noted) for split in _SPLIT_KEYS if split in by_split
    }
    if not names:
        used = [int(box.category) for listed in entries.values() for entry in listed for box in entry.boxes]
        names = [str(number) for number in range(max(used, default=0) + 1)]
        noted.add(
            "sets without class names, whose classes are called by number", f"names go into {root / 'classes.txt'}"
        )
    return {split: Part(categories_of(names, 0), listed) for split, listed in entries.items()}


def label_file(image: Path) -> Path:
    """Where an image's labels are: in `labels/` for one in `images/`, else beside it."""
    beside = image.with_suffix(".txt")
    for depth, folder in enumerate(image.parts[-2::-1], 2):
        if folder == "images":
            paired = Path(*image.parts[:-depth], "labels", *image.parts[len(image.parts) - depth + 1 :])
            return beside if beside.is_file() and not paired.parent.is_dir() else paired.with_suffix(".txt")
    return beside


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a `data.yaml` and check its outer shape."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = yaml.safe_load(text)
        if isinstance(content, dict) and "names" in content:
            # All as it is written: `yes`, `no` and `on` may be classes, and `1.0` isn't 1.
            content["names"] = yaml.load(text, Loader=yaml.BaseLoader)["names"]
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        place = getattr(error, "problem_mark", None)
        line = f":{place.line + 1}" if place else ""
        raise DataError(f"{path}{line}: can't be read as YAML ({getattr(error, 'problem', error)})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: a YOLO set's YAML has keys (train, val, names); found {type(content).__name__}")
    return {str(key): value for key, value in content.items()}


def _names(path: Path, content: dict[str, Any]) -> list[str]:
    names = content.get("names")
    if isinstance(names, dict):
        numbers = {int(key): value for key, value in names.items() if str(key).isdigit()}
        if sorted(numbers) != list(range(len(names))):
            found = ", ".join(map(str, list(names)[:10]))
            raise DataError(f"{path}: `names` has the numbers [{found}]; they count from 0 without a gap")
        names = [numbers[number] for number in range(len(numbers))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: no class names. Write `names: [cat, dog]`, in the order of the labels' numbers.")
    names = [str(name).strip() for name in names]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise DataError(f"{path}: these names stand twice in `names`: {', '.join(doubled)}. Each class has its own.")
    if isinstance(content.get("nc"), int) and content["nc"] != len(names):
        raise DataError(
            f"{path}: nc is {content['nc']}, but there are {len(names)} names ({', '.join(names[:10])}). "
            "Was a class added or taken out? Make the two agree."
        )
    return names


def _listed_images(path: Path, content: dict[str, Any], key: str) -> list[Path] | None:
    """The images of a split; None where one of its folders or lists isn't there."""
    values = content[key] if isinstance(content[key], list) else [content[key]]
    images: list[Path] = []
    for value in values:
        place = next((place for place in _places(path, content, str(value)) if place.exists()), None)
        if place is None:
            return None
        images += images_below(place) if place.is_dir() else _images_of_list(place, path.parent)
    return list(dict.fromkeys(images))


def _places(path: Path, content: dict[str, Any], value: str) -> list[Path]:
    """Where an entry may lie: as written, then by its last folders, as sets are moved and zipped."""
    written = Path(value.replace("\\", "/"))
    bases = [path.parent]
    if content.get("path"):
        bases.insert(0, path.parent / str(content["path"]))
    ends = tails(Path(*(part for part in written.parts if part not in ("..", ".", written.anchor))))
    literal = [base / written for base in bases]
    moved = [base / each for base in reversed(bases) for each in ends]
    # Roboflow writes `../train/images` for the folder `train/images` beside the YAML.
    return [*moved[:1], *literal, *moved[1:]] if written.parts[:1] == ("..",) else [*literal, *moved]


def _not_there(path: Path, content: dict[str, Any], key: str) -> str:
    values = content[key] if isinstance(content[key], list) else [content[key]]
    tried = [str(place) for place in _places(path, content, str(values[0]))]
    return (
        f"{path}: `{key}: {content[key]}` isn't there. Looked for {', '.join(dict.fromkeys(tried))}. "
        "Write the way from the YAML's own folder to the images."
    )


def _images_of_list(file: Path, root: Path) -> list[Path]:
    lines = filter(None, map(str.strip, file.read_text(encoding="utf-8-sig").splitlines()))
    images = []
    for line in lines:
        # As written, else by the end of the path: CVAT writes `data/` before it, and Windows other slashes.
        ways = (Path(line), *tails(Path(line.replace("\\", "/"))))
        candidates = [base / way for way in ways for base in (file.parent, root)]
        images.append(next((each for each in candidates if each.is_file()), candidates[0]))
    return images


def _entries(
    images: Iterable[Path], names: Sequence[str] | None, dropped: Tally, noted: Tally, *, has_keypoints: bool = False
) -> list[Entry]:
    entries = []
    labels = {image: label_file(image) for image in images}
    for image, file in labels.items():
        boxes = read_labels(file, names, has_keypoints=has_keypoints) if file.is_file() else ()
        entries.append(Entry(image, boxes, relative=True, is_labeled=file.is_file()))
    if entries and not any(file.is_file() for file in labels.values()):
        image, file = next(iter(labels.items()))
        raise DataError(
            f"none of {len(entries)} images has a label file: for {image} it would be {file}. "
            "Images lie in `images/` and their labels in `labels/` beside it, or both in one folder."
        )
    _count_orphans(labels, dropped)
    return entries


def _count_orphans(labels: dict[Path, Path], dropped: Tally) -> None:
    with_image = set(labels.values())
    for folder in sorted({file.parent for file in with_image if file.parent.is_dir()}):
        for file in sorted(folder.glob("*.txt")):
            is_labels = file.name.lower() not in _NO_LABELS and not file.name.startswith(".")
            # Another split's images may have their labels in the same folder.
            if is_labels and file not in with_image and not _has_image(file):
                dropped.add("label files without an image", str(file))


def _has_image(file: Path) -> bool:
    folders = [file.parent, Path(*("images" if part == "labels" else part for part in file.parts[:-1]))]
    return any((folder / file.name).with_suffix(suffix).is_file() for folder in folders for suffix in IMAGE_SUFFIXES)


def has_yolo_labels(folder: Path) -> bool:
    """Whether a folder holds images whose text files are where YOLO has them."""
    images = (file for file in files_below(folder) if file.suffix.lower() in IMAGE_SUFFIXES)
    return any(label_file(image).is_file() for image in images)
