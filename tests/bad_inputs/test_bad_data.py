"""Mistakes in lists, images and folders: told in the first minute, each with its place and the fix; nothing changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

TRAIN = "train --config tiny.yaml --out out"
OWN = "train --out out --unlabeled unlabeled --labeled"
LISTS = "train --out out --labeled train.json --valid valid.json --unlabeled"
GOOD = "0 0.5 0.5 0.2 0.2\n"
AGAIN = "look again with `softdet doctor --labeled"

Change = Callable[[Any], object]


def top(**values: Any) -> Change:
    """Other lists at the top of train.json."""
    return lambda place: place.edit("train.json", lambda content: content.update(values))


def first(part: str, **values: Any) -> Change:
    """Other values in the first entry."""
    return lambda place: place.edit("train.json", lambda content: content[part][0].update(values))


def boxes(**values: Any) -> Change:
    """Other values in all boxes."""
    return lambda place: place.edit("train.json", lambda content: [a.update(values) for a in content["annotations"]])


def rename_class(name: str) -> Change:
    return lambda place: place.edit(name, lambda content: content["categories"][0].update(name="green"))


def cut_all(kind: str, folder: str = "images", num: int = 8) -> Change:
    return lambda place: [place.cut(f"{folder}/{kind}_{number}.png", 30) for number in range(num)]


def yolo(line: str = GOOD, yaml: str = "train: images\nnames: [a, b]\n") -> Change:
    def make(place: Any) -> None:
        place.pictures("own/images", 4)
        for number in range(4):
            place.write(f"own/labels/{number}.txt", line)
        place.write("own/data.yaml", yaml)

    return make


def xml(text: str, name: str = "0.xml") -> Change:
    return lambda place: (place.pictures("own", 1), place.write(f"own/{name}", text))


def one_image(place: Any) -> None:
    content = json.loads(place.read("train.json"))
    place.write("one.json", json.dumps(content | {"images": content["images"][:1]}))


# What is done, the command, and what must be said.
IN_LISTS: dict[str, tuple[Change | None, str, list[str]]] = {
    "cut off": (lambda p: p.cut("train.json"), TRAIN, ["train.json is not JSON", "Was it cut off"]),
    "a list": (lambda p: p.write("train.json", "[1, 2]"), TRAIN, ["a COCO index is an object with a list `images`"]),
    "no images": (top(images=[]), TRAIN, ["train.json: the list `images` is empty. Is it the right file?"]),
    "no categories": (top(categories=[]), TRAIN, ["train.json: no `categories`, so its boxes have no classes"]),
    "two ids": (
        lambda p: p.replace("train.json", "1003", "1000"),
        TRAIN,
        ["stand twice in `images`: [1000]. Give each"],
    ),
    "a category unknown": (
        boxes(category_id=6),
        TRAIN,
        ["category ids ['6']", "([17, 5]). Ids are often shifted by one"],
    ),
    "a name for two": (
        top(categories=[{"id": 17, "name": "x"}, {"id": 5, "name": "x"}]),
        TRAIN,
        ["several categories with boxes have the same name: ['x']. Rename them or make them one."],
    ),
    "NaN alone": (
        boxes(bbox=[float("nan"), 1, 2, 3]),
        TRAIN,
        ["8 images and not one box", "16 not four finite numbers"],
    ),
    "all outside": (boxes(bbox=[500, 500, 20, 20]), TRAIN, ["8 images and not one box", "16 outside the image"]),
    "ids as text": (
        boxes(image_id="1000"),
        TRAIN,
        ["names its image '1000', and `images` has 1000", "Write the ids in the same way in both lists."],
    ),
    "all ignored": (boxes(ignore=1), TRAIN, ["8 images and not one box", "16 marked to be ignored"]),
    "a number beyond all": (boxes(bbox=[10**400, 1, 2, 3]), TRAIN, ["16 not four finite numbers"]),
    "no box": (top(annotations=[]), TRAIN, ["has 8 images and not one box to learn from. Is it the right file"]),
    "corners for sides": (
        lambda p: p.edit(
            "train.json", lambda content: [a.update(bbox=[40, 40, 80, 80]) for a in content["annotations"][::2]]
        ),
        OWN + " train.json",
        ["8 of 16 boxes reach outside their image", "x1, y1, x2, y2 where the format has x, y, width, height"],
    ),
    "parts for pixels": (boxes(bbox=[0.1, 0.1, 0.3, 0.3]), TRAIN, ["boxes-normalised", "fix: Multiply them", AGAIN]),
    "half a box entry": (
        first("annotations", image_id=None),
        TRAIN,
        ["entries have image_id and category_id", "found {"],
    ),
    "a width of 0": (first("images", width=0), TRAIN, ["image 'train_0.png' (id 1000) has width 0 and height 96"]),
    "another size": (first("images", width=960, height=960), TRAIN, ["size-differs", "train_0.png", AGAIN]),
    "images elsewhere": (
        lambda p: (p.path / "images").rename(p.path / "pictures"),
        TRAIN,
        ["none of its first images exists (the first: train_0.png). Looked in", "Set data.root to the folder"],
    ),
    "a file gone": (lambda p: (p.path / "images/train_3.png").unlink(), TRAIN, ["file-missing", "train_3.png", AGAIN]),
    "no list": (None, f"{TRAIN} data.train=nowhere.json", ["there is no file nowhere.json. Is the path right"]),
    "a folder": (None, f"{TRAIN} data.train=images", ["images can't be read (Is a directory). A labeled list is one"]),
    "a picture": (None, f"{TRAIN} data.train=images/train_0.png", ["images/train_0.png is not JSON"]),
    "valid trained on": (None, f"{TRAIN} data.valid=train.json", ["8 images of data.train", "are also in data.valid"]),
    "valid unlabeled": (
        None,
        f"{TRAIN} data.unlabeled=images",
        ["8 images of data.unlabeled", "are also in data.valid"],
    ),
    "test validated on": (None, f"{TRAIN} data.test=valid.json", ["8 images of data.valid", "are also in data.test"]),
    "a copy of valid unlabeled": (
        lambda p: p.write("unlabeled/frame.png", p.read("images/valid_0.png")),
        TRAIN,
        ["error leak: 1 place", "byte for byte", "frame.png", AGAIN, "--no-doctor"],
    ),
    "valid of other classes": (
        rename_class("valid.json"),
        TRAIN,
        ["the classes ['green']", "class list ['blue', 'red']"],
    ),
    "valid without boxes": (
        lambda p: p.edit("valid.json", lambda content: content.update(annotations=[])),
        TRAIN,
        ["data.valid", "8 images and not one box to score against"],
    ),
    "unlabeled nowhere": (None, f"{TRAIN} data.unlabeled=nowhere", ["there is no file nowhere. Is the path right"]),
    "unlabeled empty": (
        lambda p: (p.path / "empty").mkdir(),
        f"{TRAIN} data.unlabeled=empty",
        ["empty: no image in this folder (looked for .bmp"],
    ),
    "none unlabeled": (None, f"{TRAIN} data.unlabeled=None", ["data.unlabeled is missing", "add --supervised"]),
    "class names nowhere": (
        None,
        f"{TRAIN} params.classes=a.txt",
        ["params.classes: there is no file a.txt. It should"],
    ),
    "a class name too few": (
        lambda p: p.write("a.txt", "red\n"),
        f"{TRAIN} params.classes=a.txt",
        ["the classes ['blue'], which are not in the class list ['red']. Add them to params.classes"],
    ),
    "a class name twice": (
        lambda p: p.write("a.txt", "red\nred\n"),
        f"{TRAIN} params.classes=a.txt",
        ["a.txt: these class names stand twice: ['red']. Write each class once"],
    ),
}

IN_IMAGES: dict[str, tuple[Change, str, list[str]]] = {
    "cut off": (lambda p: p.cut("images/train_1.png"), TRAIN, ["file-cut-off", "train_1.png", AGAIN]),
    "no bytes": (lambda p: p.write("images/valid_1.png", ""), TRAIN, ["file-empty", "valid_1.png", AGAIN]),
    "a text": (lambda p: p.write("images/train_1.png", "hello"), TRAIN, ["file-unreadable", "train_1.png", AGAIN]),
    "labeled, all cut off": (
        cut_all("train"),
        f"{TRAIN} --no-doctor",
        ["can't be read, more than 5%", "Is the file cut"],
    ),
    "valid, all cut off": (cut_all("valid"), f"{TRAIN} --no-doctor", ["can't be read, more than 5%", "valid_0.png"]),
    "unlabeled, all cut off": (
        cut_all("unlabeled", "unlabeled", 6),
        f"{TRAIN} --no-doctor soft_teacher.burn_in_steps=0",
        ["can't be read, more than 5%", "unlabeled_"],
    ),
}

IN_FOLDERS: dict[str, tuple[Change | None, str, list[str]]] = {
    "labeled nowhere": (
        None,
        f"{OWN} nowhere",
        ["there is no file or folder nowhere, seen from ", "Is the path right?"],
    ),
    "labeled empty": (
        lambda p: (p.path / "e").mkdir(),
        f"{OWN} e",
        ["e: no labels were found here; the folder is empty"],
    ),
    "labeled without labels": (
        None,
        f"{OWN} unlabeled",
        ["found 6 images; images without labels are what --unlabeled"],
    ),
    "labeled a picture": (
        None,
        f"{OWN} images/train_0.png",
        ["images/train_0.png is no labeled set: read are COCO JSON"],
    ),
    "unlabeled nowhere": (None, f"{LISTS} nowhere", ["there is no file or folder nowhere, seen from "]),
    "unlabeled no match": (None, f"{LISTS} 'no/*.jpg'", ["no file matches no/*.jpg, seen from "]),
    "unlabeled a list of nothing": (
        lambda p: p.write("l.txt", "a.jpg\nb.jpg\n"),
        f"{LISTS} l.txt",
        ["l.txt: none of its 2 lines is a file", "A list has the path of an image a line."],
    ),
    "unlabeled all labeled": (None, f"{LISTS} images", ["all of its 16 images are labeled, validation or test images"]),
    "one labeled image": (
        one_image,
        f"{OWN} one.json",
        ["1 labeled images in 1 groups can't be shared out", "--valid"],
    ),
    "a pattern that is none": (None, f"{OWN} train.json --group-by '('", ["--group-by"]),
    "a pattern without a group": (None, f"{OWN} train.json --group-by abc", ["--group-by", "group"]),
    "a share above 1": (None, "prepare --labeled train.json --out out --valid-share 1.5", ["--valid-share 1.5"]),
    "lists that are there": (None, "prepare --labeled train.json --out .", ["train.json", "--overwrite"]),
    "YOLO, a class without a name": (
        yolo("7 0.5 0.5 0.2 0.2\n"),
        f"{OWN} own",
        ["labels/0.txt:1: class 7, but there are 2"],
    ),
    "YOLO, pixels": (
        yolo("0 50 40 20 20\n"),
        f"{OWN} own",
        ["labels/0.txt:1: a coordinate of 50", "Divide x and width"],
    ),
    "YOLO, commas": (
        yolo("0 0,5 0,5 0,2 0,2\n"),
        f"{OWN} own",
        ["labels/0.txt:1", "has commas. Write numbers with a point"],
    ),
    "YOLO, NaN alone": (yolo("0 nan 0.5 0.2 0.2\n"), f"{OWN} own", ["not one box to learn from"]),
    "YOLO, no names": (
        yolo(yaml="train: images\n"),
        f"{OWN} own",
        ["data.yaml: no class names. Write `names: [cat, dog]`"],
    ),
    "YOLO, no YAML": (yolo(yaml="train: ["), f"{OWN} own", ["data.yaml:1: can't be read as YAML"]),
    "YOLO, a folder gone": (
        yolo(yaml="train: gone\nnames: [a]\n"),
        f"{OWN} own/data.yaml",
        ["own/data.yaml: `train: gone` isn't there. Looked for own/gone."],
    ),
    "VOC, cut off": (xml("<annotation><filename>0.png</filename><obj"), f"{OWN} own", ["own/0.xml"]),
    "VOC, no object": (xml("<annotation><filename>0.png</filename></annotation>"), f"{OWN} own", ["own"]),
    "CVAT, no image": (xml("<annotations><version>1.1</version></annotations>", "a.xml"), f"{OWN} own", ["own"]),
}

TABLE = {
    f"{kind}: {name}": row
    for kind, rows in (("list", IN_LISTS), ("image", IN_IMAGES), ("folder", IN_FOLDERS))
    for name, row in rows.items()
}


@pytest.mark.parametrize("name", TABLE)
def test_a_mistake_in_the_data_is_told(name: str, place: Any, refuses: Callable[..., None]) -> None:
    change, arguments, said = TABLE[name]
    if change is not None:
        change(place)
    small = " basenet.arch=test_resnet basenet.pretrained=False params.image_size=64 cuda.using=False"
    refuses(place, arguments + (small if arguments.startswith((OWN, LISTS)) else ""), *said)
