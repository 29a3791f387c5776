import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torchvision.models.detection import RetinaNet_ResNet50_FPN_Weights

from softdet.data.coco_release import prepare_coco
from softdet.data.index_reading import load_labeled, load_unlabeled, read_class_names
from softdet.data.index_writing import Written
from softdet.errors import DataError

# Out of order and with a gap, as COCO's 90 ids for 80 classes.
CATEGORIES = [{"id": 3, "name": "car", "supercategory": "vehicle"}, {"id": 1, "name": "person", "supercategory": ""}]
EVERY_FILE = [
    "instances_train2017.json",
    "instances_val2017.json",
    "instances_train2014.json",
    "instances_valminusminival2014.json",
    "instances_minival2014.json",
    "image_info_unlabeled2017.json",
]


def add(
    root: Path,
    name: str,
    folder: str | None,
    ids: list[int],
    *,
    prefix: str = "",
    boxes: bool = True,
    where: str = "annotations",
) -> None:
    """Put an official annotation file under a root, and its images unless their folder is None."""
    images: list[dict[str, Any]] = [
        {"id": i, "file_name": f"{prefix}{i:012}.jpg", "height": 1, "width": 1, "license": 4} for i in ids
    ]
    annotations = [
        {
            "id": 1000 + i,
            "image_id": i,
            "category_id": 3,
            "bbox": [0.0, 0.0, 1.0, 1.0],
            "area": 1.0,
            "iscrowd": int(i == ids[-1]),
            "segmentation": [[0.0, 0.0, 1.0, 0.0, 1.0, 1.0]],
        }
        for i in ids
    ]
    content: dict[str, Any] = {
        "info": {"year": 2017},
        "licenses": [{"id": 4}],
        "categories": CATEGORIES,
        "images": images,
    }
    if boxes:
        content["annotations"] = annotations
    (root / where).mkdir(parents=True, exist_ok=True)
    (root / where / name).write_text(json.dumps(content))
    if folder is not None:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for image in images:
            Image.new("RGB", (1, 1)).save(root / folder / image["file_name"])


def release_2017(root: Path, images: str = "") -> None:
    add(root, "instances_train2017.json", f"{images}train2017", [1, 2, 3])
    add(root, "instances_val2017.json", f"{images}val2017", [4, 5])
    add(root, "image_info_unlabeled2017.json", f"{images}unlabeled2017", [6, 7, 8, 9], boxes=False)


def release_2014(root: Path, images: bool = True) -> None:
    val = "val2014" if images else None
    add(root, "instances_train2014.json", "train2014" if images else None, [1, 2], prefix="COCO_train2014_")
    add(root, "instances_valminusminival2014.json", val, [3], prefix="COCO_val2014_")
    add(root, "instances_minival2014.json", val, [4, 5], prefix="COCO_val2014_")


def by_name(written: list[Written]) -> dict[str, Written]:
    return {entry.path.name: entry for entry in written}


def file_names(path: Path) -> list[str]:
    return [image["file_name"] for image in json.loads(path.read_text())["images"]]


@pytest.mark.parametrize("images", ["", "images/"])
def test_2017_round_trip_with_the_images_found(tmp_path: Path, images: str) -> None:
    root, out = tmp_path / "coco", tmp_path / "deep" / "out"
    release_2017(root, images)
    written = by_name(prepare_coco(root, out))
    assert list(written) == [
        "coco_trainval35k.json",
        "coco_minival5k.json",
        "coco_unlabel2017.json",
        "coco_classes.txt",
    ]
    assert [(entry.num_images, entry.num_boxes) for entry in written.values()] == [(3, 3), (2, 2), (4, 0), (0, 0)]

    labeled = load_labeled(out / "coco_trainval35k.json", read_class_names(out / "coco_classes.txt"))
    assert labeled.class_names == ("person", "car")
    assert labeled.category_ids == (1, 3)
    assert [record.id for record in labeled.images] == [1, 2, 3]
    assert all(record.path.is_file() for record in labeled.images)
    assert file_names(out / "coco_trainval35k.json")[0] == f"{images}train2017/000000000001.jpg"
    assert all(record.path.is_file() for record in load_labeled(out / "coco_minival5k.json").images)


def test_2014_merges_to_the_same_sets_as_2017(tmp_path: Path) -> None:
    release_2017(tmp_path / "new")
    release_2014(tmp_path / "old")
    prepare_coco(tmp_path / "new", tmp_path / "out_new")
    prepare_coco(tmp_path / "old", tmp_path / "out_old")
    for name in ("coco_trainval35k.json", "coco_minival5k.json"):
        new, old = load_labeled(tmp_path / "out_new" / name), load_labeled(tmp_path / "out_old" / name)
        assert [record.id for record in new.images] == [record.id for record in old.images]
        assert all(record.path.is_file() for record in old.images)
    assert file_names(tmp_path / "out_old" / "coco_trainval35k.json") == [
        "train2014/COCO_train2014_000000000001.jpg",
        "train2014/COCO_train2014_000000000002.jpg",
        "val2014/COCO_val2014_000000000003.jpg",
    ]


def test_of_two_complete_releases_2017_is_taken(tmp_path: Path) -> None:
    release_2017(tmp_path)
    release_2014(tmp_path)
    written = by_name(prepare_coco(tmp_path, tmp_path))
    assert written["coco_trainval35k.json"].note.startswith("from instances_train2017.json;")
    assert file_names(tmp_path / "coco_minival5k.json") == ["val2017/000000000004.jpg", "val2017/000000000005.jpg"]


def test_a_complete_2014_goes_before_2017_without_images(tmp_path: Path) -> None:
    add(tmp_path, "instances_train2017.json", None, [1, 2, 3])
    release_2014(tmp_path)
    assert by_name(prepare_coco(tmp_path, tmp_path))["coco_trainval35k.json"].note.startswith(
        "from instances_train2014.json + instances_valminusminival2014.json;"
    )


def test_a_complete_2017_goes_before_a_part_of_2014(tmp_path: Path) -> None:
    add(tmp_path, "instances_train2017.json", None, [1, 2, 3])
    add(tmp_path, "instances_train2014.json", "train2014", [1, 2])
    assert by_name(prepare_coco(tmp_path, tmp_path))["coco_trainval35k.json"].num_images == 3


def test_a_part_is_written_and_said_to_be_one(tmp_path: Path) -> None:
    add(tmp_path, "instances_valminusminival2014.json", "val2014", [3, 4], prefix="COCO_val2014_", where=".")
    written = prepare_coco(tmp_path, tmp_path / "out")
    assert [entry.path.name for entry in written] == ["coco_trainval35k.json", "coco_classes.txt"]
    assert written[0].num_images == 2
    assert "ONLY A PART" in written[0].note
    assert "instances_train2014.json was not found" in written[0].note
    assert "coco_minival5k.json was not written" in written[-1].note
    assert "coco_unlabel2017.json was not written" in written[-1].note
    assert len(load_labeled(written[0].path)) == 2


def test_crowds_stay_and_segmentations_go(tmp_path: Path) -> None:
    release_2017(tmp_path)
    prepare_coco(tmp_path, tmp_path)
    annotations = json.loads((tmp_path / "coco_trainval35k.json").read_text())["annotations"]
    assert annotations[-1] == {
        "id": 1003,
        "image_id": 3,
        "category_id": 3,
        "bbox": [0.0, 0.0, 1.0, 1.0],
        "area": 1.0,
        "iscrowd": 1,
    }
    records = load_labeled(tmp_path / "coco_trainval35k.json").images
    assert [(len(record.boxes), len(record.ignored)) for record in records] == [(1, 0), (1, 0), (0, 1)]


def test_every_unlabeled_image_is_listed(tmp_path: Path) -> None:
    release_2017(tmp_path)
    prepare_coco(tmp_path, tmp_path / "out")
    records = load_unlabeled(tmp_path / "out" / "coco_unlabel2017.json").images
    assert [record.id for record in records] == [6, 7, 8, 9]
    assert all(record.path.is_file() for record in records)
    assert json.loads((tmp_path / "out" / "coco_unlabel2017.json").read_text())["annotations"] == []


def test_the_unlabeled_set_alone_still_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "image_info_unlabeled2017.json").write_text(json.dumps({"images": [{"id": 1, "file_name": "1.jpg"}]}))
    (only,) = prepare_coco(tmp_path, tmp_path)
    assert only.path.name == "coco_unlabel2017.json"
    assert "coco_trainval35k.json was not written" in only.note


def test_without_images_the_index_names_the_official_folder(tmp_path: Path) -> None:
    release_2014(tmp_path, images=False)
    written = by_name(prepare_coco(tmp_path, tmp_path))
    assert file_names(tmp_path / "coco_minival5k.json")[0] == "val2014/COCO_val2014_000000000004.jpg"
    for folder in (tmp_path / "val2014", tmp_path / "images" / "val2014"):
        assert str(folder) in written["coco_minival5k.json"].note


def test_an_empty_folder_does_not_hide_the_full_one(tmp_path: Path) -> None:
    release_2017(tmp_path, "images/")
    (tmp_path / "train2017").mkdir()
    prepare_coco(tmp_path, tmp_path)
    assert file_names(tmp_path / "coco_trainval35k.json")[0] == "images/train2017/000000000001.jpg"


def test_a_folder_with_other_files_is_not_the_images_folder(tmp_path: Path) -> None:
    add(tmp_path, "instances_val2017.json", None, [4, 5])
    (tmp_path / "images" / "val2017").mkdir(parents=True)
    (tmp_path / "images" / "val2017" / "val2017.zip").touch()
    assert "the images were not found" in prepare_coco(tmp_path, tmp_path)[0].note
    assert file_names(tmp_path / "coco_minival5k.json")[0] == "val2017/000000000004.jpg"


def test_missing_images_are_counted(tmp_path: Path) -> None:
    release_2017(tmp_path)
    (tmp_path / "train2017" / "000000000002.jpg").unlink()
    note = by_name(prepare_coco(tmp_path, tmp_path))["coco_trainval35k.json"].note
    assert "1 of 3 images are not in" in note
    assert "000000000002.jpg" in note


def test_a_set_of_another_size_than_the_official_one_is_noted(tmp_path: Path) -> None:
    release_2017(tmp_path)
    written = by_name(prepare_coco(tmp_path, tmp_path))
    assert "3 images, where the official set has 118,287" in written["coco_trainval35k.json"].note
    assert "2 images, where the official set has 5,000" in written["coco_minival5k.json"].note


def test_the_annotations_folder_goes_before_the_root(tmp_path: Path) -> None:
    add(tmp_path, "instances_val2017.json", "val2017", [4, 5])
    add(tmp_path, "instances_val2017.json", None, [4], where=".")
    assert prepare_coco(tmp_path, tmp_path)[0].num_images == 2


def test_nothing_found_names_every_file_and_folder(tmp_path: Path) -> None:
    root = tmp_path / "typo"
    with pytest.raises(DataError) as failure:
        prepare_coco(root, tmp_path / "out")
    for words in [*EVERY_FILE, f"{root / 'annotations'}, {root}", "does not exist"]:
        assert words in str(failure.value)
    assert not (tmp_path / "out").exists()


def test_parts_with_different_categories_do_not_merge(tmp_path: Path) -> None:
    release_2014(tmp_path)
    path = tmp_path / "annotations" / "instances_valminusminival2014.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "categories": CATEGORIES[:1]}))
    with pytest.raises(DataError, match="categories differ"):
        prepare_coco(tmp_path, tmp_path)


def test_the_root_is_relative_so_both_folders_can_move(tmp_path: Path) -> None:
    release_2017(tmp_path / "here" / "data" / "coco")
    prepare_coco(tmp_path / "here" / "data" / "coco", tmp_path / "here" / "data")
    (tmp_path / "here").rename(tmp_path / "there")
    index = load_labeled(tmp_path / "there" / "data" / "coco_trainval35k.json")
    assert all(record.path.is_file() for record in index.images)
    content = json.loads((tmp_path / "there" / "data" / "coco_trainval35k.json").read_text())
    assert content["info"] == {"year": 2017, "root": "coco"}
    assert content["licenses"] == [{"id": 4}]


def test_a_linked_output_folder_still_leads_to_the_images(tmp_path: Path) -> None:
    release_2017(tmp_path / "project" / "coco")
    disk = tmp_path / "disk" / "far" / "away"
    disk.mkdir(parents=True)
    (tmp_path / "project" / "data").symlink_to(disk, target_is_directory=True)
    prepare_coco(tmp_path / "project" / "coco", tmp_path / "project" / "data")
    index = load_labeled(tmp_path / "project" / "data" / "coco_trainval35k.json")
    assert all(record.path.is_file() for record in index.images)


def test_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release_2017(tmp_path / "coco")
    monkeypatch.chdir(tmp_path / "coco")
    written = prepare_coco(Path(), Path("../out"))
    monkeypatch.chdir(tmp_path)
    index = load_labeled(tmp_path / "out" / written[0].path.name)
    assert all(record.path.is_file() for record in index.images)


def test_the_shipped_class_names_are_torchvisions() -> None:
    official = RetinaNet_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    shipped = read_class_names(Path(__file__).parents[2] / "data" / "coco_classes.txt")
    assert list(shipped) == [name for name in official if name not in ("__background__", "N/A")]
    assert len(shipped) == 80
