"""Roboflow's versions of a picture: `cat.jpg` comes back as `cat_jpg.rf.HASH.jpg`, re-encoded, turned, mirrored."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

_VERSION = re.compile(r"(?P<name>.+)_(?P<ending>jpe?g|png|bmp|webp|tiff?)\.rf\.[^.]+", re.IGNORECASE)
# Of more with one name the name is a common one, such as `image.jpg`.
_MOST_VERSIONS = 10
# Other signs than letters and digits are lost on the way.
_SIGNS = re.compile(r"[\W_]+")


def version_keys(paths: Sequence[Path]) -> list[Hashable]:
    """For each picture what it has in common with its versions in the same folder, and with nothing else."""
    with_versions = {(path.parent, _key(path)) for path in paths if _is_version(path)}
    return [key if (key := (path.parent, _key(path))) in with_versions else path for path in paths]


def versions_among(images: Sequence[Path], pictures: Sequence[Path], known: Iterable[Path]) -> set[Path]:
    """Those of some images that are, by their names, one picture with one of others, either or both as its version.

    Args:
        images: the ones.
        pictures: the others.
        known: all pictures; a name that several of them have, in folders of their own, tells nothing.
    """
    shared = Counter(_key(path) for path in {path.resolve() for path in known} if not _is_version(path))
    plain = {_key(picture) for picture in pictures if not _is_version(picture)}
    versions = Counter(_key(picture) for picture in pictures if _is_version(picture))

    def is_one(image: Path) -> bool:
        key, is_version = _key(image), _is_version(image)
        by_versions = versions[key] > 0 and (not is_version or versions[key] <= _MOST_VERSIONS)
        return shared[key] <= 1 and (by_versions or (is_version and key in plain))

    return {image for image in images if is_one(image)}


def _is_version(path: Path) -> bool:
    return _VERSION.fullmatch(path.stem) is not None


def _key(path: Path) -> str:
    match = _VERSION.fullmatch(path.stem)
    name = f"{match['name']}_{match['ending']}" if match else path.name
    return _SIGNS.sub("-", name.lower())
