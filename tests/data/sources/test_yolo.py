"""YOLO's text files and the many ways in which a `data.yaml` names its folders."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from labeled_sets import boxes_of, random_content, write_picture, write_text, write_yolo

from softdet.data.sources.parts import Tally
from softdet.data.sources.reading import read_labeled
from softdet.data.sources.yolo import label_file, read_yolo_yaml
from softdet.data.sources.yolo_labels import read_labels
from softdet.errors import DataError

GOOD = "0 0.5 0.5 0.2 0.2\n"


def make_set(root: Path, yaml: str, *, name: str = "data.yaml", lines: str = GOOD) -> Path:
    for split in ("train", "valid"):
        write_picture(root / split / "images" / f"{split}.png", (100, 80))
        write_text(root / split / "labels" / f"{split}.txt", lines)
    return write_text(root / name, yaml)


def make_pile(root: Path, num_labeled: int, num_others: int) -> Path:
    for number in range(num_labeled + num_others):
        write_picture(root / f"{number}.png", (100, 80))
        if number < num_labeled:
            write_text(root / f"{number}.txt", GOOD)
    return root


def test_of_a_few_images_without_a_label_file_it_is_said_what_they_are(tmp_path: Path) -> None:
    pile = make_pile(tmp_path, 4, 2)
    labeled = read_labeled(pile)
    assert len(labeled.parts["train"]["images"]) == 6
    assert labeled.noted.counts["images without a label file count as background (an empty file says so)"] == 2
    labeled = read_labeled(pile, unlabeled=pile)
    assert len(labeled.parts["train"]["images"]) == 4
    assert labeled.noted.counts["images without a label file are unlabeled"] == 2


def test_many_images_without_a_label_file_are_hardly_background(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"4 of 6 images have no label file, such as .*png.*as --unlabeled too.*empty"):
        read_labeled(make_pile(tmp_path, 2, 4))


@pytest.mark.parametrize(
    ("line", "corners"),
    [
        ("1 0.5 0.5 0.2 0.4", (0.4, 0.3, 0.6, 0.7)),
        ("  1   0.5\t0.5  0.2 0.4  ", (0.4, 0.3, 0.6, 0.7)),
        ("1.0 0.5 0.5 0.2 0.4 0.9", (0.4, 0.3, 0.6, 0.7)),
        ("1 0.1 0.2 0.5 0.3 0.4 0.9", (0.1, 0.2, 0.5, 0.9)),
        ("1 0.1 0.2 0.5 0.3 0.4 0.9 0 0.5", (0, 0.2, 0.5, 0.9)),
    ],
)
def test_a_line_is_a_box_with_a_score_or_a_polygon(line: str, corners: tuple[float, ...], tmp_path: Path) -> None:
    (box,) = read_labels(write_text(tmp_path / "a.txt", f"\n{line}\n\n"), ["a", "b"])
    assert box.corners == pytest.approx(corners)
    assert box.category == 1
    assert box.where == f"{tmp_path / 'a.txt'}:2"
    assert box.more == ({"score": 0.9} if len(line.split()) == 6 else {})


def test_keypoints_behind_the_box_are_left_out(tmp_path: Path) -> None:
    file = write_text(tmp_path / "a.txt", "0 0.5 0.5 0.2 0.4 0.1 0.1 0.9 0.9")
    assert read_labels(file, ["a"], has_keypoints=True)[0].corners == pytest.approx((0.4, 0.3, 0.6, 0.7))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 0,5 0,5 0,2 0,2", r"a.txt:2: '0 0,5 0,5 0,2 0,2' has commas. Write numbers with a point"),
        ("cat 0.5 0.5 0.2 0.2", r"a.txt:2: .* isn't all numbers"),
        ("0 0.5 0.5 0.2", r"a.txt:2: 4 columns .* Is the line cut off"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", r"a.txt:2: 8 columns"),
        ("0 50 40 20 20", r"a.txt:2: a coordinate of 50; .* in pixels\? Divide"),
        ("2 0.5 0.5 0.2 0.2", r"a.txt:2: class 2, but there are 2 classes, from 0 \(a, b\). Do these .* count from 1"),
        ("-1 0.5 0.5 0.2 0.2", r"a.txt:2: the class is -1"),
        ("0.5 0.5 0.5 0.2 0.2", r"a.txt:2: the class is 0.5"),
        ("nan 0.5 0.5 0.2 0.2", r"a.txt:2: the class is nan"),
    ],
)
def test_a_bad_line_is_named(line: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read_labels(write_text(tmp_path / "a.txt", f"{GOOD}{line}\n"), ["a", "b"])


def test_labels_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe0\x00")
    with pytest.raises(DataError, match=r"a.txt: can't be read as text"):
        read_labels(tmp_path / "a.txt", ["a"])


def test_a_number_that_is_not_finite_is_kept_for_the_count(tmp_path: Path) -> None:
    (box,) = read_labels(write_text(tmp_path / "a.txt", "0 0.1 nan 0.4 0.1 0.4 0.5"), ["a"])
    assert all(map(math.isnan, box.corners))


@pytest.mark.parametrize("name", ["data.yaml", "data.yml"])
@pytest.mark.parametrize("names", ["[a, b]", "{0: a, 1: b}", "{'0': a, '1': b}"])
@pytest.mark.parametrize(
    "places",
    [
        "train: train/images\nval: valid/images",
        "train: ../train/images\nval: ../valid/images",
        "path: .\ntrain: [train/images]\nvalid: valid",
        "path: ../elsewhere\ntrain: train/images\nvalidation: valid/images",
        "path: /content/pets\ntrain: /content/pets/train/images\nval: /content/pets/valid/images",
        "train: train\\images\nval: valid\\images",
        "train: train.txt\nval: valid.txt",
    ],
)
def test_the_folders_are_found_however_the_yaml_names_them(places: str, names: str, name: str, tmp_path: Path) -> None:
    path = make_set(tmp_path, f"{places}\nnames: {names}\n", name=name)
    write_text(tmp_path / "train.txt", "./train/images/train.png\n")
    write_text(tmp_path / "valid.txt", f"{tmp_path}/valid/images/valid.png\n")
    for source in (path, tmp_path):
        parts = read_labeled(source).parts
        assert {split: list(boxes_of(part)) for split, part in parts.items()} == {
            "train": ["train.png"],
            "valid": ["valid.png"],
        }
        assert boxes_of(parts["train"])["train.png"] == [("a", [40, 32, 20, 16])]


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("train: train/images\n", "no class names. Write `names:"),
        ("train: train/images\nnames: []\n", "no class names"),
        ("train: train/images\nnames: [a, a]\n", "these names stand twice in `names`: a"),
        ("train: train/images\nnames: {1: a, 2: b}\n", r"`names` has the numbers \[1, 2\]; they count from 0"),
        ("train: train/images\nnc: 3\nnames: [a, b]\n", r"nc is 3, but there are 2 names \(a, b\)"),
        ("train: photos\nnames: [a]\n", "`train: photos` isn't there. Looked for .*photos. Write the way"),
        ("names: [a]\nval: valid/images\n", "no `train`; found the keys names, val"),
        ("train: [\n", r"data.yaml:2: can't be read as YAML"),
        ("- train\n", "a YOLO set's YAML has keys"),
    ],
)
def test_a_bad_yaml_is_told(yaml: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read_labeled(make_set(tmp_path, yaml))


def test_a_test_split_that_is_named_and_not_there_is_noted(tmp_path: Path) -> None:
    path = make_set(tmp_path, "train: train/images\nval: valid/images\ntest: ../test/images\nnames: [a]\n")
    labeled = read_labeled(path)
    assert set(labeled.parts) == {"train", "valid"}
    assert labeled.noted.rows() == [("splits that data.yaml names and that aren't there", 1, ("test: ../test/images",))]


def test_an_empty_file_is_background_and_a_missing_one_too_with_a_note(tmp_path: Path) -> None:
    for name in ("boxed", "empty", "bare"):
        write_picture(tmp_path / "images" / f"{name}.png", (10, 10))
    write_text(tmp_path / "labels" / "boxed.txt", GOOD)
    write_text(tmp_path / "labels" / "empty.txt", "")
    write_text(tmp_path / "labels" / "orphan.txt", GOOD)
    write_text(tmp_path / "classes.txt", "cat\n")
    labeled = read_labeled(tmp_path)
    assert {name: len(boxes) for name, boxes in boxes_of(labeled.parts["train"]).items()} == {
        "bare.png": 0,
        "boxed.png": 1,
        "empty.png": 0,
    }
    assert [row[1:] for row in labeled.noted.rows()] == [(1, ("bare.png",))]
    assert labeled.dropped.rows() == [("label files without an image", 1, (str(tmp_path / "labels" / "orphan.txt"),))]


def test_labels_of_which_no_image_has_one(tmp_path: Path) -> None:
    path = make_set(tmp_path, "train: train/images\nnames: [a]\n")
    (tmp_path / "train" / "labels" / "train.txt").unlink()
    with pytest.raises(DataError, match=r"none of 1 images has a label file: for .*train.png it would be .*labels"):
        read_labeled(path)


@pytest.mark.parametrize("layout", ["images/{split}/{split}.png", "{split}/images/{split}.png", "{split}/{split}.png"])
def test_splits_by_folder_without_a_yaml(layout: str, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        image = tmp_path / layout.format(split=split)
        write_picture(image, (100, 80))
        write_text(label_file(image) if "images" not in layout else _paired(image), GOOD)
    write_text(tmp_path / "obj.names", "cat\n")
    parts = read_labeled(tmp_path).parts
    assert {split: list(boxes_of(part)) for split, part in parts.items()} == {
        "train": ["train.png"],
        "valid": ["val.png"],
        "test": ["test.png"],
    }


def _paired(image: Path) -> Path:
    return Path(str(image).replace("/images/", "/labels/")).with_suffix(".txt")


def test_rotated_pictures_are_labeled_as_they_are_shown(tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    write_picture(tmp_path / "a.jpg", (100, 80), exif=exif)
    write_text(tmp_path / "a.txt", GOOD)
    content = read_labeled(tmp_path).parts["train"]
    assert (content["images"][0]["width"], content["images"][0]["height"]) == (80, 100)
    assert boxes_of(content)["a.jpg"] == [("0", [32, 40, 16, 20])]


def test_a_tally_keeps_the_first_places() -> None:
    tally, other = Tally(), Tally()
    for number in range(7):
        tally.add("bad", str(number))
    other.add("bad", "x")
    other.add("worse", "y")
    tally.update(other)
    assert tally.rows() == [("bad", 8, ("0", "1", "2", "3", "4")), ("worse", 1, ("y",))]


@pytest.mark.parametrize("names", ["[yes, no, off]", "{0: yes, 1: no, 2: off}"])
def test_names_are_what_is_written(tmp_path: Path, names: str) -> None:
    source = write_yolo(random_content(0, 6), tmp_path)
    write_text(source / "data.yaml", f"train: train/images\nnames: {names}\n")
    parts = read_yolo_yaml(source / "data.yaml", Tally(), Tally())
    assert [category["name"] for category in parts["train"].categories] == ["yes", "no", "off"]


@pytest.mark.parametrize("way", ["data/train/images/{}", "train\\images\\{}", "./train/images/{}"])
def test_a_list_of_images_may_name_them_from_elsewhere(tmp_path: Path, way: str) -> None:
    write_yolo(random_content(0, 6), tmp_path)
    images = sorted((tmp_path / "train" / "images").iterdir())
    write_text(tmp_path / "train.txt", "\n".join(way.format(image.name) for image in images))
    write_text(tmp_path / "data.yaml", "train: train.txt\nnames: [cat, dog, bird]\n")
    entries = read_yolo_yaml(tmp_path / "data.yaml", Tally(), Tally())["train"].entries
    assert [entry.path.resolve() for entry in entries] == images
