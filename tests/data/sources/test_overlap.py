"""Pictures that stand in two lists, as files or as copies: which list keeps them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from labeled_sets import random_content, write_coco

from softdet.data.index_reading import load_unlabeled
from softdet.data.prepare import prepare
from softdet.data.sources.overlap import apart
from softdet.data.sources.parts import Tally
from softdet.errors import DataError


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def files(path: Path | None) -> set[str]:
    assert path is not None
    return {record.path.resolve().name for record in load_unlabeled(path).images}


def less(content: dict[str, Any], numbers: range) -> dict[str, Any]:
    """A content with some of its images."""
    images = [content["images"][number] for number in numbers]
    ids = {image["id"] for image in images}
    boxes = [each for each in content["annotations"] if each["image_id"] in ids]
    return {**content, "images": images, "annotations": boxes}


def test_validation_images_that_are_the_test_images_stay_validation_images(tmp_path: Path) -> None:
    source = write_coco(random_content(0, 12), tmp_path / "set")
    whole = content(source)
    (tmp_path / "set" / "held_out.json").write_text(json.dumps(less(whole, range(6, 12))))
    (tmp_path / "set" / "few.json").write_text(json.dumps(less(whole, range(6))))
    held_out = tmp_path / "set" / "held_out.json"
    done = prepare(tmp_path / "set" / "few.json", None, out=tmp_path / "out", valid=held_out, test=held_out)
    assert len(files(done.train)) == len(files(done.valid)) == 6
    assert done.test is None
    assert "test images that are the validation images are no test images" in done.noted[0][0]


def test_a_list_that_holds_all_of_a_smaller_one_gives_it_up(tmp_path: Path) -> None:
    source = write_coco(random_content(0, 12), tmp_path / "set")
    for name, numbers in (("few", range(4)), ("more", range(8))):
        (tmp_path / "set" / f"{name}.json").write_text(json.dumps(less(content(source), numbers)))
    few, more = tmp_path / "set" / "few.json", tmp_path / "set" / "more.json"
    done = prepare(few, None, out=tmp_path / "out", valid=more, test=source)
    assert [len(files(path)) for path in (done.train, done.valid, done.test)] == [4, 4, 4]
    assert not files(done.train) & files(done.valid) | files(done.valid) & files(done.test)
    assert {row[0]: row[1] for row in done.dropped} == {
        "valid images that are training images too": 4,
        "test images that are training images too": 4,
        "test images that are validation images too": 4,
    }


def test_training_images_that_all_stand_in_other_lists_are_an_error(tmp_path: Path) -> None:
    source = write_coco(random_content(0, 6), tmp_path / "set")
    for name, numbers in (("a", range(3)), ("b", range(3, 6))):
        (tmp_path / "set" / f"{name}.json").write_text(json.dumps(less(content(source), numbers)))
    a, b = tmp_path / "set" / "a.json", tmp_path / "set" / "b.json"
    with pytest.raises(DataError, match="all 6 training images are validation or test images too"):
        prepare(source, None, out=tmp_path / "out", valid=a, test=b)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("empty", [("train",), ("valid", "test"), ("train", "valid", "test")])
def test_lists_without_an_image_are_no_part_of_each_other(empty: tuple[str, ...]) -> None:
    parts: dict[Any, Any] = {}
    for number, split in enumerate(("train", "valid", "test")):
        images = [] if split in empty else [{"id": number, "file_name": f"/nowhere/{number}.png"}]
        parts[split] = {"images": images, "annotations": []}
    assert apart(parts, Tally(), Tally()) == parts


def test_copies_of_a_picture_are_on_one_side(tmp_path: Path) -> None:
    original = random_content(0, 12)
    source = write_coco(original, tmp_path)
    for number in range(6):
        shutil.copyfile(
            tmp_path / "images" / f"shot_{number:02}.png", tmp_path / "images" / f"shot_{number + 6:02}.png"
        )
    for seed in range(3):
        done = prepare(source, None, out=tmp_path / f"out{seed}", seed=seed, valid_share=0.4)
        sides = [{int(name[5:7]) % 6 for name in files(path)} for path in (done.train, done.valid)]
        assert all(sides)
        assert not sides[0] & sides[1]
    # Those of a list of their own are left out of training.
    held_out = write_coco(less(original, range(2)), tmp_path / "held_out")
    for number in range(2):
        shutil.copyfile(
            tmp_path / "images" / f"shot_{number:02}.png", held_out.parent / "images" / f"shot_{number:02}.png"
        )
    done = prepare(source, None, out=tmp_path / "out", valid=held_out)
    assert {int(name[5:7]) % 6 for name in files(done.train)} == set(range(2, 6))
