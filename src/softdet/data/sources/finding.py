"""Finding an image by the name that a label file gives it, wherever the folders have been moved since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from os.path import commonpath
from pathlib import Path, PurePosixPath

from softdet.data.index import IMAGE_SUFFIXES


def images_below(folder: Path) -> list[Path]:
    """All images below a folder, sorted; hidden files and folders don't count."""
    return sorted(file for file in files_below(folder) if file.suffix.lower() in IMAGE_SUFFIXES)


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder, but hidden ones: macOS leaves a `._x.jpg` beside each `x.jpg` that it packs."""
    for file in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if not hidden and file.is_file():
            yield file


class ImageFinder:
    """The images below a folder, by name; they are listed when a name is first not where it should be."""

    def __init__(self, root: Path, folders: Sequence[Path]) -> None:
        """Look in the folders first, in this order, then anywhere below the root."""
        self.root = root
        self.folders = folders

    def find(self, name: str, near: Path) -> Path | None:
        """The image of that name: at its place, else the one below the root that shares most of the path's end.

        Args:
            name: as a label file states it, with folders or without, slashes of either kind.
            near: the label file; between several images of that name the one next to it is taken.
        """
        wanted = PurePosixPath(name.replace("\\", "/"))
        for folder in self.folders:
            if (folder / wanted).is_file():
                return folder / wanted
        return _nearest(self._by_name.get(wanted.name, []), wanted, near)

    def find_stem(self, stem: str, near: Path) -> Path | None:
        """The image with that name but for its ending, nearest to the label file."""
        return _nearest(self._by_stem.get(stem, []), PurePosixPath(stem), near)

    @cached_property
    def images(self) -> list[Path]:
        """All images below the root."""
        return images_below(self.root)

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        return _grouped((image.name, image) for image in self.images)

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        return _grouped((image.stem, image) for image in self.images)


def _grouped(pairs: Iterator[tuple[str, Path]]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for key, path in pairs:
        groups.setdefault(key, []).append(path)
    return groups


def _nearest(images: list[Path], wanted: PurePosixPath, near: Path) -> Path | None:
    def closeness(image: Path) -> tuple[int, int, int]:
        pairs = zip(reversed(image.parts[:-1]), reversed(wanted.parts[:-1]), strict=False)
        same = 0
        for one, other in pairs:
            if one != other:
                break
            same += 1
        shared = len(Path(commonpath([image.absolute(), near.absolute()])).parts)
        return same, shared, -len(image.parts)

    return max(images, key=closeness, default=None)
