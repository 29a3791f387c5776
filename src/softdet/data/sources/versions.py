"""Roboflow's versions of a picture: `cat.jpg` comes back as `cat_jpg.rf.HASH.jpg`, re-encoded, turned, mirrored."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

_VERSION = re.compile(r"(?P<name>.+)_(?P<ending>jpe?g|png|bmp|webp|tiff?)\.rf\.[^.]+", re.IGNORECASE)
# Other signs than letters and digits are lost on the way.
_SIGNS = re.compile(r"[\W_]+")


def version_keys(paths: Sequence[Path]) -> list[Hashable]:
    """For each picture what it has in common with its versions in the same folder, and with nothing else."""
    with_versions = {(path.parent, _key(path)) for path in paths if _is_version(path)}
    return [key if (key := (path.parent, _key(path))) in with_versions else path for path in paths]


def pairs_of_versions(
    images: Iterable[Path], pictures: Iterable[Path], known: Iterable[Path]
) -> list[tuple[Path, Path]]:
    """Which images and pictures are, by their names, one picture, one of the two or both as versions of it.

    Args:
        images: the ones.
        pictures: the others.
        known: all pictures; a name that several of them have, in folders of their own, tells nothing.
    """
    shared = Counter(_key(path) for path in {path.resolve() for path in known} if not _is_version(path))
    by_key: dict[str, list[Path]] = {}
    for picture in pictures:
        by_key.setdefault(_key(picture), []).append(picture)
    return [
        (image, picture)
        for image in images
        if shared[_key(image)] <= 1
        for picture in by_key.get(_key(image), ())
        if _is_version(image) or _is_version(picture)
    ]


def _is_version(path: Path) -> bool:
    return _VERSION.fullmatch(path.stem) is not None


def _key(path: Path) -> str:
    match = _VERSION.fullmatch(path.stem)
    name = f"{match['name']}_{match['ending']}" if match else path.name
    return _SIGNS.sub("-", name.lower())
