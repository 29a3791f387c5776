"""Images that stand in two lists, found by file and by content."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from softdet.data.sources.parts import Split, Tally
from softdet.files import digest

# An image in two lists stays in the one that must not be trained on.
_ORDER: tuple[Split, ...] = ("test", "valid", "train")


def apart(parts: dict[Split, dict[str, Any]], dropped: Tally, noted: Tally) -> dict[Split, dict[str, Any]]:
    """Leave each image file in one split: a test image isn't trained on, whatever the source says.

    Args:
        parts: COCO content by split, with absolute file names.
        dropped: counts the images that are taken out.
        noted: counts a split that is no other than the training images.
    """
    files = {split: {_resolved(image) for image in content["images"]} for split, content in parts.items()}
    same: list[Split] = [split for split in parts if split != "train" and files[split] >= files.get("train", set())]
    for split in same:
        noted.add(
            f"{split} images that are the training images are no {split} images",
            str(parts[split]["images"][0]["file_name"]),
        )
    seen: set[Path] = set()
    result: dict[Split, dict[str, Any]] = {}
    for split in _ORDER:
        if split not in parts or split in same:
            continue
        content = parts[split]
        taken_out = [image for image in content["images"] if _resolved(image) in seen]
        for image in taken_out:
            dropped.add(f"{split} images that are also validation or test images", Path(image["file_name"]).name)
        seen |= files[split]
        result[split] = without(content, {image["id"] for image in taken_out})
    return result


def without(content: dict[str, Any], ids: set[Any]) -> dict[str, Any]:
    """COCO content less some images and their annotations."""
    return {
        **content,
        "images": [image for image in content["images"] if image["id"] not in ids],
        "annotations": [each for each in content["annotations"] if each["image_id"] not in ids],
    }


def unseen(images: Iterable[Path], known: Sequence[Path], dropped: Tally) -> list[Path]:
    """The images that aren't among the known ones, by file or by content.

    Args:
        images: unlabeled images.
        known: labeled, validation and test images.
        dropped: counts the images that are.
    """
    files = {path.resolve() for path in known}
    # Only files of the same length can be the same, so few of 100,000 are read.
    by_length: dict[int, list[Path]] = {}
    for path in files:
        by_length.setdefault(path.stat().st_size, []).append(path)
    digests: dict[int, set[str]] = {}
    left = []
    for image in images:
        length = image.stat().st_size if image.is_file() else -1
        if image.resolve() in files:
            dropped.add("unlabeled images that are labeled, validation or test images", image.name)
            continue
        if length in by_length:
            if length not in digests:
                digests[length] = {digest(path) for path in by_length[length]}
            if digest(image) in digests[length]:
                dropped.add("unlabeled images that are copies of labeled, validation or test images", image.name)
                continue
        left.append(image)
    return left


def _resolved(image: dict[str, Any]) -> Path:
    return Path(image["file_name"]).resolve()
