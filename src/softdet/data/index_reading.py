"""Reading an index: plain COCO JSON, or a plain folder. Class ids map once, here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from softdet.data.coco_fields import box_of, is_ignored, size_of
from softdet.data.index import IMAGE_SUFFIXES, ImageRecord, Index
from softdet.errors import DataError


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read class names from a text file, one a line; empty lines don't count."""
    if not path.is_file():
        raise DataError(
            f"params.classes: there is no file {path}. It should hold one class name a line. "
            "Leave params.classes out to take the names from the labeled set."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: its text is not UTF-8 ({error}). Save it anew with that encoding.") from error
    names = tuple(filter(None, map(str.strip, text.splitlines())))
    doubled = sorted(name for name, count in Counter(names).items() if count > 1)
    if doubled or not names:
        found = f"these class names stand twice: {doubled}" if doubled else "there is no class name in it"
        raise DataError(f"{path}: {found}. Write each class once, one a line.")
    return names


def load_json(path: Path) -> dict[str, Any]:
    """Read a COCO JSON file and check its outer shape."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}. Is the path right, and was `softdet prepare` run?") from error
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}). A labeled list is one COCO JSON file.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON ({error}). Was it cut off while being written or copied?") from error
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path}: a COCO index is an object with a list `images`; found {found}")
    return content


def load_labeled(path: Path, class_names: Sequence[str] | None = None, root: Path | None = None) -> Index:
    """Read a labeled COCO JSON index.

    Args:
        path: the JSON file.
        class_names: the classes by label; taken from the file's categories, in the order of their ids, where None.
        root: the images' folder, tried last.

    Returns:
        The index, missing images included: whoever reads them counts them. Boxes of no area, outside their image or
        not finite are dropped and counted; boxes that reach outside are clipped.

    Raises:
        DataError: the file can't be used; a category is not among the classes; none of the first images exists.
    """
    content = load_json(path)
    images = entries_of(path, content, "images", ("id", "file_name"))
    listed = entries_of(path, content, "annotations", ("image_id", "category_id"))
    named = entries_of(path, content, "categories", ("id", "name"))
    # As `softdet prepare` writes them: a blank at the end makes no other class.
    categories = {entry["id"]: str(entry["name"]).strip() for entry in named}
    if not categories:
        raise DataError(f"{path}: no `categories`, so its boxes have no classes. Is it a labeled index?")
    if class_names is None:
        # Ids are numbers or text, and don't compare with each other; a name stands once, see `_labels_by_category`.
        in_order = sorted(categories, key=lambda category_id: (isinstance(category_id, str), category_id))
        class_names = list(dict.fromkeys(categories[category_id] for category_id in in_order))
    # An ignored region may be of a category that is no class ("ignored regions", say).
    used = Counter(entry["category_id"] for entry in listed if not is_ignored(entry))
    label_of = _labels_by_category(path, used, categories, class_names)

    require_ids_of_one_kind(path, images, listed)
    annotations: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in images}
    dropped: Counter[str] = Counter()
    for annotation in listed:
        if annotation["image_id"] in annotations:
            annotations[annotation["image_id"]].append(annotation)
        else:
            dropped["of an image that the index doesn't list"] += 1
    folders = image_folders(path, content, root)
    records = [_labeled_record(path, image, annotations[image["id"]], label_of, folders, dropped) for image in images]
    # Where two ids share a name, the one with boxes is written last and stays.
    id_of = {label_of[category_id]: category_id for category_id in sorted(label_of, key=lambda i: used[i] > 0)}
    ids = tuple(id_of.get(label) for label in range(len(class_names)))
    return Index(path, _found(path, records, folders), tuple(class_names), ids, dict(dropped))


def load_unlabeled(path: Path, root: Path | None = None) -> Index:
    """List unlabeled images: a folder (searched recursively) or a COCO JSON whose boxes are never read.

    Args:
        path: the folder, whose hidden files don't count, or the JSON file.
        root: the images' folder for a JSON, tried last.

    Returns:
        An index without boxes and classes.

    Raises:
        DataError: there is nothing at the path, or no image in it.
    """
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
        # macOS leaves a hidden `._x.jpg`, which is no picture, beside each `x.jpg` that it packs.
        names = sorted(file.relative_to(path) for file in files)
        names = [name for name in names if not any(part.startswith(".") for part in name.parts)]
        if not names:
            raise DataError(f"{path}: no image in this folder (looked for {', '.join(sorted(IMAGE_SUFFIXES))})")
        images = tuple(ImageRecord.plain(name.as_posix(), path / name) for name in names)
        return Index(path, images, (), (), {})
    content = load_json(path)
    folders = image_folders(path, content, root)
    records = [
        ImageRecord.plain(image["id"], _locate(image, folders), _size(path, image))
        for image in entries_of(path, content, "images", ("id", "file_name"))
    ]
    return Index(path, _found(path, records, folders), (), (), {})


def image_folders(path: Path, content: dict[str, Any], root: Path | None) -> list[Path]:
    """Where an index's files may lie, in the order in which they are tried.

    The JSON's own folder, its `images/`, then the root: the one given, else the one that `softdet prepare` wrote into
    the JSON's `info.root` (relative to the JSON's folder).
    """
    folders = [path.parent, path.parent / "images", *([root] if root is not None else [])]
    written = content.get("info", {}).get("root") if isinstance(content.get("info"), dict) else None
    if written and isinstance(written, str):
        folders.append(path.parent / written)
    return folders


def entries_of(path: Path, content: dict[str, Any], name: str, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """One of the lists of an index, once it's sure that each entry has the keys, and an id of its own."""
    entries = content.get(name) or []
    bad = [e for e in entries if not (isinstance(e, dict) and all(isinstance(e.get(key), int | str) for key in keys))]
    if bad or not isinstance(entries, list):
        raise DataError(
            f"{path}: `{name}` is a list whose entries have {' and '.join(keys)}, each a whole number or text; "
            f"found {str(bad[0] if isinstance(entries, list) else entries)[:200]}. Export the file anew or mend it."
        )
    ids = Counter(entry["id"] for entry in entries if "id" in keys)
    doubled = [number for number, count in ids.items() if count > 1]
    if doubled:
        raise DataError(f"{path}: these ids stand twice in `{name}`: {doubled[:5]}. Give each entry its own.")
    return entries


def require_ids_of_one_kind(path: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> None:
    """Make sure that no annotation names an image by text where the image has a number, or the other way round.

    Raises:
        DataError: one does; its box would be lost as one of an image that isn't listed.
    """
    ids = {image["id"] for image in images}
    as_text = {str(number): number for number in ids}
    for annotation in annotations:
        meant = as_text.get(str(annotation["image_id"]))
        if annotation["image_id"] not in ids and meant is not None:
            raise DataError(
                f"{path}: an annotation names its image {annotation['image_id']!r}, and `images` has {meant!r}: text "
                "the one, a number the other. Write the ids in the same way in both lists."
            )


def _labels_by_category(
    path: Path, used: Counter[Any], categories: dict[Any, str], class_names: Sequence[str]
) -> dict[Any, int]:
    label_of_name = {name: label for label, name in enumerate(class_names)}
    unknown = sorted({str(category_id) for category_id in used if category_id not in categories})
    if unknown:
        raise DataError(
            f"{path}: annotations name the category ids {unknown[:5]}, which are not among its categories "
            f"({list(categories)[:10]}). Ids are often shifted by one when a file is converted."
        )
    missing = sorted({categories[category_id] for category_id in used if categories[category_id] not in label_of_name})
    if missing:
        raise DataError(
            f"{path}: its boxes have the classes {missing[:5]}, which are not in the class list "
            f"{list(class_names)[:10]}. Add them to params.classes (one name a line), or leave params.classes out."
        )
    shared = [name for name, count in Counter(categories[category_id] for category_id in used).items() if count > 1]
    if shared:
        raise DataError(
            f"{path}: several categories with boxes have the same name: {shared[:5]}. Rename them or make them one."
        )
    return {i: label_of_name[name] for i, name in categories.items() if name in label_of_name}


def _labeled_record(
    path: Path,
    image: dict[str, Any],
    annotations: list[dict[str, Any]],
    label_of: dict[int, int],
    folders: list[Path],
    dropped: Counter[str],
) -> ImageRecord:
    size = _size(path, image)
    boxes, labels, ignored = [], [], []
    for annotation in annotations:
        box = box_of(annotation)
        if box is None:
            dropped["not four finite numbers"] += 1
            continue
        x, y, width, height = box
        corners = [max(x, 0.0), max(y, 0.0), min(x + width, float(size[1])), min(y + height, float(size[0]))]
        if width <= 0 or height <= 0:
            dropped["no area"] += 1
        elif corners[2] <= corners[0] or corners[3] <= corners[1]:
            dropped["outside the image"] += 1
        elif is_ignored(annotation):
            ignored.append(corners)
        else:
            boxes.append(corners)
            labels.append(label_of[annotation["category_id"]])
    return ImageRecord(
        image["id"],
        _locate(image, folders),
        size,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(ignored, np.float32).reshape(-1, 4),
    )


def _size(path: Path, image: dict[str, Any]) -> tuple[int, int]:
    size = size_of(image)
    if size is None:
        raise DataError(
            f"{path}: image {image.get('file_name')!r} (id {image.get('id')}) has width {image.get('width')!r} and "
            f"height {image.get('height')!r}; both must be whole numbers above 0. Write the size of the file's picture "
            "there."
        )
    return size


def _locate(image: dict[str, Any], folders: list[Path]) -> Path:
    name = str(image["file_name"])
    # As written, else of a list that was made on Windows.
    places = (folder / way for way in dict.fromkeys((name, name.replace("\\", "/"))) for folder in folders)
    path = next((place for place in places if place.is_file()), folders[0] / name)
    # Ways up and down again are no names to show a person.
    return path.resolve() if ".." in path.parts else path


def _found(path: Path, records: list[ImageRecord], folders: list[Path]) -> tuple[ImageRecord, ...]:
    """All records, once it's sure that the folder isn't simply wrong: some of the first hundred must exist."""
    if not records:
        raise DataError(f"{path}: the list `images` is empty. Is it the right file?")
    if not any(record.path.is_file() for record in records[:100]):
        tried = ", ".join(str(folder) for folder in folders)
        raise DataError(
            f"{path}: none of its first images exists (the first: {records[0].path.name}). Looked in {tried}. "
            "Set data.root to the folder that holds them."
        )
    return tuple(records)
