import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from softdet.errors import DataError
from softdet.evaluation.metrics import (
    class_agnostic_ap,
    evaluate_detections,
    load_detections,
    load_truth,
    operating_threshold,
)

NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "eval_coco100"


def random_truth(generator: np.random.Generator, num_images: int = 25) -> dict[str, Any]:
    """Boxes of all sizes, crowds, ids with gaps and out of order; a fifth of the images have no box; no sheep."""
    image_ids = generator.permutation(np.arange(num_images) * 7 + 3).tolist()
    annotations = []
    for image_id in image_ids[num_images // 5 :]:
        for _ in range(generator.integers(1, 7)):
            box = [*generator.uniform(0, 300, 2), *np.exp(generator.uniform(2, 5.5, 2))]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(generator.choice([2, 90, 5])),
                    "bbox": box,
                    "area": box[2] * box[3] * 0.7,
                    "iscrowd": int(generator.random() < 0.1),
                }
            )
    names = {90: "cat", 2: "dog", 17: "sheep", 5: "cow"}
    return {
        "images": [{"id": image_id, "width": 640, "height": 480, "file_name": "a.jpg"} for image_id in image_ids],
        "annotations": annotations,
        "categories": [{"id": category_id, "name": name} for category_id, name in names.items()],
    }


def random_detections(generator: np.random.Generator, truth: dict[str, Any]) -> list[dict[str, Any]]:
    """Shaken copies of the boxes, some twice or of another class, and noise; scores are coarse, so that many tie."""
    detections = []
    for annotation in truth["annotations"]:
        for _ in range(generator.integers(0, 4)):
            x, y, width, height = annotation["bbox"]
            shift = generator.normal(0, 0.1, 2) * [width, height]
            stretch = np.exp(generator.normal(0, 0.15, 2)) * [width, height]
            category_id = 17 if generator.random() < 0.1 else annotation["category_id"]
            box = [x + shift[0], y + shift[1], *stretch]
            score = round(float(generator.random()), 2)
            detections.append(detection(annotation["image_id"], box, score, category_id))
    for image in truth["images"]:
        detections += [
            detection(
                image["id"],
                [*generator.uniform(0, 300, 2), *generator.uniform(5, 200, 2)],
                round(float(generator.random() * 0.6), 2),
                int(generator.choice([2, 5, 17, 90])),
            )
            for _ in range(generator.integers(0, 8))
        ]
    return detections


def reference(truth: dict[str, Any], detections: list[dict[str, Any]], *, use_classes: bool = True) -> COCOeval:
    """What pycocotools says, silenced."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = json.loads(json.dumps(truth))
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(json.loads(json.dumps(detections))), "bbox")
        evaluation.params.useCats = int(use_classes)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def one_class(boxes: dict[int | str, list[list[float]]]) -> dict[str, Any]:
    """Truth of one class, by image."""
    annotations = [
        {"image_id": image_id, "category_id": 1, "bbox": box}
        for image_id, of_image in boxes.items()
        for box in of_image
    ]
    return {
        "images": [{"id": image_id} for image_id in boxes],
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations)],
        "categories": [{"id": 1, "name": "cat"}],
    }


def detection(image_id: int | str, box: list[float], score: float, category_id: int = 1) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}


def perfect(truth: dict[str, Any]) -> list[dict[str, Any]]:
    return [detection(a["image_id"], a["bbox"], 1.0, a["category_id"]) for a in truth["annotations"]]


@pytest.mark.parametrize("seed", range(6))
def test_equals_pycocotools(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = random_truth(generator)
    detections = random_detections(generator, truth)
    ours, theirs = evaluate_detections(truth, detections), reference(truth, detections)

    assert [ours[name] for name in NAMES] == pytest.approx(theirs.stats.tolist(), abs=1e-6)
    assert 0.1 < ours["AP"] < 0.9
    for of_class in ours["per_class"]:
        precision = theirs.eval["precision"][:, :, theirs.params.catIds.index(of_class["id"]), 0, 2]
        assert of_class["AP"] == pytest.approx(precision.mean(), abs=1e-6)
        assert of_class["AP50"] == pytest.approx(precision[0].mean(), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_class_agnostic_equals_pycocotools_without_classes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = random_truth(generator)
    detections = random_detections(generator, truth)
    expected = reference(truth, detections, use_classes=False).stats[:3].tolist()
    assert list(class_agnostic_ap(truth, detections).values()) == pytest.approx(expected, abs=1e-6)


def test_detections_beyond_the_hundredth_dont_count() -> None:
    truth = one_class({1: [[10, 10, 50, 50]]})
    noise = [detection(1, [200 + i, 200, 20, 20], 0.9) for i in range(100)]
    right = detection(1, [10, 10, 50, 50], 0.5)
    assert evaluate_detections(truth, [*noise[:99], right])["AP"] == pytest.approx(0.01)
    assert evaluate_detections(truth, [*noise, right])["AP"] == 0


def test_perfect_predictions_give_one() -> None:
    truth = random_truth(np.random.default_rng(0))
    ours = evaluate_detections(truth, perfect(truth))
    assert [ours[name] for name in ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")] == pytest.approx([1.0] * 7)
    assert list(class_agnostic_ap(truth, perfect(truth)).values()) == pytest.approx([1.0] * 3)


def test_counts_and_the_order_of_classes() -> None:
    truth = random_truth(np.random.default_rng(0))
    detections = perfect(truth)
    ours = evaluate_detections(truth, detections)
    counted = [a["category_id"] for a in truth["annotations"] if not a["iscrowd"]]
    assert len(counted) < len(detections)
    assert [(c["name"], c["id"], c["num_boxes"]) for c in ours["per_class"]] == [
        (name, i, counted.count(i)) for name, i in (("cat", 90), ("dog", 2), ("sheep", 17), ("cow", 5))
    ]
    assert (ours["num_images"], ours["num_boxes"], ours["num_detections"]) == (25, len(counted), len(detections))
    assert ours["per_class"][2]["AP"] == ours["per_class"][2]["AP50"] == -1.0


def test_annotation_id_0_counts() -> None:
    truth = one_class({1: [[10, 10, 50, 50]]})
    assert truth["annotations"][0]["id"] == 0
    assert evaluate_detections(truth, perfect(truth))["AP"] == pytest.approx(1)
    assert operating_threshold(truth, perfect(truth)) == 0.5


def test_ids_may_be_text_or_both() -> None:
    boxes = [[[10.0, 10, 50, 50]], [[30.0, 10, 50, 20]], [[0.0, 10, 90, 50]]]
    numbers = one_class(dict(zip((1, 2, 3), boxes, strict=True)))
    mixed = one_class(dict(zip(("a", 7, "1"), boxes, strict=True)))
    assert evaluate_detections(mixed, perfect(mixed)[1:]) == evaluate_detections(numbers, perfect(numbers)[1:])


@pytest.mark.parametrize("mark", ["iscrowd", "ignore"])
def test_ignored_regions_count_neither_for_nor_against(mark: str) -> None:
    truth = one_class({1: [[10, 10, 50, 50], [200, 200, 200, 200]]})
    right = detection(1, [10, 10, 50, 50], 0.5)
    in_region = [detection(1, [210 + 40 * i, 250, 30, 30], 0.9) for i in range(3)]
    punished = evaluate_detections(truth, [*in_region, right])
    truth["annotations"][1][mark] = 1
    ours = evaluate_detections(truth, [*in_region, right])
    assert punished["AP"] < 0.5
    assert ours["AP"] == pytest.approx(1)
    assert ours["num_boxes"] == 1
    assert operating_threshold(truth, [*in_region, right]) == 0.25


def test_nothing_detected_and_nothing_to_detect(capfd: pytest.CaptureFixture[str]) -> None:
    truth = random_truth(np.random.default_rng(0))
    ours = evaluate_detections(truth, [])
    assert [ours[name] for name in NAMES] == [0.0] * 12
    assert operating_threshold(truth, []) == 0.5

    no_boxes = {**truth, "annotations": []}
    for empty, detections in ((no_boxes, []), (no_boxes, perfect(truth)), ({**no_boxes, "images": []}, [])):
        ours = evaluate_detections(empty, detections)
        assert [ours[name] for name in NAMES] == [-1.0] * 12
        assert class_agnostic_ap(empty, detections) == {"AP": -1.0, "AP50": -1.0, "AP75": -1.0}
        assert operating_threshold(empty, detections) == 0.5
    assert evaluate_detections({"images": [], "annotations": [], "categories": []}, [])["per_class"] == []
    assert capfd.readouterr() == ("", "")


def test_threshold_of_a_hand_made_case() -> None:
    # Two classes with two boxes each. Cats: right at .9 and .6, wrong at .7. Dogs: right at .8, wrong at .5 and .4.
    # macro-F1 x 2 by threshold: .9 2/3; .8 2/3 + 2/3; .6 4/5 + 2/3, the peak; .5 4/5 + 1/2.
    box, other, nowhere = [10.0, 10, 50, 50], [200.0, 10, 50, 50], [400.0, 300, 50, 50]
    truth = one_class({1: [box, other]})
    truth["categories"].append({"id": 4, "name": "dog"})
    truth["annotations"] += [{"image_id": 1, "category_id": 4, "bbox": b} for b in (box, other)]
    cats = [detection(1, box, 0.9), detection(1, nowhere, 0.7), detection(1, other, 0.6)]
    dogs = [detection(1, box, 0.8, 4), detection(1, nowhere, 0.5, 4), detection(1, nowhere, 0.4, 4)]
    assert operating_threshold(truth, cats + dogs) == pytest.approx(0.55)
    # A class without a true box has no F1, so its detections say nothing.
    truth["categories"].append({"id": 9, "name": "cow"})
    assert operating_threshold(truth, [*cats, *dogs, detection(1, box, 0.56, 9)]) == pytest.approx(0.55)
    # Equal peaks: F1 is 2/3 after .9, and again after two wrong ones and another right one at .3.
    ties = [detection(1, box, 0.9), detection(1, nowhere, 0.6), detection(1, nowhere, 0.5), detection(1, other, 0.3)]
    assert operating_threshold(one_class({1: [box, other]}), ties) == pytest.approx(0.75)


@pytest.mark.parametrize("seed", range(4))
def test_no_threshold_beats_the_operating_threshold(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = random_truth(generator, num_images=8)
    detections = random_detections(generator, truth)

    def macro_f1(threshold: float) -> float:
        kept = [d for d in detections if d["score"] >= threshold]
        evaluation = reference(truth, kept)
        f1 = []
        for category_id in (2, 5, 90):
            cells = [c for c in evaluation.evalImgs if c and c["category_id"] == category_id]
            cells = [c for c in cells if c["aRng"] == evaluation.params.areaRng[0]]
            num_boxes = sum((np.array(c["gtIgnore"]) == 0).sum() for c in cells)
            counted = sum((~c["dtIgnore"][0]).sum() for c in cells)
            right = sum(((c["dtMatches"][0] > 0) & ~c["dtIgnore"][0]).sum() for c in cells)
            f1.append(2 * right / (counted + num_boxes))
        return float(np.mean(f1))

    best = macro_f1(operating_threshold(truth, detections))
    assert best == pytest.approx(max(map(macro_f1, {d["score"] for d in detections})), abs=1e-9)


def test_detections_of_unknown_images_and_classes() -> None:
    truth = one_class({1: [[10, 10, 50, 50]]})
    with pytest.raises(DataError, match=r"1 of 2 detections have an unknown image_id: '1'; .* has 1\."):
        evaluate_detections(truth, [*perfect(truth), detection("1", [1, 1, 5, 5], 0.5)])
    with pytest.raises(DataError, match=r"unknown category_id: 0; the ground truth has 1\."):
        evaluate_detections(truth, [detection(1, [1, 1, 5, 5], 0.5, category_id=0)])
    with pytest.raises(DataError, match=r"1 of 1 detections hold numbers that aren't finite.*nan"):
        evaluate_detections(truth, [detection(1, [1, 1, 5, 5], float("nan"))])


if REAL.is_dir():

    @pytest.mark.real
    def test_coco_numbers_on_real_truth() -> None:
        truth = load_truth(REAL / "instances_val2014_100.json")
        detections = load_detections(REAL / "instances_val2014_fakebbox100_results.json")
        expected = json.loads((REAL / "expected.json").read_text())
        ours = evaluate_detections(truth, detections)
        assert {name: ours[name] for name in NAMES} == pytest.approx(expected["stats"], abs=1e-6)
        per_class = {str(of_class["id"]): of_class["AP"] for of_class in ours["per_class"]}
        assert per_class == pytest.approx(expected["per_category_AP"], abs=1e-6)
        assert ours["num_boxes"] == expected["n_gt"] - expected["n_crowd"]
        assert ours["num_detections"] == expected["n_dt"]
