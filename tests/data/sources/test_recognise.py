"""What a path is taken for, and what is said where that isn't clear."""

from __future__ import annotations

from pathlib import Path

import pytest
from labeled_sets import WRITERS, random_content, write_picture, write_text

from softdet.data.sources.parts import split_of, split_of_path
from softdet.data.sources.recognise import recognise
from softdet.errors import DataError


@pytest.mark.parametrize(
    ("name", "found"),
    [("COCO", "COCO"), ("YOLO", "YOLO"), ("VOC", "Pascal VOC"), ("CVAT", "CVAT"), ("Roboflow", "COCO")],
)
def test_a_folder_is_recognised_and_so_is_one_that_holds_it_alone(name: str, found: str, tmp_path: Path) -> None:
    WRITERS[name](random_content(0, 4), tmp_path / "unpacked" / "set")
    for path in (tmp_path / "unpacked" / "set", tmp_path / "unpacked", tmp_path):
        recognised = recognise(path)
        assert recognised.format == found
        assert recognised.why


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("set.zip", "", "is no labeled set: unpack it first"),
        ("set.csv", "", "tables aren't read: export as COCO or YOLO"),
        ("set.pkl", "", "is no labeled set: read are COCO JSON, YOLO"),
        ("set.xml", "<annotation></annotation>", "one of a Pascal VOC set's files.*Name the folder of all"),
        ("set.xml", "<svg></svg>", "an XML file that starts with <svg>"),
    ],
)
def test_a_file_that_is_no_set(file: str, text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        recognise(write_text(tmp_path / file, text))


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (None, "the folder is empty"),
        ("a.png", "found 1 images; images without labels are what --unlabeled is for"),
        ("set.zip", r"found 0 images, 1 .zip; .zip: unpack it first"),
        ("shapes.json", r"found 0 images, 1 .json; none of the JSON files has .*labelme's"),
    ],
)
def test_a_folder_without_labels(file: str | None, said: str, tmp_path: Path) -> None:
    if file:
        write_text(tmp_path / file, '{"shapes": []}')
    with pytest.raises(DataError, match=f"no labels were found here; {said}"):
        recognise(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file or folder .*gone"):
        recognise(tmp_path / "gone")


def test_several_sets_have_to_be_chosen_between(tmp_path: Path) -> None:
    WRITERS["COCO"](random_content(0, 4), tmp_path)
    WRITERS["YOLO"](random_content(0, 4), tmp_path)
    with pytest.raises(DataError, match=r"holds 2 labeled sets: labels.json \(COCO\), data.yaml \(YOLO\). Name one"):
        recognise(tmp_path)
    assert recognise(tmp_path / "data.yaml").format == "YOLO"


def test_a_data_yaml_that_cannot_be_read_is_told_and_other_yamls_are_not_asked(tmp_path: Path) -> None:
    WRITERS["COCO"](random_content(0, 4), tmp_path)
    write_text(tmp_path / "ci.yaml", "a: [")
    assert recognise(tmp_path).format == "COCO"
    write_text(tmp_path / "data.yaml", "names: [")
    with pytest.raises(DataError, match=r"data.yaml:1: can't be read as YAML"):
        recognise(tmp_path)


def test_hidden_files_are_no_labels(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", (9, 9))
    write_text(tmp_path / ".cache" / "a.xml", "<annotation></annotation>")
    with pytest.raises(DataError, match="no labels were found"):
        recognise(tmp_path)


def test_names_that_speak_of_a_split() -> None:
    names = ("train", "train2017", "instances_val2017", "Validation", "valid", "test", "testing-1")
    assert [split_of(name) for name in names] == ["train", "train", "valid", "valid", "valid", "test", "test"]
    assert [split_of(name) for name in ("images", "trainset", "constraint", "latest", "train_val", "unlabeled")] == [
        None
    ] * 6
    assert split_of_path(Path("set/images/val/a.png"), Path("set")) == "valid"
    assert split_of_path(Path("train/set/val.png"), Path("train")) is None
