"""How many boxes labeled images hold, which is what pseudo-labels are measured against."""

from __future__ import annotations

from dataclasses import dataclass

from softdet.data.index import Index


@dataclass(frozen=True, slots=True)
class LabeledDensity:
    """What pseudo-labels are measured against.

    Attributes:
        boxes: per labeled image.
        filled: the share of labeled images with a box.
        by_class: boxes per labeled image, by class name.
    """

    boxes: float
    filled: float
    by_class: dict[str, float]


def labeled_density(index: Index) -> LabeledDensity:
    """Count the boxes of labeled images."""
    counts = index.boxes_by_class() / len(index)
    filled = sum(len(record.labels) > 0 for record in index.images) / len(index)
    return LabeledDensity(float(counts.sum()), filled, dict(zip(index.class_names, counts.tolist(), strict=True)))
