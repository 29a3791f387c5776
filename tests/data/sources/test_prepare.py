"""From folders to lists: splits, overlaps, one class list, nothing overwritten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from labeled_sets import WRITERS, boxes_of, random_content, write_coco, write_picture, write_text, write_yolo

from softdet.data.index_reading import load_labeled, load_unlabeled
from softdet.data.prepare import Prepared, prepare
from softdet.errors import DataError


def content(path: Path | None) -> Any:
    assert path is not None
    return json.loads(path.read_text(encoding="utf-8"))


def files(path: Path | None) -> set[str]:
    assert path is not None
    return {record.path.resolve().name for record in load_unlabeled(path).images}


@pytest.mark.parametrize("name", WRITERS)
def test_each_format_gives_lists_that_training_reads(name: str, tmp_path: Path) -> None:
    source = WRITERS[name](random_content(3, 10, whole=True), tmp_path / "set")
    for number in range(3):
        write_picture(tmp_path / "more" / f"{number}.png", (30, 20))
    done = prepare(source, tmp_path / "more", out=tmp_path / "out")
    train, valid = load_labeled(done.train), load_labeled(done.valid)
    assert len(train) + len(valid) == 10
    assert train.class_names == valid.class_names == done.class_names
    assert all(record.path.is_file() for record in (*train.images, *valid.images))
    assert done.unlabeled is not None
    assert [record.size for record in load_unlabeled(done.unlabeled).images] == [(20, 30)] * 3
    assert [each.name for each in done.summaries] == ["train", "valid", "unlabeled"]
    assert sum(each.num_boxes for each in done.summaries) == len(random_content(3, 10, whole=True)["annotations"])
    assert (done.test, done.dropped) == (None, ())


def test_the_lists_hold_when_the_folders_move_together(tmp_path: Path) -> None:
    prepare(write_coco(random_content(0, 6), tmp_path / "a" / "set"), None, out=tmp_path / "a" / "out")
    (tmp_path / "a").rename(tmp_path / "b")
    assert all(record.path.is_file() for record in load_labeled(tmp_path / "b" / "out" / "train.json").images)


def test_its_own_output_is_a_source(tmp_path: Path) -> None:
    write_picture(tmp_path / "more" / "x.png", (30, 20))
    first = prepare(write_coco(random_content(0, 20), tmp_path / "set"), tmp_path / "more", out=tmp_path / "one")
    again = prepare(tmp_path / "one", first.unlabeled, out=tmp_path / "two")
    for one, two in ((first.train, again.train), (first.valid, again.valid), (first.unlabeled, again.unlabeled)):
        assert files(one) == files(two)
    assert boxes_of(content(first.train)) == boxes_of(content(again.train))


def test_validation_and_test_images_are_those_that_are_named(tmp_path: Path) -> None:
    train, valid, test = (random_content(seed, 4) for seed in (1, 2, 3))
    # Other ids, another order, and a class that the labeled set doesn't have.
    valid["categories"] = [{"id": 1, "name": "dog"}, {"id": 2, "name": "fish"}, {"id": 3, "name": "cat"}]
    named = [write_coco(valid, tmp_path / "valid"), write_coco(test, tmp_path / "test")]
    for file, colour, listed in ((named[0], 200, valid), (named[1], 220, test)):
        for number, image in enumerate(listed["images"]):
            place = file.parent / "images" / image["file_name"]
            write_picture(place, (image["width"], image["height"]), colour + number)
    done = prepare(write_yolo(train, tmp_path / "train"), None, out=tmp_path / "out", valid=named[0], test=named[1])
    assert len(files(done.valid)) == 4
    assert [category["name"] for category in content(done.train)["categories"]] == ["cat", "dog", "bird", "fish"]
    assert len({str(content(path)["categories"]) for path in (done.train, done.valid, done.test)}) == 1
    for image, boxes in boxes_of(valid).items():
        assert [name for name, _ in boxes] == [name for name, _ in boxes_of(content(done.valid))[image]]
    assert any(note.startswith("valid: from") for note in done.notes)
    assert any(note.startswith("train: no box of ") and "fish" in note for note in done.notes)


def test_an_image_is_in_one_list_only(tmp_path: Path) -> None:
    source = write_coco(random_content(0, 6), tmp_path / "set")
    shared = content(source)
    shared["images"] = shared["images"][:2]
    ids = {image["id"] for image in shared["images"]}
    shared["annotations"] = [each for each in shared["annotations"] if each["image_id"] in ids]
    valid = write_text(tmp_path / "set" / "held_out.json", json.dumps(shared))
    shutil.copyfile(tmp_path / "set" / "images" / "shot_05.png", tmp_path / "set" / "images" / "copy.png")
    write_picture(tmp_path / "set" / "images" / "new.png", (77, 33))
    done = prepare(source, tmp_path / "set" / "images", out=tmp_path / "out", valid=valid)
    assert files(done.valid) == {"shot_00.png", "shot_01.png"}
    assert files(done.train) == {f"shot_0{number}.png" for number in range(2, 6)}
    assert files(done.unlabeled) == {"new.png"}
    assert {row[0]: row[1] for row in done.dropped} == {
        "train images that are also validation or test images": 2,
        "unlabeled images that are labeled, validation or test images": 6,
        "unlabeled images that are copies of labeled, validation or test images": 1,
    }


def test_labeled_images_among_the_unlabeled_ones(tmp_path: Path) -> None:
    pile = tmp_path / "pile"
    for number in range(12):
        write_picture(pile / f"{number}.png", (100, 80 + number))
        if number < 4:
            write_text(pile / f"{number}.txt", "0 0.5 0.5 0.2 0.2\n")
    made = prepare(pile, pile, out=tmp_path / "lists")
    names = {
        list_: [Path(image["file_name"]).stem for image in json.loads(path.read_text())["images"]]
        for list_, path in (("train", made.train), ("valid", made.valid), ("unlabeled", made.unlabeled))
    }
    assert sorted(map(int, names["train"] + names["valid"])) == list(range(4))
    assert sorted(map(int, names["unlabeled"])) == list(range(4, 12))


def test_an_image_of_the_unlabeled_folder_without_a_label_file_is_no_background(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for number in range(8):
        write_picture(root / "images" / f"{number}.png", (100, 80 + number))
        if number < 6:
            write_text(root / "labels" / f"{number}.txt", "0 0.5 0.5 0.2 0.2\n")
    made = prepare(root, root / "images", out=tmp_path / "lists")
    assert len(content(made.train)["images"]) + len(content(made.valid)["images"]) == 6
    assert files(made.unlabeled) == {"6.png", "7.png"}


@pytest.mark.parametrize("source", ["{root}/images/*.png", "{root}/list.txt", "{root}/list.json"])
def test_that_holds_however_the_unlabeled_images_are_named(source: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    names = [f"images/{number}.png" for number in range(8)]
    for number, name in enumerate(names):
        write_picture(root / name, (100, 80 + number))
        if number < 6:
            write_text(root / "labels" / f"{number}.txt", "0 0.5 0.5 0.2 0.2\n")
    write_text(root / "list.txt", "\n".join(names))
    images = [
        {"id": number, "file_name": name, "width": 100, "height": 80 + number} for number, name in enumerate(names)
    ]
    write_text(root / "list.json", json.dumps({"images": images}))
    made = prepare(root / "images", source.format(root=root), out=tmp_path / "lists")
    assert len(content(made.train)["images"]) + len(content(made.valid)["images"]) == 6
    assert files(made.unlabeled) == {"6.png", "7.png"}


def test_a_pattern_finds_images_below_the_folder_that_lists_go_to(tmp_path: Path) -> None:
    source = write_coco(random_content(1, 8, whole=True), tmp_path / "set")
    for number in range(2):
        write_picture(tmp_path / "my" / "pool" / f"{number}.png", (30, 20))
    made = prepare(source, str(tmp_path / "my" / "pool" / "*.png"), out=tmp_path / "my")
    assert files(made.unlabeled) == {"0.png", "1.png"}


def test_versions_of_one_picture_stay_on_one_side(tmp_path: Path) -> None:
    original = random_content(0, 24, whole=True)
    source = write_coco(original, tmp_path)
    for number, image in enumerate(original["images"]):
        name = f"photo-{number // 3}_jpg.rf.{number:x}abc.png" if number % 3 else f"photo {number // 3}.jpg"
        (tmp_path / "images" / image["file_name"]).rename(tmp_path / "images" / name)
        image["file_name"] = name
    source.write_text(json.dumps(original))
    done = prepare(source, None, out=tmp_path / "out", valid_share=0.3)
    photos = [
        {name.replace(" ", "-").partition("_")[0].removesuffix(".jpg") for name in files(path)}
        for path in (done.train, done.valid)
    ]
    assert not photos[0] & photos[1]
    assert len(photos[0] | photos[1]) == 8


def test_a_split_of_which_nothing_can_be_used_is_named_unless_other_images_are(tmp_path: Path) -> None:
    source = write_yolo(random_content(0, 6, whole=True), tmp_path / "set")
    for picture in (source / "valid" / "images").iterdir():
        picture.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"no image of the valid split can be used\. 3 images that can't be read"):
        prepare(source, None, out=tmp_path / "out")
    other = write_yolo(random_content(1, 6, whole=True), tmp_path / "other")
    done = prepare(source, None, out=tmp_path / "out", valid=other)
    assert len(load_labeled(done.valid)) == 3


def test_a_yaml_whose_validation_images_are_its_training_images(tmp_path: Path) -> None:
    source = write_yolo(random_content(0, 12), tmp_path)
    write_text(source / "data.yaml", "train: train/images\nval: train/images\nnames: [cat, dog, bird]\n")
    done = prepare(source, None, out=tmp_path / "out")
    assert not files(done.train) & files(done.valid)
    assert "valid images that are the training images are no valid images" in done.noted[0][0]


def test_groups_stay_on_one_side(tmp_path: Path) -> None:
    original = random_content(0, 24)
    source = write_coco(original, tmp_path)
    for number, image in enumerate(original["images"]):
        folder = tmp_path / "images" / f"video{number // 6}"
        folder.mkdir(exist_ok=True)
        shutil.move(tmp_path / "images" / image["file_name"], folder)
        image["file_name"] = f"{folder.name}/{image['file_name']}"
    source.write_text(json.dumps(original))
    done = prepare(source, None, out=tmp_path / "out", group_by=r"video(\d)", valid_share=0.3, test_share=0.2)

    def videos(path: Path | None) -> set[str]:
        assert path is not None
        return {record.path.parent.name for record in load_unlabeled(path).images}

    parts = [videos(path) for path in (done.train, done.valid, done.test)]
    assert [len(part) for part in parts] == [2, 1, 1]
    assert len(set.union(*parts)) == 4
    assert "groups" in done.notes[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"valid_share": 0}, "--valid-share 0 and --test-share 0.0: the first is above 0"),
        ({"valid_share": 0.6, "test_share": 0.4}, "both together are below 1"),
        ({"group_by": "shot"}, "puts all 6 images into one group, 'shot'"),
        ({"labeled": "one"}, "1 labeled images in 1 groups can't be shared out over train and valid"),
        ({"valid": "splits"}, "has the splits train, test. Name the folder or file of the one to take"),
        ({"unlabeled": "set/images"}, "all of its 6 images are labeled, validation or test images too"),
        ({"unlabeled": "broken"}, "none of its 1 images can be read"),
    ],
)
def test_what_cannot_be_done_is_told(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    write_coco(random_content(0, 6), tmp_path / "set")
    write_coco(random_content(0, 1), tmp_path / "one")
    write_text(tmp_path / "broken" / "a.png", "no picture")
    for split in ("train", "test"):
        write_picture(tmp_path / "splits" / split / "a.png", (9, 9))
        write_text(tmp_path / "splits" / split / "a.txt", "0 .5 .5 .5 .5")
    places = {key: tmp_path / value for key, value in options.items() if key in ("labeled", "unlabeled", "valid")}
    arguments: dict[str, Any] = {"labeled": tmp_path / "set", "unlabeled": None} | options | places
    with pytest.raises(DataError, match=said):
        prepare(out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_summary_counts_what_is_there(tmp_path: Path) -> None:
    original = random_content(0, 6)
    original["annotations"][0]["iscrowd"] = 1
    done: Prepared = prepare(write_coco(original, tmp_path), None, out=tmp_path / "out")
    train, valid = done.summaries
    assert train.num_ignored + valid.num_ignored == 1
    assert train.num_boxes + valid.num_boxes == len(original["annotations"]) - 1
    assert train.num_background + valid.num_background == sum(not boxes for boxes in boxes_of(original).values())
    _, smallest, largest = train.image_sizes
    assert smallest[0] * smallest[1] <= largest[0] * largest[1]
    assert done.found == "COCO (labels.json)"
