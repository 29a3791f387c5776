"""COCO files as tools export them: Roboflow's tree, missing sizes, moved images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from labeled_sets import boxes_of, random_content, write_coco, write_picture, write_roboflow, write_text

from softdet.data.sources.reading import read_labeled
from softdet.errors import DataError


def one_box(root: Path, image: dict[str, Any] | None = None, **annotation: Any) -> Path:
    write_picture(root / "images" / "a.png", (100, 80))
    write_picture(root / "images" / "b.png", (100, 80))
    sizes = {"width": 100, "height": 80}
    images = [{"id": 1, "file_name": "a.png", **(sizes if image is None else image)}, {"id": 2, "file_name": "b.png"}]
    box = {"id": 7, "image_id": 1, "category_id": 3, "bbox": [10, 10, 20, 20]} | annotation
    content = {"images": images, "annotations": [box], "categories": [{"id": 3, "name": "cat"}]}
    return write_text(root / "set.json", json.dumps(content))


def test_the_dummy_class_of_roboflow_is_left_out(tmp_path: Path) -> None:
    parts = read_labeled(write_roboflow(random_content(1, 6), tmp_path)).parts
    assert [category["name"] for category in parts["train"]["categories"]] == ["cat", "dog", "bird"]


@pytest.mark.parametrize(
    "image", [{}, {"width": 0, "height": 0}, {"width": "100", "height": None}, {"width": 100.0, "height": 80.0}]
)
def test_a_size_that_is_missing_is_read_from_the_picture(image: dict[str, Any], tmp_path: Path) -> None:
    found = read_labeled(one_box(tmp_path, image)).parts["train"]["images"][0]
    assert (found["width"], found["height"], found["id"]) == (100, 80, 1)


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"bbox": [float("nan"), 1, 2, 3]}, "boxes that are not four finite numbers"),
        ({"bbox": [1, 1, float("inf"), 3]}, "boxes that are not four finite numbers"),
        ({"bbox": []}, "boxes that are not four finite numbers"),
        ({"bbox": ["1", 1, 2, 3]}, "boxes that are not four finite numbers"),
        ({"bbox": [1, 1, 0, 3]}, "boxes without area"),
        ({"bbox": [1, 1, 3, -3]}, "boxes without area"),
        ({"bbox": [100, 1, 3, 3]}, "boxes outside their image"),
        ({"bbox": [-9, 1, 9, 3]}, "boxes outside their image"),
        ({"image_id": 9}, "boxes of an image that the file doesn't list"),
    ],
)
def test_a_bad_box_is_left_out_and_named(annotation: dict[str, Any], reason: str, tmp_path: Path) -> None:
    labeled = read_labeled(one_box(tmp_path, **annotation))
    assert not labeled.parts["train"]["annotations"]
    number = annotation.get("image_id", 1)
    assert labeled.dropped.rows() == [(reason, 1, (f"set.json: annotation 7 of image {number}",))]


def test_a_box_is_cut_at_the_border_and_told_if_it_is_more_than_rounding(tmp_path: Path) -> None:
    labeled = read_labeled(one_box(tmp_path, bbox=[-5, 70, 25, 10.5]))
    assert boxes_of(labeled.parts["train"])["a.png"] == [("cat", [0, 70, 20, 10])]
    assert labeled.noted.rows()[0][:2] == ("boxes that reached outside their image were cut at its border", 1)
    (tmp_path / "other").mkdir()
    assert not read_labeled(one_box(tmp_path / "other", bbox=[0, 70, 25, 10.5])).noted.counts


def test_a_polygon_without_a_box_gives_the_one_around_it(tmp_path: Path) -> None:
    labeled = read_labeled(one_box(tmp_path, bbox=[], segmentation=[[10, 10, 40, 10, 40, 30], [50, 5, 60, 5, 60, 9]]))
    assert boxes_of(labeled.parts["train"])["a.png"] == [("cat", [10, 5, 50, 25])]


def test_crowds_areas_and_ignored_regions_stay(tmp_path: Path) -> None:
    (found,) = read_labeled(one_box(tmp_path, iscrowd=1, area=3.5, ignore=1)).parts["train"]["annotations"]
    assert (found["iscrowd"], found["area"], found["ignore"], found["id"]) == (1, 3.5, 1, 7)


def test_images_are_found_where_they_were_moved(tmp_path: Path) -> None:
    file = one_box(tmp_path / "annotations")
    (tmp_path / "annotations" / "images").rename(tmp_path / "train2017")
    content = json.loads(file.read_text())
    content["images"][0]["file_name"] = "C:\\data\\a.png"
    file.write_text(json.dumps(content))
    images = read_labeled(tmp_path).parts["train"]["images"]
    assert [Path(image["file_name"]).parent.name for image in images] == ["train2017", "train2017"]


def test_one_missing_image_is_counted_and_no_image_at_all_is_an_error(tmp_path: Path) -> None:
    file = one_box(tmp_path)
    (tmp_path / "images" / "a.png").unlink()
    assert read_labeled(file).dropped.rows() == [("images that aren't there", 1, ("a.png",))]
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(DataError, match=r"lists 2 images \(the first: a.png\); none was found in .*images"):
        read_labeled(file)


def test_a_category_that_the_file_does_not_name(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"1 of its 1 boxes have the category ids 4, .* \(3 = cat\). Ids are often shift"
    ):
        read_labeled(one_box(tmp_path, category_id=4))


def test_the_official_names_and_folders(tmp_path: Path) -> None:
    for split, seed in (("train", 1), ("val", 2)):
        file = write_coco(random_content(seed, 4), tmp_path / split)
        (tmp_path / split / "images").rename(tmp_path / f"{split}2017")
        (tmp_path / "annotations").mkdir(exist_ok=True)
        write_text(tmp_path / "annotations" / f"captions_{split}2017.json", '{"images": [], "annotations": [{}]}')
        file.rename(tmp_path / "annotations" / f"instances_{split}2017.json")
    parts = read_labeled(tmp_path).parts
    assert set(parts) == {"train", "valid"}
    # Both splits have images of the same names: each takes those of its own folder.
    assert {Path(image["file_name"]).parent.name for image in parts["valid"]["images"]} == {"val2017"}
    assert {Path(image["file_name"]).parent.name for image in parts["train"]["images"]} == {"train2017"}
