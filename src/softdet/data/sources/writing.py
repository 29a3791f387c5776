"""Writing the lists of a set: names that lead to the images from where the lists are, nothing overwritten unasked."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from filecmp import cmp
from os.path import commonpath
from pathlib import Path
from typing import Any

from softdet.data.index_reading import load_json
from softdet.data.index_writing import relative_path, write_index
from softdet.errors import DataError
from softdet.files import whole_file


def write_lists(
    lists: Mapping[str, dict[str, Any]], out: Path, *, copy: bool, overwrite: bool, never: Collection[Path]
) -> dict[str, Path]:
    """Write lists of images into a folder.

    Args:
        lists: COCO contents with absolute file names, by what the lists are called.
        out: the folder, made where it's missing.
        copy: copy the images into `out/images/NAME` and lead there.
        overwrite: replace lists of other content.
        never: resolved files that aren't replaced, since they were read.

    Returns:
        The files that were written, by name. Law: a list that is already there as it would be written is no obstacle.

    Raises:
        DataError: a list of other content is there, or a file can't be written. No list is written in the first case.
    """
    paths = {name: out / f"{name}.json" for name in lists}
    targets = {name: _targets(content, out, out / "images" / name) if copy else {} for name, content in lists.items()}
    contents = {name: _as_seen_from(out, content, targets[name]) for name, content in lists.items()}
    for name, path in paths.items():
        if path.is_file():
            _check_replaceable(path, contents[name], overwrite=overwrite and path.resolve() not in never)
    for wanted in targets.values():
        _copy(wanted)
    for name, path in paths.items():
        write_index(path, contents[name])
    return paths


def _as_seen_from(out: Path, content: dict[str, Any], targets: Mapping[str, Path]) -> dict[str, Any]:
    images = [
        {**image, "file_name": relative_path(targets.get(image["file_name"], Path(image["file_name"])), out)}
        for image in content["images"]
    ]
    return {**content, "images": images}


def _check_replaceable(path: Path, content: dict[str, Any], *, overwrite: bool) -> None:
    try:
        same = load_json(path) == content
    except DataError:
        same = False
    if not (same or overwrite):
        raise DataError(
            f"{path} is already there with other content. Choose another folder with --out, or replace it with "
            "--overwrite (never a file that is read here)."
        )


def _targets(content: dict[str, Any], out: Path, folder: Path) -> dict[str, Path]:
    """Where to copy each file: below the folder, by the way from the one that holds them all."""
    files = {image["file_name"]: Path(image["file_name"]).absolute() for image in content["images"]}
    # Frames of videos are written there in the first place.
    files = {name: path for name, path in files.items() if out.absolute() not in path.parents}
    if not files:
        return {}
    base = Path(commonpath([path.parent for path in files.values()]))
    return {name: folder / path.relative_to(base) for name, path in files.items()}


def _copy(targets: Mapping[str, Path]) -> None:
    for name, target in targets.items():
        source = Path(name)
        if target.is_file() and cmp(source, target, shallow=False):
            continue
        try:
            with whole_file(target) as draft:
                shutil.copy2(source, draft)
        except OSError as error:
            raise DataError(f"{source} can't be copied to {target} ({error.strerror}). Is the disk full?") from error
