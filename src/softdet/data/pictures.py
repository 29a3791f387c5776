"""The pictures of a job: every source listed, and each picture given the name that its outputs have."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from softdet.data.index_reading import load_unlabeled
from softdet.data.sources.parts import Tally
from softdet.data.sources.unlabeled import read_unlabeled


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture to detect in.

    Attributes:
        id: its COCO id: the source's own where that is a COCO JSON, else its number from 1.
        name: a path with forward slashes that no other picture of the job has, endings aside.
        path: the file.
        size: rows and columns as a COCO JSON states them; None for a plain file.
    """

    id: int | str
    name: str
    path: Path
    size: tuple[int, int] | None = None


def list_pictures(sources: Sequence[str | Path], *, frames: Path, every: int, dropped: Tally) -> list[Picture]:
    """List the pictures of all sources, each file once.

    Args:
        sources: images, folders, patterns, list files, videos (see `read_unlabeled`), or COCO JSON files.
        frames: where the frames of videos are written.
        every: of a video's frames, each so-many-th is taken.
        dropped: counts listed pictures that aren't there.

    Raises:
        DataError: a source doesn't exist or holds no picture.
    """
    if len(sources) == 1 and str(sources[0]).lower().endswith(".json") and Path(sources[0]).is_file():
        records = load_unlabeled(Path(sources[0])).images
        names = _names([record.path for record in records], _common_folder([record.path for record in records]))
        return [Picture(r.id, name, r.path, r.size) for r, name in zip(records, names, strict=True)]
    found: list[tuple[Path, str]] = []
    for source in sources:
        paths = read_unlabeled(source, frames, every, dropped)
        folder = Path(source) if Path(source).is_dir() else _common_folder(paths)
        found += [(path, _name(path, frames if path.is_relative_to(frames) else folder)) for path in paths]
    named = zip(dict(found), unique_names(dict(found).values()), strict=True)
    return [Picture(number, name, path) for number, (path, name) in enumerate(named, 1)]


def unique_names(names: Iterable[str]) -> Iterator[str]:
    """Give each name an end of its own where another has it already, endings aside: labels are called as their image.

    `a.jpg`, `a.png` become `a.jpg`, `a_2.png`.
    """
    taken: set[str] = set()
    for name in names:
        path, number = PurePosixPath(name), 1
        # File systems of phones and Windows don't tell capital letters apart.
        while (stem := str(path.with_suffix("")).lower()) in taken:
            number += 1
            path = PurePosixPath(name).with_stem(f"{PurePosixPath(name).stem}_{number}")
        taken.add(stem)
        yield str(path)


def _names(paths: Sequence[Path], folder: Path) -> Iterator[str]:
    return unique_names(_name(path, folder) for path in paths)


def _name(path: Path, folder: Path) -> str:
    below = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    # Outputs are written by this name, and never outside their folder.
    return path.name if ".." in below.parts else below.as_posix()


def _common_folder(paths: Sequence[Path]) -> Path:
    parents = {path.parent for path in paths}
    try:
        return Path(os.path.commonpath(list(parents)))
    except ValueError:
        # Absolute and relative paths, or two drives, have nothing in common.
        return Path()
