import json
from pathlib import Path
from typing import Any

import pytest

from softdet.errors import DataError
from softdet.evaluation.metrics import load_detections, load_truth

BOX = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
GOOD = {**BOX, "score": 0.5}
TRUTH = {"images": [{"id": 1}], "annotations": [BOX], "categories": [{"id": 1, "name": "cat"}]}


def test_files_are_read_back(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text(json.dumps(TRUTH))
    (tmp_path / "detections.json").write_text(json.dumps([GOOD, {**GOOD, "image_id": "a"}]))
    (tmp_path / "none.json").write_text("[]")
    assert load_truth(tmp_path / "truth.json") == TRUTH
    assert load_detections(tmp_path / "detections.json") == [GOOD, {**GOOD, "image_id": "a"}]
    assert load_detections(tmp_path / "none.json") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1", "not JSON"),
        ('{"images": []}', r"a list, one entry a box; found an object with \['images'\]"),
        ("3", "found int"),
        (
            json.dumps([GOOD, {"image_id": 1}, {}]),
            r"2 of 3 detections are malformed; the first, at place 1: {'image_id'",
        ),
        (json.dumps([{**GOOD, "score": float("nan")}]), "1 of 1 .* finite score"),
        (json.dumps([{**GOOD, "bbox": [1, 2, 3]}]), "four finite numbers"),
        (json.dumps([{**GOOD, "bbox": [9, 9, -3, 4]}]), "w and h of at least 0"),
        (json.dumps([{**GOOD, "image_id": None}]), "1 of 1 detections"),
        (json.dumps([7]), "at place 0: 7"),
    ],
)
def test_malformed_detections(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "detections.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        load_detections(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": None}, "a list `annotations`"),
        ({"categories": [{"id": 1}]}, "1 of 1 `categories` lack id or name"),
        ({"images": [{"id": 1}, {"id": 1}]}, r"stand twice in `images`: \[1\]"),
        ({"annotations": [BOX, {**BOX, "bbox": [1, 2, 3]}]}, "1 of 2 annotations have no bbox"),
        ({"annotations": [{**BOX, "area": "12"}]}, "an area that isn't a number"),
        ({"annotations": [{**BOX, "category_id": 0}]}, r"category ids 0, which are not among its categories \(1\)"),
        ({"annotations": [{"bbox": [1, 2, 3, 4]}]}, "lack image_id or category_id"),
    ],
)
def test_malformed_truth(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({**TRUTH, **change}))
    with pytest.raises(DataError, match=message):
        load_truth(path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*truth\.json"):
        load_truth(tmp_path / "truth.json")
    with pytest.raises(DataError, match=r"no detections file .*found\.json"):
        load_detections(tmp_path / "found.json")
