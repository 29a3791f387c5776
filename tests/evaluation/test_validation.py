"""The validation set: one code for training and `softdet evaluate`, so the numbers are the same."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from softdet.data.index import Index
from softdet.data.index_reading import load_labeled
from softdet.errors import DataError
from softdet.evaluation.detector import load_detector, read_card
from softdet.evaluation.metrics import load_truth, operating_threshold
from softdet.evaluation.run import RunFolder
from softdet.evaluation.validation import (
    Validator,
    evaluate_best,
    evaluate_files,
    kept_detections_are_fresh,
    read_evaluation,
)
from softdet.files import digest

CPU = torch.device("cpu")
NUMBERS = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "eval_coco100"


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> RunFolder:
    """A copy of the run, to be changed at will."""
    return RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run")))


@pytest.fixture(scope="module")
def index(squares: Path, tiny_run: Path) -> Index:
    return load_labeled(squares / "valid.json", read_card(RunFolder(tiny_run).best).class_names)


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def best_row(run: RunFolder) -> dict[str, str]:
    with run.metrics.open(newline="") as file:
        return max((row for row in csv.DictReader(file) if row["valid_AP"]), key=lambda row: float(row["valid_AP"]))


def test_the_kept_numbers_have_all_of_cocos_twelve_and_each_class(tiny_run: Path) -> None:
    kept = content(RunFolder(tiny_run).evaluation)
    assert all(isinstance(kept[name], float) for name in NUMBERS)
    assert [(row["name"], row["id"]) for row in kept["per_class"]] == [("red", 17), ("blue", 5)]
    assert kept["AP"] == pytest.approx(sum(row["AP"] for row in kept["per_class"]) / 2)
    assert kept["num_images"] == 8
    # Were it 0, all that follows would compare nothing with nothing.
    assert kept["AP50"] > 0.05


def test_training_evaluating_and_inferring_anew_give_the_identical_numbers(
    run: RunFolder, squares: Path, index: Index
) -> None:
    in_training, detections = content(run.evaluation), run.detections.read_bytes()
    row = best_row(run)
    assert float(row["valid_AP"]) == pytest.approx(in_training["AP"], rel=1e-5)
    assert int(row["step"]) == read_card(run.best).step

    scored = evaluate_best(run, squares / "valid.json", None, device=CPU, batch_size=8)
    assert content(run.evaluation) == in_training
    assert scored.items() <= in_training.items()

    run.detections.unlink()
    inferred = evaluate_best(run, squares / "valid.json", index, device=CPU, batch_size=8)
    assert inferred == scored
    assert run.detections.read_bytes() == detections
    assert content(run.evaluation) == in_training


def test_detections_have_the_users_ids_and_the_images_own_pixels(tiny_run: Path, squares: Path) -> None:
    truth = content(squares / "valid.json")
    sides = {image["id"]: (image["width"], image["height"]) for image in truth["images"]}
    found = content(RunFolder(tiny_run).detections)
    assert {entry["image_id"] for entry in found} == set(sides)
    assert {entry["category_id"] for entry in found} == {5, 17}
    for entry in found:
        x, y, width, height = entry["bbox"]
        assert 0 <= x <= x + width <= sides[entry["image_id"]][0] + 1e-3
        assert 0 <= y <= y + height <= sides[entry["image_id"]][1] + 1e-3
    # The canvas has 64 rows and columns; boxes in its pixels would all stay within.
    assert max(entry["bbox"][1] + entry["bbox"][3] for entry in found) > 100


def test_kept_detections_count_while_the_best_detector_stays(run: RunFolder, squares: Path) -> None:
    assert kept_detections_are_fresh(run, squares / "valid.json")
    evaluate_best(run, squares / "valid.json", None, device=CPU, batch_size=8)
    assert kept_detections_are_fresh(run, squares / "valid.json")


@pytest.mark.parametrize("what", ["weights", "detections", "no detections", "numbers", "no numbers", "old numbers"])
def test_kept_detections_are_dropped_when_anything_has_changed(run: RunFolder, squares: Path, what: str) -> None:
    match what:
        case "weights":
            shutil.copy(run.last, run.best)
            with run.best.open("ab") as file:
                file.write(b" ")
        case "detections":
            run.detections.write_text("[]")
        case "no detections":
            run.detections.unlink()
        case "numbers":
            run.evaluation.write_text("{")
        case "no numbers":
            run.evaluation.unlink()
        case "old numbers":
            kept = content(run.evaluation)
            del kept["weights"]
            run.evaluation.write_text(json.dumps(kept))
    assert not kept_detections_are_fresh(run, squares / "valid.json")


def test_kept_detections_are_dropped_for_another_validation_set(run: RunFolder, squares: Path, tmp_path: Path) -> None:
    other = content(squares / "valid.json")
    other["images"].pop()
    (tmp_path / "other.json").write_text(json.dumps(other))
    assert not kept_detections_are_fresh(run, tmp_path / "other.json")
    assert not kept_detections_are_fresh(run, tmp_path / "missing.json")


def test_training_keeps_the_last_detector_and_the_best_one(
    run: RunFolder, squares: Path, index: Index, tmp_path: Path
) -> None:
    detector = load_detector(run.best)
    truth = load_truth(squares / "valid.json")
    new = RunFolder(tmp_path / "new")
    validator = Validator(new, index, truth, detector.card, CPU, 8)

    numbers = validator(detector.model, 10, -1.0)
    assert read_card(new.best).step == read_card(new.last).step == 10
    assert read_card(new.best).operating_threshold == operating_threshold(truth, content(new.detections))
    kept = read_evaluation(new)
    assert kept is not None
    assert numbers == {"valid_AP": kept["AP"], "valid_AP50": kept["AP50"]}

    # As good as the best is not better: the earlier one stays.
    before = digest(new.best)
    assert validator(detector.model, 20, numbers["valid_AP"]) == numbers
    assert read_card(new.last).step == 20
    assert digest(new.best) == before
    validator(detector.model, 30, numbers["valid_AP"] - 1e-6)
    assert read_card(new.best).step == 30


def test_other_ranks_write_nothing(run: RunFolder, squares: Path, index: Index, tmp_path: Path) -> None:
    detector = load_detector(run.best)
    new = RunFolder(tmp_path / "new")
    Validator(new, index, load_truth(squares / "valid.json"), detector.card, CPU, 8, rank=1)(detector.model, 10, -1.0)
    assert not new.path.exists()


# Defined only where the example is: a test that skips says nothing.
if SHARED.is_dir():

    @pytest.mark.real
    def test_cocos_own_example_gives_cocos_own_numbers() -> None:
        found = evaluate_files(
            SHARED / "instances_val2014_100.json", SHARED / "instances_val2014_fakebbox100_results.json"
        )
        expected = content(SHARED / "expected.json")
        assert {name: found[name] for name in NUMBERS} == pytest.approx(expected["stats"], abs=1e-9)
        by_class = {
            str(row["id"]): row["AP"] for row in found["per_class"] if str(row["id"]) in expected["per_category_AP"]
        }
        assert by_class == pytest.approx(expected["per_category_AP"], abs=1e-9)


def test_any_two_files_can_be_scored(tiny_run: Path, squares: Path) -> None:
    run = RunFolder(tiny_run)
    assert evaluate_files(squares / "valid.json", run.detections)["AP"] == content(run.evaluation)["AP"]


def test_files_that_do_not_belong_together_are_both_named(tiny_run: Path, squares: Path) -> None:
    run = RunFolder(tiny_run)
    with pytest.raises(DataError, match=r"detections\.json against .*train\.json"):
        evaluate_files(squares / "train.json", run.detections)
