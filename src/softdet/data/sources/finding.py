"""Finding an image by the name that a label file gives it, wherever the folders have been moved since."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from filecmp import cmp
from functools import cached_property
from itertools import takewhile
from os.path import commonpath
from pathlib import Path, PurePosixPath

from softdet.data.index import IMAGE_SUFFIXES
from softdet.errors import DataError


def images_below(folder: Path) -> list[Path]:
    """All images below a folder, sorted; hidden files and folders don't count."""
    return sorted(file for file in files_below(folder) if file.suffix.lower() in IMAGE_SUFFIXES)


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder, but hidden ones: macOS leaves a `._x.jpg` beside each `x.jpg` that it packs."""
    for file in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if not hidden and file.is_file():
            yield file


def tails(path: Path) -> list[Path]:
    """The ends of a path, the longest first: `a/b/c`, `b/c`, `c`."""
    return [Path(*path.parts[start:]) for start in range(len(path.parts))]


@dataclass(frozen=True, slots=True)
class _Claim:
    """An image for a name, and how well it fits: larger is closer."""

    image: Path
    closeness: tuple[int, ...]


_AT_ITS_PLACE = (sys.maxsize,)
# Of equally near folders the one for pictures: VOC's own release has masks of the same names in others.
_FOLDERS_OF_IMAGES = ("jpegimages", "images", "image", "imgs", "img")


class ImageFinder:
    """The images below a folder, by name; they are listed when a name is first not where it should be.

    An image is one name's alone. Where several would have to share it, since the others' were left behind or lie in
    another folder, it is the closest one's, and the others have none.
    """

    def __init__(self, root: Path, folders: Sequence[Path]) -> None:
        """Look in the folders first, in this order, then anywhere below the root."""
        self.root = root
        self.folders = folders

    def find(self, names: Sequence[str], near: Path) -> list[Path | None]:
        """The image of each name: at its place, else the one below the root that shares most of the path's end.

        Args:
            names: as a label file states them, with folders or without, slashes of either kind.
            near: the label file; between several images of that name the one next to it is taken.

        Raises:
            DataError: there are several that fit equally, with other pictures in them.
        """
        return _one_each([self._claim(PurePosixPath(name.replace("\\", "/")), near) for name in names])

    def find_of(self, files: Sequence[Path], stated: Sequence[str]) -> list[Path | None]:
        """The image of each label file below the root: of its name but for the ending, in the folder most like its own.

        Args:
            files: the label files.
            stated: the image's name that each states, which tells `a.png` from `a.jpg` beside it; may be empty.

        Raises:
            DataError: as `find`.
        """
        below = [PurePosixPath(file.relative_to(self.root).as_posix()) for file in files]
        return _one_each(
            [
                _nearest(self._by_stem.get(_composed(file.stem), []), own, file, name)
                for file, own, name in zip(files, below, stated, strict=True)
            ]
        )

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

    def _claim(self, wanted: PurePosixPath, near: Path) -> _Claim | None:
        for folder in self.folders:
            if (folder / wanted).is_file():
                return _Claim(folder / wanted, _AT_ITS_PLACE)
        if wanted.suffix.lower() not in IMAGE_SUFFIXES:
            # CVAT names the frames of a video without an ending.
            return _nearest(self._by_stem.get(_composed(wanted.name), []), wanted, near, wanted.name)
        return _nearest(self._by_name.get(_composed(wanted.name), []), wanted, near)


def _composed(name: str) -> str:
    # macOS writes an umlaut as a letter and its dots, the tools that label as one character.
    return unicodedata.normalize("NFC", name)


def _of_name(stated: str | None, images: Sequence[Path]) -> list[Path]:
    """Those whose name ends a stated path of any system; capital letters count where they tell them apart."""
    name = _composed(PurePosixPath((stated or "").replace("\\", "/")).name)
    exact = [image for image in images if _composed(image.name) == name]
    return exact or [image for image in images if _composed(image.name).lower() == name.lower()]


def _grouped(pairs: Iterator[tuple[str, Path]]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for key, path in pairs:
        groups.setdefault(_composed(key), []).append(path)
    return groups


def _nearest(images: list[Path], wanted: PurePosixPath, near: Path, stated: str | None = None) -> _Claim | None:
    """The image closest to where it should be; of those that differ in their endings alone the one that is stated."""

    def closeness(image: Path) -> tuple[int, ...]:
        pairs = zip(reversed(image.parts[:-1]), reversed(wanted.parts[:-1]), strict=False)
        same = len(list(takewhile(lambda pair: _composed(pair[0]) == _composed(pair[1]), pairs)))
        shared = len(Path(commonpath([image.absolute(), near.absolute()])).parts)
        return same, shared, image.parent.name.lower() in _FOLDERS_OF_IMAGES, -len(image.parts)

    if not images:
        return None
    best = max(map(closeness, images))
    closest = [image for image in images if closeness(image) == best]
    first, *others = _of_name(stated, closest) or closest
    for other in others:
        if (other.name == first.name or stated is not None) and not cmp(first, other, shallow=False):
            raise DataError(
                f"{near}: {wanted} may be {first} or {other}, and nothing says which. State the image's name in the "
                "label file with its folder and its ending, or keep one of the two below the folder that is read."
            )
    return _Claim(first, best)


def _one_each(claims: list[_Claim | None]) -> list[Path | None]:
    files = [None if claim is None else claim.image.resolve() for claim in claims]
    rivals: dict[Path | None, list[tuple[int, ...]]] = {file: [] for file in files}
    for file, claim in zip(files, claims, strict=True):
        if claim is not None:
            rivals[file].append(claim.closeness)

    def holds(file: Path | None, claim: _Claim) -> bool:
        is_closest = claim.closeness == max(rivals[file]) and rivals[file].count(claim.closeness) == 1
        return is_closest or claim.closeness == _AT_ITS_PLACE

    return [claim.image if claim and holds(file, claim) else None for file, claim in zip(files, claims, strict=True)]
