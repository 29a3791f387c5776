"""Facts of made-up sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from softdet.derive.facts import Facts, Machine

CPU = Machine("cpu")


@pytest.fixture
def make_facts() -> Callable[..., Facts]:
    """Facts of one box an image, of sides in pixels, in the middle of images of one size."""

    def make(
        sides: Sequence[float] = (100,) * 20,
        image: tuple[int, int] = (480, 480),
        *,
        labels: Sequence[int] | None = None,
        num_unlabeled: int = 100,
        num_labeled: int | None = None,
        machine: Machine = CPU,
    ) -> Facts:
        half = np.array(sides, float)[:, None] / 2
        centre = np.array([image[1] / 2, image[0] / 2])
        sizes = np.tile(np.array(image, float), (len(sides), 1))
        boxes = np.concatenate([centre - half, centre + half], 1)
        return Facts(
            machine,
            num_labeled or len(sides),
            num_unlabeled,
            sizes,
            boxes,
            np.array(labels if labels is not None else [0] * len(sides)),
            sizes,
        )

    return make
