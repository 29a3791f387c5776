"""Facts of many image files: side by side, and only of those that aren't known yet."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from softdet.doctor.cache import FactCache, Stamp
from softdet.doctor.facts import Facts, examine_file

_AT_ONCE = 512
MISSING: Stamp = (0, -1)

Progress = Callable[[int, int], None]


def stamps_of(paths: Sequence[Path]) -> list[Stamp]:
    """When each file was changed and how long it is; a length of -1 where there is none."""
    return [_stamp(path) for path in paths]


def gather(
    paths: Sequence[Path], stamps: Sequence[Stamp], cache: FactCache | None = None, progress: Progress | None = None
) -> list[Facts]:
    """Examine files, with as many threads as there are processors: decoding and hashing run beside each other.

    Args:
        paths: the files.
        stamps: of each, from `stamps_of`.
        cache: of earlier runs; what is learned is kept there now and then, so that an interruption costs little.
        progress: told how many of how many files are done.

    Returns:
        The facts of each file.
    """
    facts: list[Facts | None] = [Facts("missing") if stamp == MISSING else None for stamp in stamps]
    for position, known in (cache.load(paths, stamps) if cache else {}).items():
        facts[position] = known
    open_ = [position for position, known in enumerate(facts) if known is None]
    done = len(paths) - len(open_)
    # The filter holds for all threads, so it is set once, around them: Pillow warns of large and odd pictures.
    with warnings.catch_warnings(), ThreadPoolExecutor(_num_threads()) as pool:
        warnings.simplefilter("ignore")
        for some in _batches(open_):
            for position, examined in zip(some, pool.map(examine_file, [paths[i] for i in some]), strict=True):
                facts[position] = examined
                done += 1
                if progress:
                    progress(done, len(paths))
            if cache:
                # Without a digest it wasn't even opened, which another minute may change.
                learned = ((paths[i], stamps[i], facts[i]) for i in some)
                cache.save((path, stamp, known) for path, stamp, known in learned if known and known.digest)
    return [known or Facts("missing") for known in facts]


def _batches(positions: Sequence[int]) -> Iterator[Sequence[int]]:
    return (positions[start : start + _AT_ONCE] for start in range(0, len(positions), _AT_ONCE))


def _num_threads() -> int:
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return MISSING
    return status.st_mtime_ns, status.st_size
