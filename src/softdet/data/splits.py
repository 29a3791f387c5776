"""Cutting a labeled index: a few labeled images and the rest unlabeled, the way the papers' folds are drawn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from softdet.data.index_reading import image_folders, load_json
from softdet.data.index_writing import Written, relative_path, write_index
from softdet.errors import DataError

# Any number no one takes for a fold.
_VALIDATION_SEED = 20_210_618


def percent_indices(num_images: int, percent: float, fold: int) -> list[int]:
    """Which images are labeled in a fold, as mmdetection's `tools/misc/split_coco.py` draws them.

    The draw is with replacement, so there are fewer images than the percentage says: 11,285 for fold 1 at 10% of
    118,287, and about 63% of all at 100%.

    Args:
        num_images: how many there are, in file order.
        percent: in (0, 100], of the images.
        fold: the seed, from 0.

    Returns:
        Indices in [0, num_images), sorted, each once. Laws: a function of the three arguments alone; below 100% they
        are never all, as fewer are drawn than there are.

    Raises:
        DataError: the percentage or the fold is out of range.
    """
    if not 0 < percent <= 100:
        raise DataError(f"percent is {percent}; it must be above 0 and at most 100 (10 for ten percent)")
    if not 0 <= fold < 2**32:
        raise DataError(f"fold is {fold}; it must be a whole number from 0, and below 2**32 as it is a seed")
    # The legacy generator on purpose: its stream is the published folds.
    draws = np.random.RandomState(fold).choice(num_images, size=_num_draws(num_images, percent))
    return sorted(set(draws.tolist()))


def validation_indices(num_images: int, share: float) -> list[int]:
    """Which images are set aside for validation, whatever the percentage and the fold.

    Args:
        num_images: how many there are, in file order.
        share: in [0, 1), of the images; above 0 it gives at least one.

    Returns:
        Indices in [0, num_images), sorted, each once. Law: a smaller share's images are among a larger one's.

    Raises:
        DataError: the share is out of range.
    """
    if not 0 <= share < 1:
        raise DataError(f"the validation share is {share}; it must be at least 0 and below 1 (0.1 for a tenth)")
    order = np.random.RandomState(_VALIDATION_SEED).permutation(num_images)
    size = max(1, round(share * num_images)) if share else 0
    return sorted(order[:size].tolist())


def split_index(
    path: Path,
    *,
    percent: float,
    fold: int,
    validation_share: float = 0.0,
    out: Path | None = None,
    stem: str | None = None,
) -> list[Written]:
    """Cut a labeled index into a labeled and an unlabeled one, by mmdetection's draw and with its file names.

    `instances_train2017.json` gives `instances_train2017.1@10.json` and `instances_train2017.1@10-unlabeled.json`. The
    unlabeled file keeps its annotations, as mmdetection's does; softdet never reads the boxes of an unlabeled list.
    Info, licences and categories stay.

    Args:
        path: the labeled COCO JSON.
        percent: in (0, 100], of the images that validation leaves.
        fold: the seed of the labeled draw, from 0.
        validation_share: in [0, 1); this share of the images is first set aside into `{stem}.val.json`, the same ones
            for every percentage and fold.
        out: the folder to write to; the index's own where None. In another folder `info.root`, and the `file_name` of
            an image that it doesn't lead to, are written anew: each image found before is found after.
        stem: what the new files' names start with; the index's own stem where None.

    Returns:
        The validation file where one was asked for, the labeled and the unlabeled one. The labeled one's note names the
        classes of which the draw holds no box.

    Raises:
        DataError: a number is out of range, the index holds no annotation or an image id twice, or nothing would be
            labeled; no file is written then. Or a file can't be read or written.
    """
    content = load_json(path)
    images = content["images"]
    _check_splittable(path, content)
    aside = set(validation_indices(len(images), validation_share))
    rest = [index for index in range(len(images)) if index not in aside]
    labeled = {rest[drawn] for drawn in percent_indices(len(rest), percent, fold)}
    unlabeled = set(rest) - labeled
    if not labeled:
        raise DataError(
            f"{path}: {percent}% of {len(rest)} images ({len(images)} less {len(aside)} for validation) is less than "
            "one, so nothing would be labeled. Take a larger percentage or a smaller validation share."
        )

    folder = path.parent if out is None else out
    if folder.resolve() != path.parent.resolve():
        content = _as_seen_from(folder, path, content)
    stem = path.stem if stem is None else stem
    validation_path = folder / f"{stem}.val.json"
    earlier = _image_ids(load_json(validation_path)) if validation_path.is_file() else set()
    written = []
    if aside:
        part = _part(content, aside)
        replaced = bool(earlier) and earlier != _image_ids(part)
        note = (
            "it replaces another one: splits drawn with that may hold its images, so draw them again"
            if replaced
            else ""
        )
        written.append(_write_part(validation_path, part, note))
    part = _part(content, labeled)
    notes = [f"{_num_draws(len(rest), percent):,} draws with replacement gave {len(labeled):,} images"]
    notes += _classes_without_box(part)
    leaked = 0 if aside else len(earlier & _image_ids(content))
    if leaked:
        notes.append(
            f"{leaked:,} images of this split are also in {validation_path.name}, which an earlier split set aside: "
            "give the same validation share to keep them apart"
        )
    name = f"{stem}.{fold}@{int(percent) if percent == int(percent) else percent}"
    written.append(_write_part(folder / f"{name}.json", part, "; ".join(notes)))
    note = "its boxes are kept for other tools; in an unlabeled list they are never read"
    written.append(_write_part(folder / f"{name}-unlabeled.json", _part(content, unlabeled), note))
    return written


def _check_splittable(path: Path, content: dict[str, Any]) -> None:
    if not content.get("annotations"):
        raise DataError(f"{path}: no annotation in it, so there is nothing labeled to draw. Is it an unlabeled list?")
    doubled = [i for i, count in Counter(image["id"] for image in content["images"]).items() if count > 1]
    if doubled:
        raise DataError(
            f"{path}: these image ids stand twice: {doubled[:5]}. Their boxes would land on both sides of the split; "
            "give each image its own id."
        )


def _write_part(path: Path, part: dict[str, Any], note: str) -> Written:
    write_index(path, part)
    return Written(path, len(part["images"]), len(part["annotations"]), note)


def _num_draws(num_images: int, percent: float) -> int:
    # In this order of operations: another one rounds some percentages down to one draw less.
    return int(percent / 100.0 * num_images)


def _image_ids(content: dict[str, Any]) -> set[int | str]:
    return {image["id"] for image in content["images"]}


def _part(content: dict[str, Any], indices: set[int]) -> dict[str, Any]:
    """The index of some of the images, in file order, with their annotations."""
    images = [image for index, image in enumerate(content["images"]) if index in indices]
    ids = {image["id"] for image in images}
    annotations = [annotation for annotation in content["annotations"] if annotation["image_id"] in ids]
    return {**content, "images": images, "annotations": annotations}


def _classes_without_box(content: dict[str, Any]) -> list[str]:
    taught = {
        annotation["category_id"]
        for annotation in content["annotations"]
        if not (annotation.get("iscrowd") or annotation.get("ignore"))
    }
    names = [str(category["name"]) for category in content.get("categories", []) if category["id"] not in taught]
    if not names:
        return []
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return [f"no labeled box of {', '.join(names[:10])}{more}: try another fold or a larger percentage"]


def _as_seen_from(folder: Path, path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The index for a file in another folder, with a root and names that lead to the same images."""
    tried = image_folders(path, content, None)
    homes = [
        next((home for home in tried if (home / image["file_name"]).is_file()), None) for image in content["images"]
    ]
    counts = Counter(home for home in homes if home is not None)
    root = max(counts, key=lambda home: counts[home], default=tried[-1])
    # These are tried before the root, so another image of the same name in them would be taken for this one.
    before = (folder, folder / "images")
    images = []
    for image, home in zip(content["images"], homes, strict=True):
        name = image["file_name"]
        if home is not None and (home != root or any((other / name).is_file() for other in before)):
            name = relative_path(home / name, folder)
        images.append({**image, "file_name": name})
    info = content.get("info")
    info = {**(info if isinstance(info, dict) else {}), "root": relative_path(root, folder)}
    return {**content, "info": info, "images": images}
