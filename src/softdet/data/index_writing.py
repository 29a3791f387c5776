"""Writing an index: whole or not at all, with a root that holds wherever the folders are moved together."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softdet.errors import DataError
from softdet.files import whole_file


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written, and what to tell about it.

    Attributes:
        path: the file.
        num_images: how many images it lists.
        num_boxes: how many annotations it holds, crowds included.
        note: plain sentences for the user; may be empty.
    """

    path: Path
    num_images: int
    num_boxes: int
    note: str


def write_index(path: Path, content: dict[str, Any]) -> None:
    """Write a COCO JSON index in one piece; its folder is made where it's missing.

    Args:
        path: the file, replaced where it exists.
        content: the index.

    Raises:
        DataError: the file can't be written.

    Law: whatever interrupts it, the path holds the old content or the new one, never a part of it.
    """
    write_whole(path, json.dumps(content, separators=(",", ":")))


def write_whole(path: Path, text: str) -> None:
    """Write a text file in one piece, as `write_index` does."""
    try:
        with whole_file(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            # Or a power cut after the move could leave the new name without its bytes.
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(
            f"{path} can't be written ({error.strerror or error}). Is the disk full, or is the folder not yours to "
            "write in? Choose another one with --out."
        ) from error


def relative_path(target: Path, folder: Path) -> str:
    """The way from a folder to a file or folder, as an index states it.

    Args:
        target: where to go.
        folder: where to start; neither has to exist.

    Returns:
        A relative path with forward slashes; an absolute one only where there is no way (another drive on Windows).
    """
    # The start is resolved because the system walks `..` from where a link leads. The target keeps its own name, so
    # that a link `data/coco` stays the link it is when it's pointed elsewhere.
    absolute = target.absolute()
    absolute = absolute.parent.resolve() / absolute.name
    try:
        return Path(os.path.relpath(absolute, folder.resolve())).as_posix()
    except ValueError:
        return absolute.as_posix()
