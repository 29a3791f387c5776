"""Whether two pools look like they come from the same place: brightness, contrast, colours, sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from softdet.doctor.facts import Facts
from softdet.doctor.findings import Finding, Place, found
from softdet.doctor.pools import Pool

# Both must be passed: large enough to matter, and too large for chance (Kolmogorov and Smirnov's test at about 1e-4).
LEAST_DISTANCE = 0.35
LEAST_EVIDENCE = 2.2
_FEWEST = 8

_MEASURES: tuple[tuple[str, Callable[[Facts], float], str], ...] = (
    ("brightness", lambda known: known.brightness, "{:.0f} of 255"),
    ("contrast", lambda known: known.contrast, "{:.0f} of 255"),
    ("colourfulness", lambda known: known.colourfulness, "{:.0f}"),
    ("image size", lambda known: float(np.sqrt(known.size[0] * known.size[1])), "{:.0f} px"),
    # Rounded as shown: copies at another size have sides that are rounded too.
    ("width / height", lambda known: round(known.upright_size[1] / known.upright_size[0], 2), "{:.2f}"),
)


def check_shift(pools: Sequence[Pool], facts: Sequence[Mapping[int, Facts]]) -> list[Finding]:
    """Compare every pool with the labeled one.

    Args:
        pools: all of them.
        facts: of each pool, by position of its pictures.
    """
    good = [[known for known in each.values() if known.status == "good"] for each in facts]
    reference = next((seen for pool, seen in zip(pools, good, strict=True) if pool.name == "labeled"), [])
    findings = []
    for pool, seen in zip(pools, good, strict=True):
        if pool.name != "labeled":
            findings += _shifted(pool.name, reference, seen)
    return findings


def _shifted(name: str, reference: Sequence[Facts], seen: Sequence[Facts]) -> list[Finding]:
    if min(len(reference), len(seen)) < _FEWEST:
        return []
    places = []
    for what, measure, shown in _MEASURES:
        one, other = (np.array([measure(known) for known in each]) for each in (reference, seen))
        distance = largest_difference(one, other)
        evidence = distance * np.sqrt(len(one) * len(other) / (len(one) + len(other)))
        if distance >= LEAST_DISTANCE and evidence >= LEAST_EVIDENCE:
            medians = [shown.format(np.median(values)) for values in (one, other)]
            places.append(Place(what, f"half of labeled lie above {medians[0]}, half of {name} above {medians[1]}"))
    listed = ", ".join(place.file for place in places)
    return found(
        "warning",
        f"{name}-looks-different",
        places,
        f"{name}: its images differ from the labeled ones in {listed}; a detector is less sure of what it hasn't seen "
        "labeled (another camera, site or time of day?)",
        f"Label a few images like those of {name}.",
    )


def largest_difference(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Kolmogorov and Smirnov's statistic: how far the shares of values below a limit differ at most, 0 to 1."""
    limits = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(values), limits, side="right") / len(values) for values in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())
