"""Fields of COCO JSON as tools and tables write them, and every reader of them alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from coco_lists import box, write

from softdet.data.index_reading import load_labeled
from softdet.data.sources.reading import read_labeled
from softdet.errors import DataError
from softdet.evaluation.columns import to_columns
from softdet.evaluation.metrics import load_truth


def test_a_number_that_no_float_holds_is_not_finite(tmp_path: Path) -> None:
    path = write(tmp_path, annotations=[box(1, 3, (0, 0, 10**400, 5))])
    assert load_labeled(path).dropped == {"not four finite numbers": 1}
    assert [what for what, _, _ in read_labeled(path).dropped.rows()] == ["boxes that are not four finite numbers"]
    with pytest.raises(DataError, match="1 of 1 annotations have no bbox of four finite numbers"):
        load_truth(path)


@pytest.mark.parametrize("key", ["iscrowd", "ignore"])
@pytest.mark.parametrize(
    ("value", "is_region"),
    [
        *[(value, True) for value in (1, True, 1.0, "1", "true")],
        *[(value, False) for value in (0, False, 0.0, "0", "", " False", None, float("nan"))],
    ],
)
def test_a_region_is_what_is_marked_however_a_table_writes_it(
    tmp_path: Path, key: str, value: object, is_region: bool
) -> None:
    content = json.loads(write(tmp_path, annotations=[box(1, 3, id=1, area=200, **{key: value})]).read_text())
    (record,) = load_labeled(tmp_path / "index.json").images
    assert (len(record.boxes), len(record.ignored)) == ((0, 1) if is_region else (1, 0))
    columns = to_columns(content, [])
    assert set(columns.ignored.tolist()) == {is_region}
    assert len(columns.ignored) == (3 if is_region and key == "ignore" else 1)


def test_a_mark_that_is_neither_yes_nor_no_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, annotations=[box(1, 3, id=5, ignore="perhaps")])
    with pytest.raises(DataError, match="annotation 5 of image 1: `ignore` is 'perhaps'; it must be 0 or 1"):
        load_labeled(path)
