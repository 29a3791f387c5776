from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softdet.data.index_reading import load_labeled
from softdet.evaluation.diagnosis import diagnose
from softdet.evaluation.metrics import evaluate_detections, load_truth, operating_threshold
from softdet.evaluation.operating_point import counts_above
from softdet.report.facts import Diagnosis


def imperfect(truth: dict[str, Any]) -> list[dict[str, Any]]:
    """Every true box found, some moved, some of the other class, some twice, and some where nothing is."""
    rng = np.random.default_rng(0)
    found = []
    ids = [category["id"] for category in truth["categories"]]
    for number, annotation in enumerate(truth["annotations"]):
        x, y, width, height = annotation["bbox"]
        moved = 25 if number % 5 == 1 else 1
        category = ids[1 - ids.index(annotation["category_id"])] if number % 5 == 2 else annotation["category_id"]
        entry = {"image_id": annotation["image_id"], "category_id": category}
        entry |= {"bbox": [x + moved, y, width, height], "score": float(rng.uniform(0.3, 1))}
        found.append(entry)
        if number % 4 == 0:
            found.append(entry | {"score": 0.2})
            found.append(entry | {"bbox": [0, 0, 6, 6], "score": 0.4})
    return found


@pytest.fixture(scope="module")
def case(squares: Path) -> tuple[dict[str, Any], list[dict[str, Any]], Diagnosis]:
    truth = load_truth(squares / "valid.json")
    found = imperfect(truth)
    index = load_labeled(squares / "valid.json")
    return truth, found, diagnose(truth, found, index, operating_threshold(truth, found))


def test_f1_peaks_where_the_operating_point_lies(case: tuple[dict[str, Any], list[dict[str, Any]], Diagnosis]) -> None:
    truth, found, diagnosis = case
    f1 = diagnosis.macro[2]
    at_point = np.interp(operating_threshold(truth, found), diagnosis.thresholds, f1)
    assert at_point == pytest.approx(f1.max(), abs=0.02)
    assert f1[0] < f1.max()


def test_precision_and_recall_of_a_class_are_those_of_its_counts(
    case: tuple[dict[str, Any], list[dict[str, Any]], Diagnosis], squares: Path
) -> None:
    truth, found, diagnosis = case
    counts = counts_above(truth, found, operating_threshold(truth, found))
    index = load_labeled(squares / "valid.json")
    for label, category_id in enumerate(index.category_ids):
        assert category_id is not None
        expected = counts[category_id]
        assert tuple(diagnosis.class_points[label]) == pytest.approx((expected.precision, expected.recall))


def test_the_curves_have_the_ap50_of_the_evaluation(
    case: tuple[dict[str, Any], list[dict[str, Any]], Diagnosis], squares: Path
) -> None:
    truth, found, diagnosis = case
    names = load_labeled(squares / "valid.json").class_names
    ap50 = {row["name"]: row["AP50"] for row in evaluate_detections(truth, found)["per_class"]}
    assert diagnosis.precision.mean(1) == pytest.approx([ap50[name] for name in names])


def test_the_confusion_matrix_counts_every_box_once(
    case: tuple[dict[str, Any], list[dict[str, Any]], Diagnosis], squares: Path
) -> None:
    truth, found, diagnosis = case
    index = load_labeled(squares / "valid.json")
    point = operating_threshold(truth, found)
    of_class = [sum(label == int(own) for r in index.images for own in r.labels) for label in range(2)]
    assert diagnosis.confusion.sum(1)[:2].tolist() == of_class
    shown = [entry for entry in found if entry["score"] >= point]
    assert diagnosis.confusion.sum(0)[:2].sum() == len(shown)
    assert diagnosis.confusion[0, 1] + diagnosis.confusion[1, 0] > 0, "some were of the other class"


def test_boxes_of_an_image_lie_where_they_were_and_are_judged(
    case: tuple[dict[str, Any], list[dict[str, Any]], Diagnosis], squares: Path
) -> None:
    _, _, diagnosis = case
    index = load_labeled(squares / "valid.json")
    for image, record in zip(diagnosis.images, index.images, strict=True):
        assert image.path == record.path
        assert record.size is not None
        sides = np.array([record.size[1], record.size[0]] * 2)
        corners = np.array(sorted(box.corners for box in image.truth)) * sides
        assert corners == pytest.approx(np.array(sorted(map(tuple, record.boxes.tolist()))), abs=0.01)
        assert image.counts[0] == sum(box.is_right for box in image.truth), "each right box has found one"
    assert sum(sum(image.counts[1:]) for image in diagnosis.images) > 0


def test_errors_are_named_for_what_they_are(case: tuple[dict[str, Any], list[dict[str, Any]], Diagnosis]) -> None:
    _, _, diagnosis = case
    assert diagnosis.tide["Cls"] > 0
    assert diagnosis.tide["Loc"] > 0
    assert all(0 <= value <= 1 for value in diagnosis.tide.values())
    assert all(suspect.score >= 0.7 and suspect.labeled != suspect.seen for suspect in diagnosis.suspects)
    assert diagnosis.suspects


def test_a_perfect_detector_has_no_error(squares: Path) -> None:
    truth = load_truth(squares / "valid.json")
    keys = ("image_id", "category_id", "bbox")
    found = [{key: each[key] for key in keys} | {"score": 0.9} for each in truth["annotations"]]
    diagnosis = diagnose(truth, found, load_labeled(squares / "valid.json"), 0.5)
    assert all(image.f1 == 1 for image in diagnosis.images)
    assert sum(diagnosis.tide.values()) == pytest.approx(0)
    assert diagnosis.confused(("red", "blue"), 5) == []
    assert diagnosis.suspects == ()


def test_nothing_found_and_a_class_that_isnt_there(squares: Path) -> None:
    truth = load_truth(squares / "valid.json")
    index = load_labeled(squares / "valid.json", ("red", "never", "blue"))
    diagnosis = diagnose(truth, [], index, 0.5)
    assert np.isnan(diagnosis.precision[1]).all()
    assert diagnosis.confusion.shape == (4, 4)
    assert diagnosis.confusion[1].sum() == 0
    assert diagnosis.confusion[[0, 2], 3].sum() == len(truth["annotations"]), "all are missed"
    assert len(diagnosis.calibration) == 0
