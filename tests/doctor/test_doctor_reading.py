import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labeled_sets import random_content, write_coco, write_voc, write_yolo

from softdet.doctor.examine import examine
from softdet.doctor.reading import open_labeled, open_unlabeled
from softdet.errors import DataError


def test_clean_lists_give_no_finding(own: Any) -> None:
    report = own.examine()
    assert report.findings == ()
    assert report.exit_code == 0
    assert report.summary() == "nothing wrong in 18 images (labeled 6, unlabeled 6, valid 6)"


def test_entries_without_their_keys_are_told_and_left_out(own: Any, only: Callable[..., Any]) -> None:
    own.content["labeled"]["annotations"].append({"id": 99, "bbox": [1, 2, 3, 4]})
    finding = only(own.examine(), "entry-malformed")
    assert (finding.level, finding.places[0].file) == ("error", "annotations")


def test_boxes_of_images_that_are_not_listed(own: Any, only: Callable[..., Any]) -> None:
    own.content["labeled"]["annotations"].append({"id": 99, "image_id": 77, "category_id": 0, "bbox": [1, 2, 30, 40]})
    finding = only(own.examine(), "image-not-listed")
    assert finding.places[0].detail == "annotation 99 of image 77"


def test_boxes_that_name_their_image_by_text(own: Any, only: Callable[..., Any]) -> None:
    own.content["labeled"]["annotations"].append({"id": 99, "image_id": "1", "category_id": 0, "bbox": [1, 2, 30, 40]})
    finding = only(own.examine(), "image-id-kind")
    assert (finding.level, finding.places[0].detail) == ("error", "annotation 99 of image '1'")


def test_a_blank_at_the_end_makes_no_other_class(own: Any) -> None:
    own.content["valid"]["categories"][0]["name"] += " "
    assert own.examine().findings == ()


def test_an_id_that_stands_twice(own: Any) -> None:
    own.content["labeled"]["images"][1]["id"] = 1
    codes = [finding.code for finding in own.examine().findings]
    assert "id-twice" in codes


@pytest.mark.parametrize("sides", [{"width": 0}, {"height": None}, {"width": "96"}, {"height": 64.5}])
def test_a_size_that_is_none(own: Any, only: Callable[..., Any], sides: dict[str, Any]) -> None:
    own.content["labeled"]["images"][4] |= sides
    assert only(own.examine(), "size-missing").places[0].file == "labeled_4.png"


def test_polygons_without_a_box_are_read_as_prepare_reads_them(own: Any, only: Callable[..., Any]) -> None:
    annotation = own.content["labeled"]["annotations"][0]
    x, y, width, height = annotation.pop("bbox")
    annotation["segmentation"] = [[x, y, x + width, y, x + width, y + height]]
    finding = only(own.examine(), "box-missing")
    assert (finding.level, finding.count) == ("warning", 1)


def test_a_file_that_is_no_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1, 2")
    with pytest.raises(DataError, match="not JSON"):
        open_labeled(tmp_path / "x.json")


def test_yolo_labels_become_pixels(own: Any) -> None:
    labels = own.folder / "labels"
    labels.mkdir()
    for number in range(6):
        (labels / f"labeled_{number}.txt").write_text("0 0.5 0.5 0.25 0.5\n1 0.2 0.2 0.0 0.1\n")
        (labels / f"valid_{number}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    pools, _ = open_labeled(own.folder / "images" / "..", class_names=["cat", "dog"])
    (pool,) = pools
    assert pool.labels is not None
    first = pool.labels.corners[0].tolist()
    assert first == [36, 16, 60, 48]


def test_a_bad_box_of_a_yolo_set_is_named_by_file_and_line(own: Any) -> None:
    (own.folder / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    labels = own.folder / "labels"
    labels.mkdir()
    for number in range(6):
        for name in ("labeled", "valid"):
            (labels / f"{name}_{number}.txt").write_text("0 0.5 0.5 0.25 0.5\n1 0.2 0.2 0.2 0.3\n")
    (labels / "labeled_2.txt").write_text("0 0.5 0.5 0.25 0.5\n1 1.5 0.2 0.2 0.1\n")
    report = own.examine(labeled=own.folder / "data.yaml", valid=None)
    finding = next(each for each in report.findings if each.code == "box-outside")
    assert finding.places[0].file.endswith("labeled_2.png")
    assert "labeled_2.txt:2" in finding.places[0].detail


def test_in_one_pile_of_images_those_without_a_label_file_are_unlabeled(own: Any) -> None:
    pile = own.folder / "pile"
    pile.mkdir()
    (pile / "classes.txt").write_text("cat\ndog\n")
    for number in range(6):
        own.image(f"labeled_{number}.png").rename(pile / f"labeled_{number}.png")
        (pile / f"labeled_{number}.txt").write_text("0 0.3 0.3 0.3 0.3\n1 0.7 0.7 0.3 0.4\n")
        (own.folder / "unlabeled" / f"unlabeled_{number}.png").rename(pile / f"unlabeled_{number}.png")
    report = own.examine(labeled=pile, unlabeled=pile)
    assert report.num_images == {"labeled": 6, "unlabeled": 6, "valid": 6}
    assert report.findings == ()
    for number in range(6):
        (pile / f"unlabeled_{number}.png").unlink()
    (finding,) = own.examine(labeled=pile, unlabeled=pile).findings
    assert (finding.level, finding.code) == ("error", "nothing-unlabeled")


def test_splits_of_one_source_are_pools_of_their_own(own: Any) -> None:
    for split in ("train", "valid"):
        (own.folder / "rf" / split).mkdir(parents=True)
        name = "labeled" if split == "train" else split
        for number in range(6):
            own.image(f"{name}_{number}.png").rename(own.folder / "rf" / split / f"{name}_{number}.png")
        (own.folder / "rf" / split / "_annotations.coco.json").write_text(json.dumps(own.content[name]))
    report = own.examine(labeled=own.folder / "rf", valid=None)
    assert report.num_images == {"labeled": 6, "unlabeled": 6, "valid": 6}
    assert report.findings == ()


def test_roboflows_class_without_boxes_is_none(own: Any) -> None:
    for content in own.content.values():
        for category in content["categories"]:
            category["supercategory"] = "pets"
        content["categories"].insert(0, {"id": 7, "name": "pets", "supercategory": "none"})
    assert own.examine().findings == ()


def test_unlabeled_images_by_pattern_and_by_list(own: Any) -> None:
    folder = own.folder / "unlabeled"
    pool, _ = open_unlabeled(f"{folder}/*_[0-2].png")
    assert len(pool.pictures) == 3
    (own.folder / "list.txt").write_text("unlabeled/unlabeled_1.png\nunlabeled/gone.png\n")
    pool, findings = open_unlabeled(own.folder / "list.txt")
    assert len(pool.pictures) == 1
    assert findings[0].places[0].file == "unlabeled/gone.png"
    with pytest.raises(DataError, match="no image matches"):
        open_unlabeled(f"{folder}/*.xyz")


def test_pictures_in_unread_forms_are_mentioned(own: Any, only: Callable[..., Any]) -> None:
    (own.folder / "unlabeled" / "photo.HEIC").write_bytes(b"x")
    finding = only(own.examine(), "files-not-read")
    assert finding.places[0].file == "photo.HEIC"


def test_a_video_asks_for_prepare(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="softdet prepare"):
        open_unlabeled(tmp_path / "film.mp4")


def test_images_are_looked_for_where_prepare_does(tmp_path: Path) -> None:
    """CVAT's layout for COCO: `annotations/instances_default.json` beside `images/default/`."""
    source = write_coco(random_content(0, 6), tmp_path / "set")
    (tmp_path / "set" / "annotations").mkdir()
    (tmp_path / "set" / "images").rename(tmp_path / "default")
    (tmp_path / "set" / "images").mkdir()
    (tmp_path / "default").rename(tmp_path / "set" / "images" / "default")
    source.rename(tmp_path / "set" / "annotations" / "instances_default.json")
    (pool,), findings = open_labeled(tmp_path / "set")
    assert findings == []
    assert all(picture.path.is_file() for picture in pool.pictures)


def test_validation_images_without_names_have_the_labeled_ones(tmp_path: Path) -> None:
    labeled, valid = (write_yolo(random_content(seed, 6), tmp_path / str(seed)) for seed in (1, 2))
    (valid / "data.yaml").unlink()
    codes = {finding.code for finding in examine(labeled, valid=valid, quick=True).findings}
    assert not codes & {"classes-differ", "class-not-in-valid"}


def test_ids_that_a_format_has_none_of_cannot_differ(tmp_path: Path) -> None:
    sources = {}
    for name, without in (("labeled", None), ("valid", "bird")):
        made = random_content(5, 12, whole=True)
        if without:
            number = next(each["id"] for each in made["categories"] if each["name"] == without)
            made["annotations"] = [each for each in made["annotations"] if each["category_id"] != number]
        for image in made["images"]:
            image["file_name"] = f"{name}_{image['file_name']}"
        sources[name] = write_voc(made, tmp_path / name)
    codes = {finding.code for finding in examine(sources["labeled"], valid=sources["valid"]).findings}
    assert "class-order-differs" not in codes
