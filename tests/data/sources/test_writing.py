"""Lists and copies are written, and nothing is overwritten unasked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from labeled_sets import random_content, write_coco, write_picture, write_text, write_yolo

from softdet.data.index_reading import load_unlabeled
from softdet.data.prepare import prepare
from softdet.errors import DataError


def test_copies_need_their_source_no_more(tmp_path: Path) -> None:
    write_picture(tmp_path / "more" / "deep" / "x.png", (30, 20))
    write_picture(tmp_path / "more" / "x.png", (20, 30))
    source = write_yolo(random_content(0, 6), tmp_path / "set")
    done = prepare(source, tmp_path / "more", out=tmp_path / "out", copy=True)
    shutil.rmtree(source)
    shutil.rmtree(tmp_path / "more")
    for path in (done.train, done.valid, done.unlabeled):
        assert path is not None
        records = load_unlabeled(path).images
        assert all(record.path.is_file() and "images" in record.path.parts for record in records)
        assert len({record.path for record in records}) == len(records)


def test_the_same_twice_is_no_overwriting_and_something_else_is(tmp_path: Path) -> None:
    source = write_coco(random_content(0, 20), tmp_path / "set")
    done = prepare(source, None, out=tmp_path / "out")
    before = done.train.read_bytes()
    assert prepare(source, None, out=tmp_path / "out") == done
    assert done.train.read_bytes() == before
    with pytest.raises(DataError, match=r"train.json is already there with other content.*--overwrite"):
        prepare(source, None, out=tmp_path / "out", seed=1)
    assert done.train.read_bytes() == before
    prepare(source, None, out=tmp_path / "out", seed=1, overwrite=True)
    assert done.train.read_bytes() != before


def test_what_is_read_is_never_overwritten(tmp_path: Path) -> None:
    source = write_coco(random_content(0, 20), tmp_path).rename(tmp_path / "train.json")
    before = source.read_bytes()
    with pytest.raises(DataError, match="never a file that is read here"):
        prepare(source, None, out=tmp_path, overwrite=True)
    assert source.read_bytes() == before
    assert not (tmp_path / "valid.json").exists()


def test_copies_of_another_set_replace_those_of_the_same_length(tmp_path: Path) -> None:
    for name, colour in (("a", 10), ("b", 200)):
        source = write_coco(random_content(2, 6, whole=True), tmp_path / name)
        for image in json.loads(source.read_text())["images"]:
            picture = tmp_path / name / "images" / image["file_name"]
            picture.unlink()
            write_picture(picture, (image["width"], image["height"]), colour, format="BMP")
        done = prepare(source, None, out=tmp_path / "out", copy=True, overwrite=True)
    for record in load_unlabeled(done.train).images:
        assert record.path.read_bytes() == (tmp_path / "b" / "images" / record.path.name).read_bytes()


def test_the_list_of_unlabeled_images_that_was_read_is_not_overwritten(tmp_path: Path) -> None:
    source = write_coco(random_content(1, 8, whole=True), tmp_path / "set")
    for number in range(3):
        write_picture(tmp_path / "pool" / f"{number}.png", (30, 20))
    own = {"images": [{"id": 7, "file_name": "../pool/0.png", "width": 30, "height": 20}], "info": "mine"}
    listed = write_text(tmp_path / "out" / "unlabeled.json", json.dumps(own))
    with pytest.raises(DataError, match=r"unlabeled\.json is already there"):
        prepare(source, listed, out=tmp_path / "out", overwrite=True)
    assert "mine" in listed.read_text()
