"""Roboflow's versions of a picture: `cat.jpg` comes back as `cat_jpg.rf.HASH.jpg`, re-encoded, turned, mirrored."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from pathlib import Path

_VERSION = re.compile(r"(?P<name>.+)_(?P<ending>jpe?g|png|bmp|webp|tiff?)\.rf\.[^.]+", re.IGNORECASE)
_SIGNS = re.compile(r"[^0-9a-z]+")


def original_key(path: Path) -> str | None:
    """The name of the picture that a file is a version of, as `plain_key` gives it; None where it's no version."""
    match = _VERSION.fullmatch(path.stem)
    return _plain(f"{match['name']}_{match['ending']}") if match else None


def plain_key(path: Path) -> str:
    """A picture's name as its versions have it: other signs than letters and digits are lost there."""
    return _plain(path.name)


def version_keys(paths: Sequence[Path]) -> list[Hashable]:
    """For each picture what it has in common with its versions in the same folder, and with nothing else."""
    originals = [(path.parent, original_key(path)) for path in paths]
    with_versions = {each for each in originals if each[1] is not None}
    keys: list[Hashable] = []
    for path, original in zip(paths, originals, strict=True):
        own = (path.parent, plain_key(path))
        keys.append(original if original[1] is not None else own if own in with_versions else path)
    return keys


def _plain(name: str) -> str:
    return _SIGNS.sub("-", name.lower())
