"""Regions marked `ignore` or `iscrowd`, from the JSON file to the loss and to the AP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trainers import trainer_of

from softdet.config import load_config
from softdet.data.index_reading import load_labeled
from softdet.engine.trainer import Trainer
from softdet.evaluation.metrics import evaluate_detections, load_truth
from softdet.ops.boxes import intersection_over_first
from softdet.ops.matching import BACKGROUND, IGNORED
from softdet.semi.losses import assign_labeled

MARKS = ("ignore", "iscrowd")


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def mark_second_boxes(content: dict[str, Any], mark: str | None) -> None:
    """Each picture has two squares: mark the second one, or leave its box out."""
    seen: set[int] = set()
    kept = []
    for annotation in content["annotations"]:
        is_second = annotation["image_id"] in seen
        seen.add(annotation["image_id"])
        if is_second and mark is None:
            continue
        kept.append(annotation | ({mark: 1} if is_second and mark else {}))
    content["annotations"] = kept


def made(folder: Path, name: str) -> Trainer:
    keys = ["params.batch_size=8", "soft_teacher.enabled=False", f"model.exp_path={folder / name}"]
    return trainer_of(load_config(folder / "tiny.yaml", keys))


@pytest.mark.parametrize("mark", MARKS)
def test_a_marked_square_teaches_neither_object_nor_background(own_squares: Path, mark: str) -> None:
    train = own_squares / "train.json"
    original = train.read_text()
    losses, labels, regions = {}, {}, {}
    for case in ("boxed", mark, "left out"):
        train.write_text(original)
        if case != "boxed":
            rewrite(train, lambda content, case=case: mark_second_boxes(content, mark if case == mark else None))  # type: ignore[misc]
        trainer = made(own_squares, case)
        views = trainer.augment(next(iter(trainer.batches(range(1))))[0])
        labels[case] = assign_labeled(trainer.method.teacher.model, views).labels  # type: ignore[attr-defined]
        regions[case] = [target.ignored for target in views.targets]
        output = next(iter(trainer.method.step([views])))
        losses[case] = {name: loss.item() for name, loss in output.losses.items()}
        anchors = trainer.student.module.anchors_at(views.labeled.size)
    assert all(len(each) == 1 for each in regions[mark])
    assert not any(map(len, regions["boxed"] + regions["left out"]))
    for image, region in enumerate(regions[mark]):
        inside = (intersection_over_first(anchors, region) >= 0.5)[:, 0]
        of_region, of_background = labels[mark][image], labels["left out"][image]
        assert (of_background[inside] == BACKGROUND).any()
        assert not (of_region[inside] == BACKGROUND).any()
        changed = of_region != of_background
        assert (of_region[changed] == IGNORED).all(), "no anchor learns an object there"
        assert torch.equal(of_region >= 0, of_background >= 0)
    assert losses[mark]["supervised_class"] < losses["left out"]["supervised_class"]
    assert losses[mark]["supervised_box"] == losses["left out"]["supervised_box"]
    assert losses[mark]["supervised_box"] != losses["boxed"]["supervised_box"]


def perfect(truth: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"image_id": entry["image_id"], "category_id": entry["category_id"], "bbox": entry["bbox"], "score": 0.9}
        for entry in truth["annotations"]
    ]


@pytest.mark.parametrize("mark", MARKS)
def test_a_detection_of_a_marked_square_counts_neither_for_nor_against(own_squares: Path, mark: str) -> None:
    valid = own_squares / "valid.json"
    detections = perfect(load_truth(valid))
    rewrite(valid, lambda content: mark_second_boxes(content, mark))
    truth = load_truth(valid)
    firsts = [each for each, entry in zip(detections, truth["annotations"], strict=True) if not entry.get(mark)]
    for found in (detections, firsts):
        metrics = evaluate_detections(truth, found)
        assert metrics["AP"] == pytest.approx(1)
        assert metrics["num_boxes"] == 8
    rewrite(valid, lambda content: mark_second_boxes(content, None))
    assert evaluate_detections(load_truth(valid), detections)["AP"] < 0.8


def test_an_ignored_region_is_one_of_every_class_and_a_crowd_of_its_own(own_squares: Path) -> None:
    # Training leaves both alone whatever the class; a crowd's score is COCO's.
    valid = own_squares / "valid.json"
    other = {17: 5, 5: 17}
    for mark, is_forgiven in (("ignore", True), ("iscrowd", False), ("both", False)):
        truth = load_truth(valid)
        for number, entry in enumerate(truth["annotations"]):
            if number % 2:
                entry |= {"ignore": 1, "iscrowd": 1} if mark == "both" else {mark: 1}
        found = perfect(truth)
        for detection, entry in zip(found, truth["annotations"], strict=True):
            if entry.get("ignore") or entry["iscrowd"]:
                detection["category_id"] = other[detection["category_id"]]
                detection["score"] = 0.95
        metrics = evaluate_detections(truth, found)
        assert (metrics["AP"] == pytest.approx(1)) == is_forgiven, mark
        assert metrics["num_boxes"] == 8


def test_a_region_may_be_of_a_category_that_is_no_class(own_squares: Path) -> None:
    def add(content: dict[str, Any]) -> None:
        content["categories"].append({"id": 99, "name": "ignored regions"})
        content["annotations"][1] |= {"category_id": 99, "ignore": 1}

    for name in ("train", "valid"):
        rewrite(own_squares / f"{name}.json", add)
    index = load_labeled(own_squares / "train.json", ("red", "blue"))
    assert [len(record.ignored) for record in index.images] == [1] + [0] * 7
    assert len(index.images[0].boxes) == 1
    assert index.class_names == ("red", "blue")
    # The region counts for the classes that are left.
    truth = load_truth(own_squares / "valid.json")
    found = perfect(truth)
    found[1] |= {"category_id": 17, "score": 0.95}
    assert evaluate_detections(truth, found)["AP"] == pytest.approx(1)
