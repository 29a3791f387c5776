"""Setting images aside for validation and testing: every class on both sides where that can be, groups kept whole."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softdet.errors import DataError


def grouped(names: Sequence[str], pattern: str | None) -> list[int]:
    """Number the groups that images belong to, by their file names.

    Args:
        names: paths with forward slashes.
        pattern: searched in each path; its first group, else all that it matches, names the image's group. None: each
            image is a group of its own; so is one in which nothing matches.

    Returns:
        A number from 0 for each image, in the order of first appearance.

    Raises:
        DataError: the pattern is no regular expression, matches no image, or puts all into one group.
    """
    if pattern is None:
        return list(range(len(names)))
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DataError(f"--group-by {pattern!r} is no regular expression ({error})") from error
    keys = []
    num_matched = 0
    for name in names:
        match = expression.search(name)
        num_matched += match is not None
        keys.append(("group", match.group(1 if expression.groups else 0)) if match else ("image", name))
    if not num_matched:
        raise DataError(f"--group-by {pattern!r} matches none of {len(names)} images, such as {names[0]}")
    if len(set(keys)) == 1:
        raise DataError(
            f"--group-by {pattern!r} puts all {len(names)} images into one group, {keys[0][1]!r}, so nothing can be "
            "set aside. Give a finer pattern, or name other images with --valid."
        )
    number: dict[tuple[str, str | Any], int] = {}
    return [number.setdefault(key, len(number)) for key in keys]


def joined(groups: Sequence[int], keys: Sequence[Hashable]) -> list[int]:
    """Put groups together that have images of one key.

    Args:
        groups: (N,) of images, see `grouped`.
        keys: (N,) what only copies of one picture have in common.

    Returns:
        (N,) numbers from 0 in the order of first appearance; where no key comes twice in two groups, those given.
    """
    towards = list(range(max(groups, default=-1) + 1))

    def top(group: int) -> int:
        while towards[group] != group:
            group = towards[group]
        return group

    first: dict[Hashable, int] = {}
    for group, key in zip(groups, keys, strict=True):
        towards[top(group)] = top(first.setdefault(key, group))
    number: dict[int, int] = {}
    return [number.setdefault(top(group), len(number)) for group in groups]


def stratified(labels: NDArray[np.bool_], groups: Sequence[int], shares: Sequence[float], seed: int) -> list[list[int]]:
    """Share images out so that every side has its part of every class, rare classes first.

    Iterative stratification (Sechidis et al. 2011) over groups: the rarest class that is left is dealt out first, each
    group of it to the side that still wants most of that class.

    Args:
        labels: (N, K), whether an image holds a class.
        groups: (N,) a number from 0; images of one stay together.
        shares: of the images, a side each, the largest first; they sum to 1.
        seed: other numbers deal otherwise.

    Returns:
        Indices of images, sorted, a list for each side. Laws: each image is on one side, each side has one at least if
        there are as many groups; a class of as many groups as sides is on every side; a function of the arguments.
    """
    rng = np.random.default_rng(seed)
    num_groups, num_sides = max(groups) + 1, len(shares)
    # Images without a box are a class of their own here, as they must be on every side too.
    held = np.concatenate([labels, ~labels.any(1, keepdims=True)], axis=1)
    counts = np.zeros((num_groups, held.shape[1]), int)
    np.add.at(counts, np.asarray(groups), held)
    sizes = np.bincount(np.asarray(groups), minlength=num_groups)
    in_groups = (counts > 0).sum(0)

    wanted = np.asarray(shares)[:, None] * counts.sum(0)
    for side in range(1, num_sides):
        # A rare class gives one to each side as long as training keeps one.
        wanted[side] = np.where(in_groups > side, np.maximum(wanted[side], 1.0), 0.0)
    wanted[0] = counts.sum(0) - wanted[1:].sum(0)
    wanted_sizes = np.maximum(np.asarray(shares) * len(groups), 1.0)

    held_by = np.zeros_like(wanted)
    side_of = np.full(num_groups, -1)
    order = rng.permutation(num_groups)
    # Large groups first: what is left over is then small.
    order = order[np.argsort(-sizes[order], kind="stable")]
    while (side_of < 0).any():
        left = side_of < 0
        remaining = (counts[left] > 0).sum(0)
        rarest = int(np.where(remaining > 0, remaining, num_groups + 1).argmin())
        for group in order[left[order] & (counts[order, rarest] > 0)]:
            side = _neediest(wanted[:, rarest], wanted_sizes, held_by[:, rarest] == 0, rng)
            held_by[side] += counts[group]
            side_of[group] = side
            wanted[side] -= counts[group]
            wanted_sizes[side] -= sizes[group]
    return [[index for index, group in enumerate(groups) if side_of[group] == side] for side in range(num_sides)]


def _neediest(
    wanted: NDArray[np.float64], wanted_sizes: NDArray[np.float64], lacks: NDArray[np.bool_], rng: np.random.Generator
) -> int:
    # A side that has its number of images takes more only of a class that it has none of.
    is_open = (wanted_sizes > 0) | (lacks & (wanted >= 1))
    if is_open.any():
        wanted = np.where(is_open, wanted, -np.inf)
    best = np.flatnonzero(wanted >= wanted.max() - 1e-9)
    if len(best) > 1:
        best = best[wanted_sizes[best] >= wanted_sizes[best].max() - 1e-9]
    return int(rng.choice(best))
