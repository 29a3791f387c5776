"""Images that stand in two lists, found by file and by content."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

from softdet.data.sources.parts import Split, Tally
from softdet.errors import DataError
from softdet.files import digest

# An image in two lists stays in the one that must not be trained on.
_ORDER: tuple[Split, ...] = ("test", "valid", "train")
_NAMES: dict[Split, str] = {"train": "training", "valid": "validation", "test": "test"}
_END = 4096


def apart(parts: dict[Split, dict[str, Any]], dropped: Tally, noted: Tally) -> dict[Split, dict[str, Any]]:
    """Leave each picture in one split: a test image isn't trained on, whatever the source says.

    A split that holds all of a smaller one gives that up: else nothing would be left of it.

    Args:
        parts: COCO content by split, with absolute file names.
        dropped: counts the images that are taken out.
        noted: counts a split that is no other than another one.

    Raises:
        DataError: all training images are validation or test images too.
    """
    whole_of: tuple[tuple[Split, Split], ...] = (("valid", "train"), ("test", "train"), ("test", "valid"))
    key_of = content_keys(Path(image["file_name"]) for content in parts.values() for image in content["images"])
    parts = dict(parts)

    def keys(split: Split) -> set[Hashable]:
        return {key_of(Path(image["file_name"])) for image in parts[split]["images"]}

    for split, smaller in whole_of:
        if split in parts and smaller in parts and keys(split) >= keys(smaller) > set():
            named = f"{_NAMES[smaller]} images"
            if keys(split) == keys(smaller):
                noted.add(
                    f"{split} images that are the {named} are no {split} images",
                    str(parts[split]["images"][0]["file_name"]),
                )
                del parts[split]
            else:
                parts[split] = _less(
                    parts[split], keys(smaller), key_of, f"{split} images that are {named} too", dropped
                )
    seen: set[Hashable] = set()
    result: dict[Split, dict[str, Any]] = {}
    for split in _ORDER:
        if split in parts:
            why = f"{split} images that are also validation or test images"
            result[split] = _less(parts[split], seen, key_of, why, dropped)
            seen |= keys(split)
    if parts["train"]["images"] and not result["train"]["images"]:
        raise DataError(
            f"all {len(parts['train']['images'])} training images are validation or test images too, the first: "
            f"{parts['train']['images'][0]['file_name']}. Take those that are to be trained on out of the other lists."
        )
    return result


def without(content: dict[str, Any], ids: set[Any]) -> dict[str, Any]:
    """COCO content less some images and their annotations."""
    return {
        **content,
        "images": [image for image in content["images"] if image["id"] not in ids],
        "annotations": [each for each in content["annotations"] if each["image_id"] not in ids],
    }


def unseen(images: Sequence[Path], known: Sequence[Path], dropped: Tally) -> list[Path]:
    """The images that aren't among the known ones, by file or by content.

    Args:
        images: unlabeled images.
        known: labeled, validation and test images.
        dropped: counts the images that are.
    """
    key_of = content_keys([*images, *known])
    files, keys = {path.resolve() for path in known}, {key_of(path) for path in known}
    left = []
    for image in images:
        if image.resolve() in files:
            dropped.add("unlabeled images that are labeled, validation or test images", image.name)
        elif key_of(image) in keys:
            dropped.add("unlabeled images that are copies of labeled, validation or test images", image.name)
        else:
            left.append(image)
    return left


def content_keys(files: Iterable[Path]) -> Callable[[Path], Hashable]:
    """What two files have in common if they hold the same bytes, and else not.

    Few are read whole: only those can be the same that have the same length and the same end. A file that isn't there
    is like itself alone.
    """
    resolved = {file: file.resolve() for file in set(files)}
    keys: dict[Path, tuple[Hashable, ...]] = {file: () for file in set(resolved.values()) if os.access(file, os.R_OK)}
    looks: tuple[Callable[[Path], Hashable], ...] = (lambda file: file.stat().st_size, _end_of, digest)
    for look in looks:
        shared = Counter(keys.values())
        keys = {file: (*key, look(file)) if shared[key] > 1 else key for file, key in keys.items()}
    # A lone file was never looked at: its own name tells it from those that aren't there.
    return lambda file: keys.get(resolved[file]) or resolved[file]


def _end_of(file: Path) -> bytes:
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - _END))
        return opened.read()


def _less(
    content: dict[str, Any], taken: set[Hashable], key_of: Callable[[Path], Hashable], why: str, dropped: Tally
) -> dict[str, Any]:
    out = [image for image in content["images"] if key_of(Path(image["file_name"])) in taken]
    for image in out:
        dropped.add(why, Path(image["file_name"]).name)
    return without(content, {image["id"] for image in out})
