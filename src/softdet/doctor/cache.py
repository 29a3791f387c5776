"""Facts of image files, kept between runs: a second look at 100,000 images takes seconds."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from softdet.doctor.facts import Facts

# The number changes when facts mean something else.
_FILE = "images-2.sqlite"
_COLUMNS = (
    "status, reason, format, mode, height, width, orientation, digest, hash, thumb, brightness, contrast, colourfulness"
)
_TABLE = f"CREATE TABLE IF NOT EXISTS facts (path BLOB PRIMARY KEY, mtime INTEGER, bytes INTEGER, {_COLUMNS})"
_SIGN = 1 << 63

# (modification time in ns, length in bytes): as long as they stay, so do the facts.
Stamp = tuple[int, int]


def cache_folder() -> Path:
    """Where the cache lies: below XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "softdet"


class FactCache:
    """Facts by path and stamp, in one file. Where that can't be used it holds nothing, and nobody minds."""

    def __init__(self, folder: Path) -> None:
        """Open the file in a folder, which is made where it's missing."""
        self._base: sqlite3.Connection | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(folder / _FILE)
            self._base.execute(_TABLE)
        except (OSError, sqlite3.Error):
            self.close()

    def load(self, paths: Sequence[Path], stamps: Sequence[Stamp]) -> dict[int, Facts]:
        """The facts that are known and still hold, by position."""
        if self._base is None:
            return {}
        known = {}
        query = f"SELECT {_COLUMNS} FROM facts WHERE path = ? AND mtime = ? AND bytes = ?"
        try:
            for position, (path, stamp) in enumerate(zip(paths, stamps, strict=True)):
                row = self._base.execute(query, (os.fsencode(path), *stamp)).fetchone()
                if row is not None:
                    known[position] = _from_row(row)
        except sqlite3.Error:
            self.close()
        return known

    def save(self, entries: Iterable[tuple[Path, Stamp, Facts]]) -> None:
        """Keep facts."""
        if self._base is None:
            return
        rows = [(os.fsencode(path), *stamp, *_to_row(facts)) for path, stamp, facts in entries]
        marks = ", ".join("?" * (3 + len(_COLUMNS.split(","))))
        try:
            with self._base:
                self._base.executemany(f"INSERT OR REPLACE INTO facts VALUES ({marks})", rows)
        except sqlite3.Error:
            self.close()

    def close(self) -> None:
        """Let go of the file; from then on the cache holds nothing."""
        if self._base is not None:
            self._base.close()
            self._base = None


def _to_row(facts: Facts) -> tuple[object, ...]:
    # SQLite's whole numbers have a sign.
    number = None if facts.hash is None else facts.hash - _SIGN
    seen = (facts.digest, number, facts.thumb, facts.brightness, facts.contrast, facts.colourfulness)
    return (facts.status, facts.reason, facts.format, facts.mode, *facts.size, facts.orientation, *seen)


def _from_row(row: tuple[Any, ...]) -> Facts:
    status, reason, kind, mode, height, width, orientation, digest, number, *seen = row
    code = None if number is None else number + _SIGN
    return Facts(status, reason, kind, mode, (height, width), orientation, digest, code, *seen)
