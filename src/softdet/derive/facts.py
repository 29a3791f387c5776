"""What settings are derived from: the labeled images, how many unlabeled ones there are, and the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from softdet.data.index import Index

# As many boxes tell as much about their sizes as a million.
_MAX_BOXES = 20_000


@dataclass(frozen=True, slots=True)
class Machine:
    """What trains.

    Attributes:
        kind: of device.
        memory_gb: of one device; 0 where that isn't known.
        num_devices: how many train together.
    """

    kind: Literal["cuda", "mps", "cpu"]
    memory_gb: float = 0.0
    num_devices: int = 1

    @property
    def has_gpu(self) -> bool:
        """Whether a large network is affordable."""
        return self.kind != "cpu"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known before training.

    Attributes:
        machine: what trains.
        num_labeled: labeled images.
        num_unlabeled: unlabeled images; 0 for the supervised control.
        image_sizes: (I, 2) rows and columns of the labeled and validation images.
        boxes: (N, 4) xyxy of the labeled images, in their own pixels.
        labels: (N,) the class of each.
        box_image_sizes: (N, 2) rows and columns of the image that each is of.
    """

    machine: Machine
    num_labeled: int
    num_unlabeled: int
    image_sizes: NDArray[np.float64]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    box_image_sizes: NDArray[np.float64]

    @property
    def num_classes(self) -> int:
        """Classes that have a box."""
        return len(np.unique(self.labels))

    @property
    def long_side(self) -> float:
        """The median of the images' longer sides, in pixels."""
        return float(np.median(self.image_sizes.max(1)))


def facts_of(train: Index, valid: Index, num_unlabeled: int, machine: Machine) -> Facts:
    """Collect the facts; boxes thin out evenly where there are very many."""
    records = [record for record in train.images if len(record.labels)]
    boxes = np.concatenate([record.boxes for record in records]).astype(np.float64)
    labels = np.concatenate([record.labels for record in records])
    sizes = np.concatenate([np.tile(np.array(record.size, float), (len(record.labels), 1)) for record in records])
    every = -(-len(boxes) // _MAX_BOXES)
    return Facts(
        machine,
        len(train),
        num_unlabeled,
        np.array([record.size for record in (*train.images, *valid.images)], float),
        boxes[::every],
        labels[::every],
        sizes[::every],
    )
