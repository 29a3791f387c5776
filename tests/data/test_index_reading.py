from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_lists import box, image, picture, write

from softdet.data.index import Index
from softdet.data.index_reading import load_json, load_labeled, load_unlabeled, read_class_names
from softdet.data.sources.reading import read_labeled
from softdet.errors import DataError


def load_boxes(folder: Path, annotations: Sequence[dict[str, Any]]) -> Index:
    return load_labeled(write(folder, annotations=annotations))


def test_category_ids_with_gaps_become_labels_from_0_in_the_order_of_the_ids(tmp_path: Path) -> None:
    # Trap 7: the smallest id is label 0, and the user's ids lead back.
    index = load_boxes(tmp_path, [box(1, 90), box(1, 3), box(1, 7)])
    assert index.class_names == ("cat", "emu", "dog")
    assert index.category_ids == (3, 7, 90)
    assert index.images[0].labels.tolist() == [2, 0, 1]
    assert index.dropped == {}


def test_boxes_become_corners(tmp_path: Path) -> None:
    record = load_boxes(tmp_path, [box(1, 3, (1, 2, 10, 20)), box(1, 7, (0.5, 0, 39.5, 30))]).images[0]
    assert record.boxes.tolist() == [[1, 2, 11, 22], [0.5, 0, 40, 30]]
    assert (record.boxes.dtype, record.labels.dtype, record.size) == (np.float32, np.int64, (30, 40))


def test_boxes_are_counted_by_class(tmp_path: Path) -> None:
    assert load_boxes(tmp_path, [box(1, 90), box(1, 3), box(1, 90)]).boxes_by_class().tolist() == [1, 0, 2]
    assert load_boxes(tmp_path, []).boxes_by_class().tolist() == [0, 0, 0]


def test_images_with_gaps_and_text_for_ids_keep_their_own_boxes(tmp_path: Path) -> None:
    images = [image(500), image("b7"), image(2), image("2")]
    annotations = [box("2", 90), box(500, 3), box("b7", 7), box("b7", 3)]
    index = load_labeled(write(tmp_path, images, annotations))
    assert [record.id for record in index.images] == [500, "b7", 2, "2"]
    assert [record.labels.tolist() for record in index.images] == [[0], [1, 0], [], [2]]
    assert index.images[2].boxes.shape == (0, 4)
    assert len(index) == 4


@pytest.mark.parametrize(("of_image", "of_box"), [(1, "1"), ("1", 1)])
def test_an_image_named_by_text_and_by_number_is_an_error(tmp_path: Path, of_image: object, of_box: object) -> None:
    path = write(tmp_path, [image(of_image)], [box(of_box, 3)])
    for read in (load_labeled, read_labeled):
        with pytest.raises(DataError, match=f"names its image {of_box!r}, and `images` has {of_image!r}"):
            read(path)


def test_a_blank_around_a_name_makes_no_other_class(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": " cat"}, {"id": 2, "name": "dog "}]
    index = load_labeled(write(tmp_path, annotations=[box(1, 2)], categories=categories), ("dog", "cat"))
    assert index.category_ids == (2, 1)


def test_category_ids_may_be_text_too(tmp_path: Path) -> None:
    categories = [{"id": "x", "name": "cat"}, {"id": 4, "name": "dog"}]
    index = load_labeled(write(tmp_path, annotations=[box(1, "x")], categories=categories))
    assert (index.class_names, index.category_ids) == (("dog", "cat"), (4, "x"))
    assert index.images[0].labels.tolist() == [1]


def test_a_class_list_sets_the_labels_and_unlisted_classes_have_no_id(tmp_path: Path) -> None:
    path = write(tmp_path, annotations=[box(1, 90), box(1, 3)])
    index = load_labeled(path, ("dog", "bird", "cat"))
    assert index.class_names == ("dog", "bird", "cat")
    assert index.category_ids == (90, None, 3)
    assert index.images[0].labels.tolist() == [0, 2]


def test_crowds_and_ignored_boxes_are_regions_without_a_class(tmp_path: Path) -> None:
    annotations = [box(1, 3), box(1, 3, (0, 0, 5, 5), iscrowd=1), box(1, 7, (5, 5, 9, 9), ignore=1)]
    record = load_boxes(tmp_path, annotations).images[0]
    assert record.labels.tolist() == [0]
    assert record.ignored.tolist() == [[0, 0, 5, 5], [5, 5, 14, 14]]


def test_a_box_that_reaches_outside_is_clipped(tmp_path: Path) -> None:
    record = load_boxes(tmp_path, [box(1, 3, (-5, -5, 10, 10)), box(1, 3, (35, 25, 90, 90))]).images[0]
    assert record.boxes.tolist() == [[0, 0, 5, 5], [35, 25, 40, 30]]


@pytest.mark.parametrize(
    ("corners", "reason"),
    [
        ((5, 5, 0, 8), "no area"),
        ((5, 5, 8, -3), "no area"),
        ((40, 3, 5, 5), "outside the image"),
        ((-9, 3, 9, 5), "outside the image"),
        ((3, 99, 5, 5), "outside the image"),
        ((float("nan"), 1, 2, 3), "not four finite numbers"),
        ((1, 1, float("inf"), 3), "not four finite numbers"),
        ((1, 2, 3), "not four finite numbers"),
        (("1", 2, 3, 4), "not four finite numbers"),
        (None, "not four finite numbers"),
    ],
)
def test_boxes_that_are_none_are_dropped_and_counted(tmp_path: Path, corners: object, reason: str) -> None:
    index = load_boxes(tmp_path, [box(1, 3), box(1, 7, corners), box(1, 7, corners)])
    assert index.dropped == {reason: 2}
    assert index.images[0].labels.tolist() == [0]


def test_boxes_of_unlisted_images_are_counted(tmp_path: Path) -> None:
    assert load_boxes(tmp_path, [box(1, 3), box(8, 3)]).dropped == {"of an image that the index doesn't list": 1}


def test_a_category_that_the_file_does_not_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index.json: annotations name the category ids \['4'\].*shifted by one"):
        load_boxes(tmp_path, [box(1, 4)])


def test_a_class_that_is_not_in_the_list(tmp_path: Path) -> None:
    path = write(tmp_path, annotations=[box(1, 90)])
    with pytest.raises(DataError, match=r"index.json: its boxes have the classes \['dog'\].*params.classes"):
        load_labeled(path, ("cat", "emu"))
    assert load_labeled(path, ("dog",)).category_ids == (90,), "categories without boxes may be left out"


def test_a_name_that_stands_twice_is_the_category_with_boxes(tmp_path: Path) -> None:
    # Roboflow writes a parent category, which has no boxes, and may bear the name of its only child.
    categories = [{"id": 0, "name": "cat"}, {"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    for used in (0, 1):
        index = load_labeled(write(tmp_path, annotations=[box(1, used), box(1, 2)], categories=categories))
        assert (index.class_names, index.category_ids) == (("cat", "dog"), (used, 2))
        assert index.images[0].labels.tolist() == [0, 1]
    with pytest.raises(DataError, match=r"index.json: several categories with boxes have the same name: \['cat'\]"):
        load_labeled(write(tmp_path, annotations=[box(1, 0), box(1, 1)], categories=categories))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"categories": []}, "no `categories`, so its boxes have no classes. Is it a labeled index"),
        ({"categories": [{"id": 1}]}, r"`categories` is a list whose entries have id and name.*\{'id': 1\}. Export"),
        ({"categories": [{"id": 1, "name": "a"}] * 2}, r"these ids stand twice in `categories`: \[1\]. Give each"),
        ({"images": [image(1), image(1)]}, r"these ids stand twice in `images`: \[1\]. Give each"),
        ({"images": []}, "the list `images` is empty. Is it the right file"),
        ({"images": ["a.png"]}, "`images` is a list whose entries have id and file_name.*found a.png"),
        ({"images": [{"id": 1}]}, "`images` is a list whose entries have id and file_name"),
        ({"images": [image(1, width=0)]}, r"image 'a.png' \(id 1\) has width 0 and height 30.*whole numbers above 0"),
        ({"images": [image(1, height=None)]}, "image 'a.png'.* height None"),
        ({"images": [image(1, height=30.5)]}, r"image 'a.png'.* height 30\.5"),
        ({"annotations": [{"image_id": 1, "bbox": [1, 1, 2, 2]}]}, "`annotations` is a list.*image_id and category_id"),
        ({"annotations": {"1": []}}, "`annotations` is a list.*found {'1'"),
    ],
)
def test_a_malformed_index_is_named_with_the_fix(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match="index.json: " + message):
        load_labeled(write(tmp_path, **{"annotations": [], **more}))


def test_sizes_from_a_table_and_an_index_without_annotations(tmp_path: Path) -> None:
    index = load_labeled(write(tmp_path, [image(1, width=40.0, height=30.0)], None))
    assert index.images[0].size == (30, 40)
    assert isinstance(index.images[0].size[0], int)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON .*cut off"),
        ('{"images": [', "is not JSON"),
        ("[1, 2]", "an object with a list `images`; found list"),
        ('{"info": 1, "data": 2}', r"found \['data', 'info'\]"),
    ],
)
def test_files_that_are_no_index(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(DataError, match="index.json.*" + message):
        load_json(tmp_path / "index.json")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*gone.json. .*softdet prepare"):
        load_labeled(tmp_path / "gone.json")
    with pytest.raises(DataError, match=r"can't be read .*one COCO JSON file"):
        load_labeled(tmp_path)
    with pytest.raises(DataError, match=r"a.png is not JSON"):
        load_unlabeled(picture(tmp_path / "a.png"))


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = write(tmp_path, annotations=[])
    path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    assert len(load_labeled(path)) == 1
    (tmp_path / "classes.txt").write_text("\ufeffcat\n\n  guinea pig \r\n", encoding="utf-8")
    assert read_class_names(tmp_path / "classes.txt") == ("cat", "guinea pig")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\ndog\ncat\n", r"classes.txt: these class names stand twice: \['cat'\]. Write each class once"),
        (b"\n \n", "classes.txt: there is no class name in it"),
        (b"\xe9mu\n", "classes.txt: its text is not UTF-8"),
        (None, "params.classes: there is no file .*classes.txt.*Leave params.classes out"),
    ],
)
def test_class_lists_that_cannot_be_used(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_class_names(tmp_path / "classes.txt")


def test_where_the_files_are_looked_for_and_in_which_order(tmp_path: Path) -> None:
    homes = [tmp_path / "set", tmp_path / "set" / "images", tmp_path / "root", tmp_path / "written"]
    path = write(homes[0], [image(1, "x/b.png")], [], info={"root": "../written"})
    for number, home in reversed(list(enumerate(homes))):
        picture(home / "x" / "b.png")
        found = [load_labeled(path, root=homes[2]), load_unlabeled(path, homes[2])]
        assert [index.images[0].path.resolve() for index in found] == [home / "x" / "b.png"] * 2, number
    absolute = write(tmp_path / "other", [image(1, str(homes[2] / "x" / "b.png"))], [])
    assert load_labeled(absolute).images[0].path == homes[2] / "x" / "b.png"


def test_missing_images_stay_listed_but_not_all_may_miss(tmp_path: Path) -> None:
    path = write(tmp_path, [image(1), image(2, "gone.png")], [])
    assert [record.path.is_file() for record in load_labeled(path).images] == [True, False]
    path = write(tmp_path, [image(1, "gone.png"), image(2, "lost.png")], [])
    for load in (load_labeled, load_unlabeled):
        with pytest.raises(DataError, match=r"index.json: none of its .*gone.png.*Looked in .*images.*Set data.root"):
            load(path)


def test_the_boxes_of_an_unlabeled_index_are_never_read(tmp_path: Path) -> None:
    index = load_unlabeled(write(tmp_path, annotations=[{"nonsense": 1}, 5], categories=None))
    assert (index.class_names, index.category_ids, index.images[0].size) == ((), (), (30, 40))
    assert len(index.images[0].boxes) == len(index.images[0].labels) == len(index.images[0].ignored) == 0
    with pytest.raises(DataError, match="ids stand twice in `images`"):
        load_unlabeled(write(tmp_path, [image(1), image(1)]))


def test_a_folder_of_images_is_an_unlabeled_list(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "deep/er/c.jpeg", "._b.png", "__MACOSX/._a.jpg", ".cache/d.png"):
        picture((tmp_path / name).with_suffix(".png")).rename(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    index = load_unlabeled(tmp_path)
    assert [record.id for record in index.images] == ["a.JPG", "b.png", "deep/er/c.jpeg"]
    assert [record.path for record in index.images] == [tmp_path / record.id for record in index.images]
    assert {record.size for record in index.images} == {None}


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match=r"no image in this folder \(looked for .*\.jpg"):
        load_unlabeled(tmp_path)
