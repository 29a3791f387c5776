"""Which of many pictures look alike, in seconds for 100,000 of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# Measured on five sets (docs/decisions.md): copies differ in up to 6 of the 64 bits, other pictures in more than 8.
MOST_BITS = 6
_LEAST_CORRELATION = 0.9
# By the pigeonhole principle two hashes that differ in 6 bits agree on one of 7 bands.
_NUM_BANDS = MOST_BITS + 1
_AT_ONCE = 1 << 18
_PAIRS_AT_ONCE = 1 << 14
_COARSE = 5

Ints = NDArray[np.int64]


def near_twins(hashes: NDArray[np.uint64], thumbs: NDArray[np.uint8], pool: Ints, num_pools: int) -> Ints:
    """Find, for each picture, one in each pool that looks like it.

    Two pictures look alike where their hashes differ in at most 6 of 64 bits and their thumbs correlate.

    Args:
        hashes: (N,) from `facts.perceptual_hash`.
        thumbs: (N, D) bytes of tiny pictures, which tell apart what has the same shape in other colours.
        pool: (N,) the pool of each picture, in [0, num_pools).
        num_pools: how many there are.

    Returns:
        (N, num_pools): the position of a picture that looks like this one, never itself; -1 where there is none.
        Of several any one is given.
    """
    num = len(hashes)
    if num == 0:
        return np.zeros((0, num_pools), np.int64)
    # Frames of a still camera share their hash; one stands for all, or they would make most of the pairs.
    kinds, kind = _kinds(hashes, thumbs)
    first, second = _members(kind, pool, len(kinds), num_pools)
    search = _Search(hashes[kinds], _standardised(thumbs[kinds]), first, np.full((len(kinds), num_pools), -1))
    for group in _groups(search.hashes):
        search.compare(group)
    own = first[kind]
    own = np.where(own == np.arange(num)[:, None], second[kind], own)
    return np.where(own >= 0, own, search.twin[kind])


def _kinds(hashes: NDArray[np.uint64], thumbs: NDArray[np.uint8]) -> tuple[Ints, Ints]:
    """Pictures of the same hash and about the same colour: one of each kind, and the kind of each."""
    colour = thumbs.reshape(len(thumbs), -1, 3).mean(1).astype(np.uint64) >> np.uint64(_COARSE)
    keys = np.column_stack([hashes, colour])
    _, kinds, kind = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return kinds, kind.reshape(-1)


def _members(kind: Ints, pool: Ints, num_kinds: int, num_pools: int) -> tuple[Ints, Ints]:
    """The first and the second picture of each kind in each pool; -1 where there is none."""
    cell = kind * num_pools + pool
    order = np.argsort(cell, kind="stable")
    cells, starts, counts = np.unique(cell[order], return_index=True, return_counts=True)
    first, second = np.full(num_kinds * num_pools, -1), np.full(num_kinds * num_pools, -1)
    first[cells] = order[starts]
    several = counts > 1
    second[cells[several]] = order[starts[several] + 1]
    return first.reshape(num_kinds, num_pools), second.reshape(num_kinds, num_pools)


def _standardised(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Rows of mean 0 and length 1, whose products are correlations."""
    values = thumbs.astype(np.float32)
    values -= values.mean(1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)


@dataclass(frozen=True, slots=True)
class _Search:
    """What is compared, and the twins that were found so far.

    Attributes:
        hashes: (N,)
        standard: (N, D) from `_standardised`.
        first: (N, P) a picture of this kind in each pool; -1 where there is none.
        twin: (N, P) a picture of another, alike kind in each pool; filled in.
    """

    hashes: NDArray[np.uint64]
    standard: NDArray[np.float32]
    first: Ints
    twin: Ints

    def compare(self, group: Ints) -> None:
        """Find twins within a group, for those still without one: a still camera's frames find theirs at once."""
        for pool in np.flatnonzero((self.first[group] >= 0).any(0)):
            others = group[self.first[group, pool] >= 0]
            num_rows = max(1, _AT_ONCE // len(others))
            rows = group[self.twin[group, pool] < 0]
            while len(rows):
                some, rows = rows[:num_rows], rows[num_rows:]
                differing = np.bitwise_count(self.hashes[some, None] ^ self.hashes[others])
                a, b = np.nonzero(differing <= MOST_BITS)
                # Each finds itself.
                if len(a) > len(some) or (some[a] != others[b]).any():
                    self._note(some[a], others[b])
                    rows = rows[self.twin[rows, pool] < 0]

    def _note(self, one: Ints, other: Ints) -> None:
        """Write down the pairs that look alike indeed."""
        for start in range(0, len(one), _PAIRS_AT_ONCE):
            a, b = one[start : start + _PAIRS_AT_ONCE], other[start : start + _PAIRS_AT_ONCE]
            alike = (a != b) & ((self.standard[a] * self.standard[b]).sum(1) >= _LEAST_CORRELATION)
            a, b = a[alike], b[alike]
            for pool in range(self.first.shape[1]):
                here = self.first[b, pool] >= 0
                self.twin[a[here], pool] = self.first[b[here], pool]
                here = self.first[a, pool] >= 0
                self.twin[b[here], pool] = self.first[a[here], pool]


def _groups(hashes: NDArray[np.uint64]) -> list[Ints]:
    """Positions among which all pairs of hashes lie that differ in at most `MOST_BITS`."""
    groups = [group for band in range(_NUM_BANDS) for group in _agreeing(hashes, band)]
    # Hashes that resemble each other throughout: fewer pairs if all are compared once.
    too_many = sum(len(group) ** 2 for group in groups) > len(hashes) ** 2
    return [np.arange(len(hashes))] if too_many else groups


def _agreeing(hashes: NDArray[np.uint64], band: int) -> Iterator[Ints]:
    """Groups that agree on a band; neighbouring bits, which depend on each other, are in different bands."""
    mask = np.uint64(sum(1 << bit for bit in range(band, 64, _NUM_BANDS)))
    keys = hashes & mask
    order = np.argsort(keys, kind="stable")
    edges = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]], append=~keys[order[-1:]]))
    return (order[a:b] for a, b in pairwise(edges) if b - a > 1)
