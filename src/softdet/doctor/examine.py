"""All of doctor's checks over the images of a training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from softdet.doctor.boxes import check_boxes
from softdet.doctor.cache import FactCache, Stamp
from softdet.doctor.duplicates import check_duplicates
from softdet.doctor.facts import Facts
from softdet.doctor.files import check_files
from softdet.doctor.findings import Place, Report, found, ordered
from softdet.doctor.gathering import MISSING, Progress, gather, stamps_of
from softdet.doctor.labels import check_classes
from softdet.doctor.pools import POOL_NAMES, Pool
from softdet.doctor.reach import Canvas, check_reach
from softdet.doctor.reading import open_labeled, open_unlabeled
from softdet.doctor.shift import check_shift

_SAMPLE = 300
_MOST_SUSPECTS = 2000


def examine(
    labeled: Path,
    unlabeled: str | Path | None = None,
    valid: Path | None = None,
    test: Path | None = None,
    *,
    canvas: Canvas | None = None,
    root: Path | None = None,
    class_names: Sequence[str] | None = None,
    quick: bool = False,
    cache: FactCache | None = None,
    progress: Progress | None = None,
) -> Report:
    """Look for mistakes in the images and labels of a training.

    Args:
        labeled: a labeled set of any format that `softdet prepare` reads; validation and test images that it brings
            count as such, unless others are given.
        unlabeled: a folder, a pattern, a list file or a COCO JSON.
        valid: a labeled set.
        test: a labeled set.
        canvas: how images and anchors meet in training; None leaves out the question which objects are too small.
        root: the images' folder for COCO JSON files, tried last.
        class_names: the names by number, where a set itself has none; None: those of the labeled set.
        quick: open at most 300 images of each pool, and those that may be copies across two pools: for the start of a
            training. All lists and boxes are looked at nevertheless, and whether each file is there.
        cache: of what is known about files.
        progress: told how many of how many files are done.

    Returns:
        The report.

    Raises:
        DataError: a source can't be read at all.
    """
    pools, findings = open_labeled(labeled, "labeled", root, class_names, unlabeled)
    names = class_names or [name for pool in pools[:1] if pool.labels for name in pool.labels.names.values()]
    for name, path in (("valid", valid), ("test", test)):
        if path is not None:
            opened, told = open_labeled(path, "valid" if name == "valid" else "test", root, names)
            pools = [*(pool for pool in pools if pool.name != name), *opened]
            findings += told
    if unlabeled is not None:
        pool, told = open_unlabeled(unlabeled, root)
        # Of folders `train` makes lists that share no file; lists are taken as they are.
        left = _less(pool, pools) if labeled.is_dir() else pool
        if not left.pictures:
            told += found(
                "error",
                "nothing-unlabeled",
                [Place(str(unlabeled))],
                f"unlabeled: all of its {len(pool.pictures)} images are labeled, validation or test images too",
                "Name a folder with other images, or train on the labeled ones alone (--supervised).",
            )
        pools.append(left)
        findings += told
    pools.sort(key=lambda pool: POOL_NAMES.index(pool.name))
    facts = _gather(pools, quick, cache, progress)
    findings += check_classes(pools)
    for pool, known in zip(pools, facts, strict=True):
        sizes = _sizes(pool, known)
        findings += check_files(pool, known) + check_boxes(pool, sizes)
        if canvas is not None and pool.name == "labeled":
            findings += check_reach(pool, sizes, canvas)
    findings += check_duplicates(pools, facts) + check_shift(pools, facts)
    is_sample = any(len(known) < len(pool.pictures) for pool, known in zip(pools, facts, strict=True))
    return Report(ordered(findings), {pool.name: len(pool.pictures) for pool in pools}, is_sample)


def _less(pool: Pool, others: Sequence[Pool]) -> Pool:
    taken = {picture.path.resolve() for other in others for picture in other.pictures}
    return replace(pool, pictures=tuple(each for each in pool.pictures if each.path.resolve() not in taken))


def _gather(
    pools: list[Pool], quick: bool, cache: FactCache | None, progress: Progress | None
) -> list[dict[int, Facts]]:
    """Facts of each pool's pictures, by position."""
    paths = [[picture.path for picture in pool.pictures] for pool in pools]
    stamps = [stamps_of(each) for each in paths]
    chosen = _sample(stamps) if quick else [list(range(len(each))) for each in paths]
    flat = [(number, position) for number, positions in enumerate(chosen) for position in positions]
    known = gather([paths[n][p] for n, p in flat], [stamps[n][p] for n, p in flat], cache, progress)
    facts: list[dict[int, Facts]] = [{} for _ in pools]
    for (number, position), each in zip(flat, known, strict=True):
        facts[number][position] = each
    return facts


def _sample(stamps: list[list[Stamp]]) -> list[list[int]]:
    """An even sample of each pool, missing files, and those as long as one of another pool: copies are among these."""
    pools_of = Counter(length for each in stamps for length in {length for _, length in each})
    suspects = [
        [position for position, (_, length) in enumerate(each) if length == 0 or (length > 0 and pools_of[length] > 1)]
        for each in stamps
    ]
    chosen = []
    for each, own in zip(stamps, suspects, strict=True):
        sample = np.linspace(0, len(each) - 1, min(_SAMPLE, len(each))).round().astype(int).tolist()
        missing = [position for position, stamp in enumerate(each) if stamp == MISSING]
        chosen.append(sorted({*sample, *missing, *own[:_MOST_SUSPECTS]}))
    return chosen


def _sizes(pool: Pool, facts: dict[int, Facts]) -> NDArray[np.float64]:
    """(P, 2) rows and columns of each picture: as its list states, else as its file has; NaN where neither is known."""
    sizes = np.full((len(pool.pictures), 2), np.nan)
    for position, picture in enumerate(pool.pictures):
        known = facts.get(position)
        if picture.size is not None:
            sizes[position] = picture.size
        elif known is not None and known.size[0]:
            sizes[position] = known.upright_size
    return sizes
