"""Detecting in any pictures: drawings, COCO JSON, the user's ids and the pictures' own pixels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from softdet.engine.detector import read_card
from softdet.engine.prediction import find_images, predict
from softdet.engine.run import RunFolder
from softdet.errors import DataError, WeightsError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tiny_run: Path) -> Path:
    return RunFolder(tiny_run).best


def detect(weights: Path, sources: list[Path], out: Path, threshold: float | None = None) -> list[dict[str, Any]]:
    return predict(weights, sources, out, threshold=threshold, device=CPU, batch_size=8)


def valid_images(squares: Path) -> list[Path]:
    entries = json.loads((squares / "valid.json").read_text())["images"]
    return [squares / "images" / entry["file_name"] for entry in entries]


def opened(path: Path | str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def test_it_finds_what_the_evaluation_finds(weights: Path, squares: Path, tiny_run: Path, tmp_path: Path) -> None:
    entries = detect(weights, valid_images(squares), tmp_path, threshold=0.05)
    kept = json.loads(RunFolder(tiny_run).detections.read_text())
    keys = ("category_id", "bbox", "score")
    assert [[entry[key] for key in keys] for entry in entries] == [[entry[key] for key in keys] for entry in kept]
    assert entries == json.loads((tmp_path / "detections.json").read_text())


def test_entries_name_the_file_the_class_and_the_users_id(weights: Path, squares: Path, tmp_path: Path) -> None:
    entries = detect(weights, valid_images(squares), tmp_path, threshold=0.1)
    assert {(entry["category"], entry["category_id"]) for entry in entries} == {("red", 17), ("blue", 5)}
    for entry in entries:
        assert entry["file_name"] == str(valid_images(squares)[entry["image_id"] - 1])
        width, height = opened(entry["file_name"]).size
        x, y, w, h = entry["bbox"]
        assert 0 <= x <= x + w <= width + 1e-3
        assert 0 <= y <= y + h <= height + 1e-3


def test_every_picture_gets_a_drawing_of_its_own_size(weights: Path, squares: Path, tmp_path: Path) -> None:
    entries = detect(weights, [squares / "unlabeled"], tmp_path, threshold=0.05)
    drawings = sorted((tmp_path / "drawings").iterdir())
    assert [path.name for path in drawings] == [f"unlabeled_{number}.jpg" for number in range(6)]
    for drawing in drawings:
        picture = squares / "unlabeled" / f"{drawing.stem}.png"
        assert opened(drawing).size == opened(picture).size
        difference = np.abs(np.asarray(opened(drawing), float) - np.asarray(opened(picture), float)).max()
        has_boxes = any(entry["file_name"] == str(picture) for entry in entries)
        assert (difference > 150) == has_boxes


def test_the_detectors_operating_threshold_holds_unless_another_is_given(
    weights: Path, squares: Path, tmp_path: Path
) -> None:
    threshold = read_card(weights).operating_threshold
    everything = detect(weights, [squares / "unlabeled"], tmp_path / "all", threshold=0.05)
    chosen = detect(weights, [squares / "unlabeled"], tmp_path / "chosen")
    assert chosen == [entry for entry in everything if entry["score"] >= threshold]
    assert 0 < len(chosen) < len(everything)


def test_a_threshold_below_the_evaluations_is_heeded(weights: Path, squares: Path, tmp_path: Path) -> None:
    scores = [entry["score"] for entry in detect(weights, [squares / "unlabeled"], tmp_path, threshold=0.02)]
    assert 0.02 <= min(scores) < read_card(weights).score_threshold


def test_pictures_of_the_same_name_do_not_overwrite_each_other(weights: Path, squares: Path, tmp_path: Path) -> None:
    for folder, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (80, 60), colour).save(tmp_path / folder / "1.png")
    detect(weights, [tmp_path / "a" / "1.png", tmp_path / "b" / "1.png"], tmp_path / "out", threshold=1.0)
    assert len(list((tmp_path / "out" / "drawings").iterdir())) == 2


def test_folders_are_searched_through_and_keep_their_shape(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "day" / "one").mkdir(parents=True)
    Image.new("RGB", (80, 60)).save(tmp_path / "in" / "day" / "one" / "x.PNG")
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    detect(weights, [tmp_path / "in"], tmp_path / "out")
    assert (tmp_path / "out" / "drawings" / "day" / "one" / "x.jpg").is_file()


def test_a_turned_photograph_is_detected_upright(weights: Path, squares: Path, tmp_path: Path) -> None:
    upright = opened(valid_images(squares)[1])
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: to be turned by 90 degrees to the right
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    turned = detect(weights, [tmp_path / "turned.png"], tmp_path / "a", threshold=0.1)
    plain = detect(weights, [valid_images(squares)[1]], tmp_path / "b", threshold=0.1)
    assert [entry["bbox"] for entry in turned] == [entry["bbox"] for entry in plain] != []
    assert opened(tmp_path / "a" / "drawings" / "turned.jpg").size == upright.size


def test_nothing_found_is_an_empty_list(weights: Path, squares: Path, tmp_path: Path) -> None:
    assert detect(weights, valid_images(squares)[:1], tmp_path, threshold=1.0) == []
    assert json.loads((tmp_path / "detections.json").read_text()) == []


def test_what_was_found_is_written_even_where_too_many_pictures_are_broken(
    weights: Path, squares: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 of 3 images can't be read[\s\S]*broken\.png"):
        detect(weights, [valid_images(squares)[0], broken, valid_images(squares)[1]], tmp_path / "out", 0.05)
    entries = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {Path(entry["file_name"]).name for entry in entries} == {"valid_0.png", "valid_1.png"}


def test_sources_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("not a picture")
    for source, reason in (
        (tmp_path / "none.jpg", "there is no such file or folder"),
        (tmp_path / "empty", "no image in this folder"),
        (tmp_path / "notes.txt", "not an image"),
    ):
        with pytest.raises(DataError, match=rf"{re.escape(str(source))}: {reason}"):
            find_images([source])


def test_a_missing_detector_is_named(squares: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no weights file .*best\.safetensors"):
        detect(tmp_path / "best.safetensors", [squares / "unlabeled"], tmp_path / "out")
