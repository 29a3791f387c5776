"""Pictures that come twice, in one pool or across two: what is evaluated must not have been trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from softdet.doctor.facts import Facts
from softdet.doctor.findings import Finding, Level, Place, found
from softdet.doctor.near import near_twins
from softdet.doctor.pools import Pool

_EVALUATED = ("valid", "test")
_APART = "softdet prepare --group-by REGEX keeps videos, sites or series on one side."
_TAKE_OUT = (
    "Take them out of one of the two. softdet prepare and softdet train --labeled do so by themselves; the lists of a "
    "config are trained on as they are."
)


def check_duplicates(pools: Sequence[Pool], facts: Sequence[Mapping[int, Facts]]) -> list[Finding]:
    """Find pictures that are the same, byte for byte or nearly, within each pool and across each two.

    Args:
        pools: all of them.
        facts: of each pool, by position of its pictures; those that weren't opened are not compared.
    """
    where = [(number, place) for number, known in enumerate(facts) for place in known]
    seen = [facts[number][place] for number, place in where]
    pool = np.array([number for number, _ in where], np.int64)
    same = _same_bytes(seen, pool, len(pools))
    near = _near(seen, pool, len(pools))

    def name(position: int) -> str:
        number, place = where[position]
        return pools[number].pictures[place].name

    findings = []
    for first in range(len(pools)):
        for second in range(first, len(pools)):
            # Told from the side of what is evaluated, which is the smaller as a rule.
            own, other = (second, first) if pools[second].name in _EVALUATED or first == second else (first, second)
            rows = np.flatnonzero(pool == own)
            identical = [(n, t) for n, t in zip(rows.tolist(), same[rows, other].tolist(), strict=True) if t >= 0]
            known = {n for n, _ in identical}
            alike = [(n, t) for n, t in zip(rows.tolist(), near[rows, other].tolist(), strict=True) if t >= 0]
            alike = [(n, t) for n, t in alike if n not in known and t not in known]
            share = f"{len(alike)} of {len(rows):,}"
            if own == other:
                identical, alike = _once(identical), _once(alike)
            names = pools[own].name, pools[other].name
            findings += _identical(*names, [Place(name(n), f"= {name(t)}") for n, t in identical])
            findings += _alike(*names, [Place(name(n), f"~ {name(t)}") for n, t in alike], share)
    return findings


def _identical(own: str, other: str, places: list[Place]) -> list[Finding]:
    if own == other:
        level: Level = "note" if own == "unlabeled" else "warning"
        message = f"{own}: the same picture under several names, byte for byte; each counts as often as it is there"
        return found(level, "same-image-twice", places, message, "Keep one of each, with the right boxes.")
    if own in _EVALUATED:
        message = (
            f"{own}: the same pictures, byte for byte, are in {other}. A score on images that a model was trained "
            "on or chosen by says nothing"
        )
        return found("error", "leak", places, message, _TAKE_OUT)
    message = f"{own}: the same pictures, byte for byte, are in {other}; the teacher's guesses replace no labels there"
    return found("warning", "labeled-in-unlabeled", places, message, _TAKE_OUT)


def _alike(own: str, other: str, places: list[Place], num: str) -> list[Finding]:
    if own == other:
        message = f"{own}: {num} images with a near twin among them (neighbouring frames, or a copy saved anew?)"
        fix = "Nothing has to be done; but of neighbouring frames a few teach as much as all, in less time."
        return found("note", "near-duplicates", places, message, fix)
    if own in _EVALUATED:
        message = (
            f"{own}: {num} images with a near twin in {other}; they make the score look better than new images would"
        )
        return found("warning", "near-leak", places, message, _APART)
    message = f"{own}: {num} images with a near twin in {other}"
    return found("note", "near-labeled", places, message, "Nothing has to be done: such images teach little new.")


def _once(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Each pair of one pool from one side only."""
    told: set[int] = set()
    kept = []
    for one, other in pairs:
        if one not in told or other not in told:
            kept.append((one, other))
            told |= {one, other}
    return kept


def _same_bytes(seen: Sequence[Facts], pool: NDArray[np.int64], num_pools: int) -> NDArray[np.int64]:
    """(N, P): for each picture another one of each pool with the same bytes; -1 where there is none."""
    members: dict[bytes, list[list[int]]] = {}
    for position, known in enumerate(seen):
        if known.digest:
            members.setdefault(known.digest, [[] for _ in range(num_pools)])[pool[position]].append(position)
    twins = np.full((len(seen), num_pools), -1)
    for by_pool in members.values():
        group = [position for positions in by_pool for position in positions]
        if len(group) > 1:
            for position in group:
                for number, positions in enumerate(by_pool):
                    # Of two in its own pool, the one that it isn't.
                    twins[position, number] = next((other for other in positions[:2] if other != position), -1)
    return twins


def _near(seen: Sequence[Facts], pool: NDArray[np.int64], num_pools: int) -> NDArray[np.int64]:
    """(N, P): for each picture another one of each pool that looks like it; -1 where there is none."""
    hashed = [position for position, known in enumerate(seen) if known.hash is not None]
    twins = np.full((len(seen), num_pools), -1)
    if hashed:
        # All but None, as just seen.
        hashes = np.array([seen[position].hash or 0 for position in hashed], np.uint64)
        thumbs = np.frombuffer(b"".join(seen[position].thumb for position in hashed), np.uint8).reshape(len(hashed), -1)
        found_ = near_twins(hashes, thumbs, pool[hashed], num_pools)
        twins[hashed] = np.where(found_ >= 0, np.array(hashed)[found_], -1)
    return twins
