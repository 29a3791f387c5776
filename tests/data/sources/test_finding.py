"""Which image a name in a label file means, where folders were moved and names stand twice."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from softdet.data.index_reading import load_unlabeled
from softdet.data.prepare import prepare
from softdet.data.sources.finding import ImageFinder
from softdet.errors import DataError


def files(root: Path, *names: str, text: str = "") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text or name)


@pytest.mark.parametrize(
    ("labels", "images"),
    [
        ("Annotations/{}", "JPEGImages/{}"),
        ("{}/Annotations", "{}/JPEGImages"),
        ("labels/2024/{}", "pictures/{}"),
        ("{}", "{}"),
    ],
)
def test_label_files_of_one_name_have_the_image_in_the_folder_like_theirs(
    tmp_path: Path, labels: str, images: str
) -> None:
    sides = ("train", "val")
    for side in sides:
        files(tmp_path, f"{labels.format(side)}/0.xml", f"{images.format(side)}/0.png")
    found = ImageFinder(tmp_path, []).find_of(
        [tmp_path / labels.format(side) / "0.xml" for side in sides], ["" for _ in sides]
    )
    assert found == [tmp_path / images.format(side) / "0.png" for side in sides]


def test_a_picture_that_was_left_behind_isnt_replaced_by_anothers(tmp_path: Path) -> None:
    files(tmp_path, "cam2/0.jpg", "labels/cam1/0.xml", "labels/cam2/0.xml")
    finder = ImageFinder(tmp_path, [tmp_path])
    assert finder.find(["cam1/0.jpg", "cam2/0.jpg"], tmp_path / "all.json") == [None, tmp_path / "cam2/0.jpg"]
    moved = ImageFinder(tmp_path, [])
    assert moved.find(["old/cam1/0.jpg", "old/cam2/0.jpg"], tmp_path / "all.json") == [None, tmp_path / "cam2/0.jpg"]
    assert moved.find_of([tmp_path / f"labels/cam{number}/0.xml" for number in (1, 2)], ["", ""]) == [
        None,
        tmp_path / "cam2/0.jpg",
    ]
    # Alone, it is the picture that was moved.
    assert moved.find(["old/cam1/0.jpg"], tmp_path / "all.json") == [tmp_path / "cam2/0.jpg"]
    # Nothing says which of two moved ones it is.
    assert moved.find(["a/0.jpg", "b/0.jpg"], tmp_path / "all.json") == [None, None]


@pytest.mark.parametrize(("listed", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_an_umlaut_in_two_parts_is_the_one_in_one(
    tmp_path: Path, listed: Literal["NFC", "NFD"], on_disk: Literal["NFC", "NFD"]
) -> None:
    names = ["Prüfung/Ölfleck.jpg", "Müll/Ölfleck.jpg"]
    files(tmp_path, *(unicodedata.normalize(on_disk, name) for name in names))
    found = ImageFinder(tmp_path, [tmp_path]).find(
        [unicodedata.normalize(listed, name) for name in names], tmp_path / "all.json"
    )
    assert found == [tmp_path / unicodedata.normalize(on_disk, name) for name in names]


def test_what_may_be_either_of_two_pictures_is_an_error_unless_they_are_copies(tmp_path: Path) -> None:
    files(tmp_path, "one/0.jpg", "two/0.jpg")
    with pytest.raises(DataError, match=r"0\.jpg may be .*one.0\.jpg or .*two.0\.jpg, and nothing says which"):
        ImageFinder(tmp_path, []).find(["0.jpg"], tmp_path / "all.json")
    files(tmp_path, "one/0.jpg", "two/0.jpg", text="the same")
    assert ImageFinder(tmp_path, []).find(["0.jpg"], tmp_path / "all.json") == [tmp_path / "one/0.jpg"]


def test_masks_beside_pictures_arent_pictures(tmp_path: Path) -> None:
    files(tmp_path, "A_Masks/0.png", "Annotations/0.xml", "JPEGImages/0.jpg", "SegmentationClass/0.png")
    found = ImageFinder(tmp_path, []).find_of([tmp_path / "Annotations/0.xml"], [""])
    assert found == [tmp_path / "JPEGImages/0.jpg"]


def test_a_list_means_the_folder_of_its_own_name(tmp_path: Path) -> None:
    for number, camera in enumerate(("cam1", "cam2")):
        (tmp_path / "set" / camera).mkdir(parents=True)
        images = []
        for image in range(4):
            name = f"{image}.png"
            Image.fromarray(np.full((32, 40, 3), 100 * number + 20 * image, np.uint8)).save(
                tmp_path / "set" / camera / name
            )
            images.append({"id": image, "file_name": name, "width": 40, "height": 32})
        boxes = [{"id": each["id"], "image_id": each["id"], "category_id": 1, "bbox": [2, 2, 9, 9]} for each in images]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "a"}]}
        (tmp_path / "set" / f"{camera}.json").write_text(json.dumps(content))
    prepared = prepare(tmp_path / "set" / "cam2.json", None, out=tmp_path / "out")
    listed = [image["file_name"] for image in json.loads(prepared.train.read_text())["images"]]
    assert listed
    assert all("cam2/" in name for name in listed)


def test_a_folder_of_the_lists_name_goes_before_images_of_other_pictures(tmp_path: Path) -> None:
    """Frames of one camera have one size and the same names, so nothing else tells them apart."""
    for folder, shade in (("valid", 0), ("images", 100)):
        (tmp_path / folder).mkdir()
        for number in range(4):
            Image.fromarray(np.full((32, 40, 3), shade + number, np.uint8)).save(tmp_path / folder / f"{number}.png")
    images = [{"id": number, "file_name": f"{number}.png", "width": 40, "height": 32} for number in range(4)]
    boxes = [{"id": number, "image_id": number, "category_id": 1, "bbox": [2, 2, 9, 9]} for number in range(4)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "valid.json").write_text(json.dumps(content))
    prepared = prepare(tmp_path / "valid.json", tmp_path / "images", out=tmp_path / "out")
    for path, folder, number in ((prepared.train, "valid", 3), (prepared.unlabeled, "images", 4)):
        assert path is not None
        records = load_unlabeled(path).images
        assert {record.path.resolve().parent.name for record in records} == {folder}
        assert len(records) == number


def test_of_pictures_that_differ_in_their_endings_the_stated_one_is_meant(tmp_path: Path) -> None:
    files(tmp_path, "0.jpg", "0.png", "0.xml", "frames/7.PNG")
    finder = ImageFinder(tmp_path, [])
    for stated in ("0.png", "old/way/0.PNG", "C:\\old\\way\\0.png"):
        assert finder.find_of([tmp_path / "0.xml"], [stated]) == [tmp_path / "0.png"]
    files(tmp_path, "0.PNG")
    assert ImageFinder(tmp_path, []).find_of([tmp_path / "0.xml"], ["0.png"]) == [tmp_path / "0.png"]
    with pytest.raises(DataError, match=r"0\.xml may be .*0\.jpg or .*0\.png"):
        finder.find_of([tmp_path / "0.xml"], ["renamed.png"])
    # A name without an ending, as CVAT writes of a video's frames.
    assert finder.find(["7"], tmp_path / "annotations.xml") == [tmp_path / "frames" / "7.PNG"]
    with pytest.raises(DataError, match="nothing says which"):
        finder.find(["0"], tmp_path / "annotations.xml")
