"""What each process of a job has found so far, a line an image: small in memory, and there after an interruption."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os import SEEK_END
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from softdet.data.writers.found import FoundImage, from_row, to_row
from softdet.errors import RunError


class ShardWriter:
    """Appends to the file of one process; takes up what an interrupted job of the same stamp has left there.

    Args:
        path: the file.
        stamp: what the rows depend on (weights, threshold, images, the process's number among how many).

    Attributes:
        num_rows: how many images are done.
    """

    def __init__(self, path: Path, stamp: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        head = _head(stamp)
        self.num_rows, length = _whole_rows(path, head)
        self._file = path.open("r+b" if length else "wb")
        if length:
            # The last line may have been cut off.
            self._file.truncate(length)
            self._file.seek(length)
        else:
            self._file.write(head)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def found(self, place: int, image: FoundImage) -> None:
        """Add an image, by its place in the job's list; places only grow."""
        self._append({"place": place, **to_row(image)})

    def failed(self, place: int, reason: str) -> None:
        """Add an image that couldn't be read."""
        self._append({"place": place, "failure": reason})

    def flush(self) -> None:
        """Hand what was added to the system."""
        self._file.flush()

    def _append(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row).encode() + b"\n")
        self.num_rows += 1


@dataclass(frozen=True, slots=True)
class FoundImages:
    """All that a job's processes have found, in the order of its list; can be gone through again and again.

    Attributes:
        shards: the file of each process.
    """

    shards: tuple[Path, ...]

    def __iter__(self) -> Iterator[FoundImage]:
        """The images that could be read."""
        return (from_row(row) for row in self._rows() if "failure" not in row)

    def failures(self) -> Iterator[str]:
        """Why each of the others couldn't."""
        return (row["failure"] for row in self._rows() if "failure" in row)

    def _rows(self) -> Iterator[dict[str, Any]]:
        return heapq.merge(*map(_rows_of, self.shards), key=lambda row: row["place"])


def has_stamp(path: Path, stamp: dict[str, Any]) -> bool:
    """Whether a process's file is there and of a job with this stamp."""
    return _whole_rows(path, _head(stamp)) != (0, 0)


def require_shards(shards: Sequence[Path]) -> None:
    """Make sure that all processes wrote where this one can read.

    Raises:
        RunError: a file isn't there.
    """
    missing = [path for path in shards if not path.is_file()]
    if missing:
        raise RunError(
            f"{len(missing)} of {len(shards)} processes left no {missing[0]}. On several machines --out must be a "
            "folder that all of them see."
        )


def append_rows(path: Path, images: Iterable[FoundImage]) -> None:
    """Add images to a file of rows without a stamp."""
    with path.open("a+b") as file:
        if file.tell():
            # A line may have been cut when the disk was full.
            file.seek(-1, SEEK_END)
            if file.read() != b"\n":
                file.write(b"\n")
        file.writelines(
            json.dumps(to_row(replace(image, path=image.path.resolve()))).encode() + b"\n" for image in images
        )


def read_rows(path: Path) -> Iterator[FoundImage]:
    """Read what `append_rows` has added, in the same order; nothing where there is no file.

    A line that was cut when the disk was full is left out.
    """
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            for line in file:
                with suppress(json.JSONDecodeError):
                    yield from_row(json.loads(line))


def _head(stamp: dict[str, Any]) -> bytes:
    return json.dumps(stamp).encode() + b"\n"


def _rows_of(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        next(file)
        yield from map(json.loads, file)


def _whole_rows(path: Path, head: bytes) -> tuple[int, int]:
    """How many rows of the same job a file holds, and how many bytes they and the head take; (0, 0) for none."""
    if not path.is_file():
        return 0, 0
    with path.open("rb") as file:
        if file.readline() != head:
            return 0, 0
        num_rows, length = 0, len(head)
        for line in file:
            if not line.endswith(b"\n"):
                break
            num_rows, length = num_rows + 1, length + len(line)
        return num_rows, length
