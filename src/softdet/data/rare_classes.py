"""How often an image is shown, so that rare classes are seen more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def repeat_factors(labels: Sequence[NDArray[np.int64]], power: float) -> NDArray[np.float64]:
    """How many times as often as an image of the commonest class each image should come.

    LVIS's repeat factors (arXiv 1908.03195, section 5.1) with the commonest class for their threshold:
    max over the image's classes of (f_max / f_c) ** power, where f_c is the number of images that hold the class c.
    LVIS has power 1/2; at 1, classes that never share an image come equally often.

    Args:
        labels: of each image, the classes of its boxes.
        power: at least 0; 0 gives 1 for each image.

    Returns:
        One for each image, at least 1; 1 for an image without boxes.
    """
    present = [np.unique(each) for each in labels]
    images_with = np.bincount(np.concatenate([np.zeros(0, np.int64), *present]))
    rarity = (images_with.max(initial=1) / np.maximum(images_with, 1)) ** power
    return np.array([rarity[each].max(initial=1.0) for each in present])
