"""Is a difference in AP real, or the luck of a few images? A bootstrap over the images.

hotcoco's own `compare` draws images with replacement but counts each at most once. Such sets differ less from each
other than new sets of images would, and its intervals come out about a quarter too narrow. Here an image that is drawn
three times counts three times.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softdet.errors import DataError
from softdet.evaluation.columns import Columns, new_evaluation, to_columns

# Resamples in one call: their lists of image numbers take the memory.
_CHUNK = 100


@dataclass(frozen=True, slots=True)
class Gain:
    """What one model has over another, on the same images.

    Attributes:
        before: AP in [0, 1].
        after: AP in [0, 1].
        difference: after - before.
        low: the lower end of the difference's 95% interval.
        high: the upper end.
        num_images: of the comparison; None in the files of earlier versions.
    """

    before: float
    after: float
    difference: float
    low: float
    high: float
    num_images: int | None = None


def paired_bootstrap(
    truth: dict[str, Any],
    detections_before: list[dict[str, Any]],
    detections_after: list[dict[str, Any]],
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Gain:
    """Compare two models on the same images, with the 95% interval of the difference in AP.

    Images are drawn with replacement, the same for both models, so what makes an image hard for both cancels out. The
    interval tells how the difference would vary over other images of this kind; it knows nothing of other training
    seeds. Laws: it contains the difference; equal detections give 0, with the interval 0..0; the same seed gives the
    same interval.

    Args:
        truth: as `load_truth` gives it.
        detections_before: as `load_detections` gives them.
        detections_after: as `load_detections` gives them.
        num_resamples: how many sets of images are drawn.
        seed: of the draws.

    Returns:
        Both APs, their difference and its interval.

    Raises:
        DataError: the truth has no box to compare on, or as `evaluate_detections`.
    """
    before, after = to_columns(truth, detections_before), to_columns(truth, detections_after)
    if before.ignored.all():
        raise DataError(
            f"the ground truth has {before.num_images} images but no box that counts, so there is no AP to compare. "
            "Is it an unlabeled index?"
        )
    counts = draw_images(before.num_images, num_resamples, seed)
    ap_before, ap_after = resampled_ap(before, counts), resampled_ap(after, counts)
    differences = ap_after - ap_before
    low, high = _interval(differences)
    return Gain(float(ap_before[0]), float(ap_after[0]), float(differences[0]), low, high, before.num_images)


def bootstrap_interval(
    truth: dict[str, Any], detections: list[dict[str, Any]], *, num_resamples: int = 200, seed: int = 0
) -> tuple[float, float]:
    """Say how far AP would vary over other images of this kind: its 95% interval.

    Law: it contains AP. 200 resamples tell it to the nearest half point; a thousand take five times as long.

    Args:
        truth: as `load_truth` gives it.
        detections: as `load_detections` gives them.
        num_resamples: how many sets of images are drawn.
        seed: of the draws.

    Returns:
        The lower and the upper end, in [0, 1]; both -1.0 where the truth has no box that counts, as AP itself.

    Raises:
        DataError: as `evaluate_detections`.
    """
    columns = to_columns(truth, detections)
    if columns.ignored.all():
        return -1.0, -1.0
    low, high = _interval(resampled_ap(columns, draw_images(columns.num_images, num_resamples, seed)))
    return max(low, 0.0), min(high, 1.0)


def draw_images(num_images: int, num_resamples: int, seed: int) -> NDArray[np.int64]:
    """Draw sets of images with replacement, each as large as the whole.

    Args:
        num_images: how many images there are, at least 1.
        num_resamples: R, how many sets.
        seed: of the draws.

    Returns:
        (1 + R, num_images) int64: how often each set holds each image; a row adds up to num_images. The first row is
        the set as it is, with every image once.
    """
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(num_images, np.full(num_images, 1 / num_images), size=num_resamples)
    return np.concatenate([np.ones((1, num_images), np.int64), drawn])


def resampled_ap(columns: Columns, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute AP on sets of images in which an image can stand several times.

    Args:
        columns: truth and detections.
        counts: (R, num_images), how often each set holds each image.

    Returns:
        (R,) float64 AP in [0, 1]; nan where a set has no true box that counts.
    """
    # hotcoco takes a set of images, so an image that stands three times must be three images. They are matched once,
    # and every resample picks from them.
    most = counts.max(0)
    image_of_copy = np.repeat(np.arange(columns.num_images), most)
    place_of_copy = _places(most)
    evaluation = new_evaluation(_repeat_images(columns, most), every_size_only=True)
    evaluation.evaluate()
    ap = np.full(len(counts), np.nan)
    for start in range(0, len(counts), _CHUNK):
        chosen = {
            str(row): (np.flatnonzero(place_of_copy < counts[row, image_of_copy]) + 1).tolist()
            for row in range(start, min(start + _CHUNK, len(counts)))
        }
        found = evaluation.slice_by(chosen)
        for row in chosen:
            ap[int(row)] = found[row]["AP"]
    ap[ap < 0] = np.nan
    return ap


def _repeat_images(columns: Columns, times: NDArray[np.int64]) -> Columns:
    """Copy each image with its boxes and detections; an image's copies are numbered one after the other."""
    first = np.cumsum(times) - times
    true_times = times[columns.images - 1]
    detected = columns.detections[:, 0].astype(np.int64) - 1
    detected_times = times[detected]
    detections = np.repeat(columns.detections, detected_times, 0)
    detections[:, 0] = np.repeat(first[detected], detected_times) + _places(detected_times) + 1
    return replace(
        columns,
        num_images=int(times.sum()),
        images=np.repeat(first[columns.images - 1], true_times) + _places(true_times) + 1,
        classes=np.repeat(columns.classes, true_times),
        boxes=np.repeat(columns.boxes, true_times, 0),
        areas=np.repeat(columns.areas, true_times),
        ignored=np.repeat(columns.ignored, true_times),
        detections=detections,
    )


def _places(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count every entry's copies from 0: (2, 0, 3) gives (0, 1, 0, 1, 2)."""
    return np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95% percentile interval of the drawn values, around the measured one, which stands first.

    AP of a drawn set leans upwards (half a point with 60 images): precision is smoothed by taking maxima, and drawing
    adds noise to take them of. So the interval is moved to bring the median of the draws to the measured value.
    """
    low, median, high = np.nanquantile(values[1:], (0.025, 0.5, 0.975))
    return float(values[0] + (low - median)), float(values[0] + (high - median))
