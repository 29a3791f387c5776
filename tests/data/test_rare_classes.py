"""Images of rare classes come more often, as LVIS's formula says."""

from __future__ import annotations

import numpy as np
import pytest

from softdet.data.rare_classes import repeat_factors


def labels(*images: list[int]) -> list[np.ndarray]:
    return [np.array(each, np.int64) for each in images]


def test_the_factor_of_an_image_is_that_of_its_rarest_class() -> None:
    # On how many images: class 0 four, class 1 two, class 3 one; class 2 none.
    images = labels([0], [0, 0, 0], [0, 1], [1], [0, 3], [])
    assert repeat_factors(images, 1.0).tolist() == [1, 1, 2, 2, 4, 1]
    assert repeat_factors(images, 0.5).tolist() == pytest.approx([1, 1, 2**0.5, 2**0.5, 2, 1])
    assert repeat_factors(images, 0.0).tolist() == [1] * 6


def test_classes_that_never_share_an_image_come_equally_often() -> None:
    images = labels(*[[0]] * 9, *[[1]] * 3, [2, 2])
    factors = repeat_factors(images, 1.0)
    assert [factors[:9].sum(), factors[9:12].sum(), factors[12:].sum()] == pytest.approx([9, 9, 9])


def test_images_without_boxes_come_once() -> None:
    assert repeat_factors(labels([], []), 1.0).tolist() == [1, 1]
    assert repeat_factors([], 1.0).tolist() == []
