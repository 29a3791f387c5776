"""COCO JSON: one file, or one for each split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softdet.data.coco_fields import box_of, is_finite, size_of
from softdet.data.index_reading import entries_of, image_folders, load_json, require_ids_of_one_kind
from softdet.data.sources.finding import ImageFinder
from softdet.data.sources.parts import Box, Corners, Entry, Part, Split, Tally, enclosing, split_of
from softdet.errors import DataError

_NAN = float("nan")
_KEPT = ("id", "area", "iscrowd", "ignore", "score")
_KEPT_OF_CATEGORIES = ("id", "name", "supercategory")
_NOT_KEPT_OF_IMAGES = ("file_name", "width", "height")


def read_coco(files: Mapping[Split, Path], dropped: Tally) -> dict[Split, Part]:
    """Read COCO JSON files; ids stay as they are.

    Args:
        files: one for each split.
        dropped: counts the boxes of images that a file doesn't list.

    Raises:
        DataError: a file is no COCO index, a box has a category that the file doesn't name, or no image is there.
    """
    parts = {split: _read(path, dropped) for split, path in files.items()}
    dummy = _roboflow_dummy(list(parts.values()))
    if dummy is None:
        return parts
    return {
        split: Part([category for category in part.categories if category["name"] != dummy], part.entries)
        for split, part in parts.items()
    }


def _read(path: Path, dropped: Tally) -> Part:
    content = load_json(path)
    images = entries_of(path, content, "images", ("id", "file_name"))
    listed = entries_of(path, content, "annotations", ("image_id", "category_id"))
    categories: list[dict[str, Any]] = [
        {key: category[key] for key in _KEPT_OF_CATEGORIES if key in category}
        for category in entries_of(path, content, "categories", ("id", "name"))
    ]
    _check_categories(path, listed, categories)
    require_ids_of_one_kind(path, images, listed)
    boxes: dict[Any, list[Box]] = {image["id"]: [] for image in images}
    for annotation in listed:
        where = f"{path.name}: annotation {annotation.get('id', '')} of image {annotation['image_id']}"
        if annotation["image_id"] not in boxes:
            dropped.add("boxes of an image that the file doesn't list", where)
            continue
        more = {key: annotation[key] for key in _KEPT if key in annotation}
        boxes[annotation["image_id"]].append(Box(annotation["category_id"], corners_of(annotation), where, more))
    entries = _entries(path, content, images, boxes)
    return Part(categories, entries)


def _entries(
    path: Path, content: dict[str, Any], images: list[dict[str, Any]], boxes: Mapping[Any, list[Box]]
) -> list[Entry]:
    finder = image_finder(path, content)
    entries = []
    names = [str(image["file_name"]) for image in images]
    for image, name, found in zip(images, names, finder.find(names, path), strict=True):
        more = {key: value for key, value in image.items() if key not in _NOT_KEPT_OF_IMAGES}
        size = size_of(image)
        entries.append(Entry(found or finder.folders[0] / name, tuple(boxes[image["id"]]), size, more=more))
    if not any(entry.path.is_file() for entry in entries):
        first = f" (the first: {images[0]['file_name']})" if images else ""
        raise DataError(
            f"{path} lists {len(images)} images{first}; none was found in {', '.join(map(str, finder.folders))} or "
            f"below {finder.root}. Put the images beside the file, or in a folder `images` there."
        )
    return entries


def image_finder(path: Path, content: dict[str, Any], root: Path | None = None) -> ImageFinder:
    """Look for the images of a COCO JSON where tools put them.

    Args:
        path: the JSON.
        content: of it.
        root: of the images, if it is known.
    """
    # Beside `annotations/` lie the folders that COCO's own release, CVAT and others put the images in.
    base = path.parent.parent if path.parent.name == "annotations" else path.parent
    own = [folder for each in (base, base / "images") if each.is_dir() for folder in _folders_like(path, each)]
    beside, *others = image_folders(path, content, root)
    # `valid/` of `valid.json` says more than `images/`, where unlabeled pictures of the same names may lie.
    return ImageFinder(base, list(dict.fromkeys([beside, *own, *others, base, base / "images"])))


def corners_of(annotation: dict[str, Any]) -> Corners:
    """The box of an annotation, in pixels; around its polygons where it has no `bbox`, and NaN where that fails too."""
    if (box := box_of(annotation)) is not None:
        x, y, width, height = box
        return x, y, x + width, y + height
    polygons = None if annotation.get("bbox") else annotation.get("segmentation")
    if isinstance(polygons, list) and polygons and all(isinstance(each, list) for each in polygons):
        flat = [value for polygon in polygons for value in polygon]
        if len(flat) >= 6 and all(map(is_finite, flat)):
            return enclosing(zip(flat[::2], flat[1::2], strict=False))
    return _NAN, _NAN, _NAN, _NAN


def _folders_like(path: Path, base: Path) -> list[Path]:
    """Those of the file's own name, or of the split that it speaks of: `train2017` for `instances_train2017.json`."""
    split, folders = split_of(path.stem), [each for each in sorted(base.iterdir()) if each.is_dir()]
    own = [each for each in folders if each.name == path.stem]
    return own + [each for each in folders if split and split_of(each.name) == split]


def _check_categories(path: Path, listed: list[dict[str, Any]], categories: list[dict[str, Any]]) -> None:
    if not categories:
        raise DataError(f"{path}: no `categories`, so its boxes have no classes. Is it a labeled file?")
    known = {category["id"] for category in categories}
    unknown = [annotation for annotation in listed if annotation["category_id"] not in known]
    if unknown:
        ids = sorted({str(annotation["category_id"]) for annotation in unknown})
        raise DataError(
            f"{path}: {len(unknown)} of its {len(listed)} boxes have the category ids {', '.join(ids[:5])}, which are "
            f"not among its categories ({_described(categories)}). Ids are often shifted by one when a file is "
            "converted: export it anew, or add the missing categories."
        )


def _described(categories: list[dict[str, Any]]) -> str:
    listed = ", ".join(f"{category['id']} = {category['name']}" for category in categories[:10])
    return listed + (f" and {len(categories) - 10} more" if len(categories) > 10 else "")


def _roboflow_dummy(parts: list[Part]) -> str | None:
    """The class without boxes that Roboflow puts first, named like the project and the group of all the others."""
    categories = [category for part in parts for category in part.categories]
    first = parts[0].categories[0]
    others = [category for category in categories if category["name"] != first["name"]]
    groups = {category.get("supercategory") for category in others}
    taught = {name for part in parts for name in _taught(part)}
    is_dummy = others and groups == {first["name"]} and first["name"] not in taught
    return first["name"] if is_dummy else None


def _taught(part: Part) -> set[str]:
    names = {category["id"]: category["name"] for category in part.categories}
    return {names[box.category] for entry in part.entries for box in entry.boxes}
