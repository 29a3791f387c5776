import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from softdet.errors import DataError
from softdet.evaluation.columns import to_columns
from softdet.evaluation.comparison import Gain, bootstrap_interval, draw_images, paired_bootstrap, resampled_ap
from softdet.evaluation.metrics import evaluate_detections

Detections = list[dict[str, Any]]


def two_models(num_images: int = 20, seed: int = 0) -> tuple[dict[str, Any], Detections, Detections]:
    """Truth of two classes, with a crowd now and then and images without a box, and a worse and a better model."""
    generator = np.random.default_rng(seed)
    annotations, before, after = [], [], []
    for image_id in range(1, num_images + 1):
        for _ in range(generator.integers(0, 5)):
            box = [*generator.uniform(0, 300, 2), *generator.uniform(20, 150, 2)]
            where = {"image_id": image_id, "category_id": int(generator.integers(1, 3))}
            is_crowd = int(generator.random() < 0.1)
            annotations.append(
                {**where, "id": len(annotations) + 1, "bbox": box, "area": box[2] * box[3], "iscrowd": is_crowd}
            )
            for detections, blur in ((before, 0.15), (after, 0.1)):
                shift = generator.normal(0, blur, 2) * box[2:]
                detections.append(
                    {**where, "bbox": [box[0] + shift[0], box[1] + shift[1], *box[2:]], "score": generator.random()}
                )
                wrong = [*generator.uniform(0, 300, 2), 40, 40]
                detections.append({**where, "bbox": wrong, "score": generator.random() * 0.8})
    truth = {
        "images": [{"id": image_id} for image_id in range(1, num_images + 1)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    return truth, before, after


def reference_ap(truth: dict[str, Any], detections: Detections, image_ids: list[int]) -> float:
    """AP by pycocotools on the images that are named, each as often as it is named."""
    annotations, found = [], []
    for new_id, image_id in enumerate(image_ids, 1):
        of_image = [a for a in truth["annotations"] if a["image_id"] == image_id]
        annotations += [{**a, "image_id": new_id, "id": len(annotations) + i} for i, a in enumerate(of_image, 1)]
        found += [{**d, "image_id": new_id} for d in detections if d["image_id"] == image_id]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        images = [{"id": new_id} for new_id in range(1, len(image_ids) + 1)]
        coco.dataset = {"images": images, "annotations": annotations, "categories": truth["categories"]}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def test_resampled_ap_equals_pycocotools_on_repeated_images() -> None:
    truth, _, detections = two_models()
    counts = draw_images(20, 12, seed=3)
    expected = [reference_ap(truth, detections, np.repeat(np.arange(1, 21), row).tolist()) for row in counts]
    assert counts.max() > 2
    assert resampled_ap(to_columns(truth, detections), counts) == pytest.approx(expected, abs=1e-6)


def test_draws_are_sets_as_large_as_the_whole() -> None:
    counts = draw_images(30, 500, seed=0)
    assert counts.shape == (501, 30)
    assert (counts[0] == 1).all()
    assert (counts.sum(1) == 30).all()
    # How often an image is drawn is binomial: mean 1, variance 1 - 1/30.
    assert counts[1:].mean(0) == pytest.approx(np.ones(30), abs=0.2)
    assert counts[1:].var() == pytest.approx(1 - 1 / 30, abs=0.05)


def test_paired_bootstrap_agrees_with_an_independent_one() -> None:
    truth, before, after = two_models(12)
    gain = paired_bootstrap(truth, before, after, num_resamples=2000)
    generator = np.random.default_rng(99)
    differences = []
    for _ in range(100):
        image_ids = generator.choice(np.arange(1, 13), 12).tolist()
        differences.append(reference_ap(truth, after, image_ids) - reference_ap(truth, before, image_ids))
    assert gain.before == pytest.approx(evaluate_detections(truth, before)["AP"], abs=1e-9)
    assert gain.after == pytest.approx(evaluate_detections(truth, after)["AP"], abs=1e-9)
    # The width of 100 draws is known to about a sixth of itself.
    expected = np.diff(np.quantile(differences, (0.025, 0.975)))[0]
    assert gain.high - gain.low == pytest.approx(expected, rel=0.25)


def test_interval_is_the_binomial_one_where_ap_is_a_share() -> None:
    # One box an image; the worse model finds every second and neither says anything wrong, so AP is the share found.
    box = [10.0, 10, 50, 50]
    images = range(100)
    truth = {
        "images": [{"id": i} for i in images],
        "annotations": [{"image_id": i, "category_id": 1, "bbox": box} for i in images],
        "categories": [{"id": 1, "name": "cat"}],
    }
    found = [{"image_id": i, "category_id": 1, "bbox": box, "score": 0.5} for i in images]
    gain = paired_bootstrap(truth, found[::2], found)
    # 1.96 sd of a share of .5 in 100 is .098; hotcoco's compare would say .07.
    assert (gain.low, gain.high) == pytest.approx((0.5 - 0.098, 0.5 + 0.098), abs=0.015)
    assert bootstrap_interval(truth, found[::2]) == pytest.approx((0.5 - 0.098, 0.5 + 0.098), abs=0.015)
    assert bootstrap_interval(truth, found) == pytest.approx((1, 1))


@pytest.mark.parametrize("seed", range(4))
def test_intervals_contain_what_was_measured(seed: int) -> None:
    truth, before, after = two_models(10, seed)
    gain = paired_bootstrap(truth, before, after, num_resamples=200)
    assert gain.difference == pytest.approx(gain.after - gain.before)
    assert gain.low < gain.difference < gain.high
    low, high = bootstrap_interval(truth, after, num_resamples=200)
    assert 0 <= low < gain.after < high <= 1


def test_interval_is_the_draws_percentiles_around_the_measured_ap() -> None:
    truth, _, detections = two_models(10)
    ap = resampled_ap(to_columns(truth, detections), draw_images(10, 300, seed=5))
    low, median, high = np.nanquantile(ap[1:], (0.025, 0.5, 0.975))
    assert abs(median - ap[0]) > 0.002
    expected = (ap[0] + low - median, ap[0] + high - median)
    assert bootstrap_interval(truth, detections, num_resamples=300, seed=5) == pytest.approx(expected)


def test_same_seed_same_interval() -> None:
    truth, before, after = two_models()
    first = paired_bootstrap(truth, before, after, num_resamples=50, seed=1)
    assert paired_bootstrap(truth, before, after, num_resamples=50, seed=1) == first
    assert paired_bootstrap(truth, before, after, num_resamples=50, seed=2) != first
    assert bootstrap_interval(truth, after, num_resamples=50, seed=1) != bootstrap_interval(
        truth, after, num_resamples=50
    )


def test_equal_detections_give_nothing() -> None:
    truth, _, detections = two_models()
    ap = evaluate_detections(truth, detections)["AP"]
    assert paired_bootstrap(truth, detections, detections, num_resamples=50) == Gain(
        ap, ap, 0.0, 0.0, 0.0, len(truth["images"])
    )


def test_draws_without_a_box_are_left_out() -> None:
    truth = {
        "images": [{"id": 1}, {"id": 2}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 50]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    found = [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 50], "score": 0.5}]
    ap = resampled_ap(to_columns(truth, found), np.array([[1, 1], [0, 2], [2, 0]]))
    assert ap.tolist() == pytest.approx([1, np.nan, 1], nan_ok=True)
    gain = paired_bootstrap(truth, [], found, num_resamples=50)
    assert (gain.before, gain.after, gain.low, gain.high) == pytest.approx((0, 1, 1, 1))


def test_no_boxes_at_all() -> None:
    truth, _, after = two_models()
    for empty in ({**truth, "annotations": []}, {**truth, "annotations": [], "images": []}):
        found = after if empty["images"] else []
        assert bootstrap_interval(empty, found) == (-1.0, -1.0)
        with pytest.raises(DataError, match="no box that counts"):
            paired_bootstrap(empty, found, found)


def test_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    truth, before, after = two_models()
    paired_bootstrap(truth, before, after, num_resamples=5)
    assert capfd.readouterr() == ("", "")
