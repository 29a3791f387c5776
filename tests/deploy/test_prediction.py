"""Detecting in any pictures: drawings, COCO JSON, the user's ids and the pictures' own pixels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from softdet.data.writers.folders import Origin, write_results
from softdet.data.writers.found import Classes
from softdet.deploy.prediction import open_job, work
from softdet.errors import DataError, RunError, WeightsError
from softdet.evaluation.detector import read_card
from softdet.evaluation.run import RunFolder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tiny_run: Path) -> Path:
    return RunFolder(tiny_run).best


def detect(weights: Path, sources: list[Path], out: Path, threshold: float | None = None) -> list[dict[str, Any]]:
    """Detect and draw, in one process; gives the COCO results."""
    job = open_job(weights, sources, out, threshold=threshold, drawings=True)
    assert list(work(job, device=CPU, batch_size=8))[-1] == len(job.pictures)
    classes = Classes(job.detector.card.class_names, job.detector.card.class_ids)
    found = job.folder.found(1)
    written = write_results("coco", found, classes, out)
    job.folder.finish(found, classes.names, Origin("tiny", 24, job.threshold), [written]).require_most_readable()
    entries: list[dict[str, Any]] = json.loads(written.read_text())
    return entries


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


def test_a_missing_detector_is_named(squares: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no weights file .*best\.safetensors"):
        detect(tmp_path / "best.safetensors", [squares / "unlabeled"], tmp_path / "out")


def test_an_interrupted_job_goes_on_where_it_stopped(weights: Path, squares: Path, tmp_path: Path) -> None:
    sources = [squares / "unlabeled"]
    first = open_job(weights, sources, tmp_path / "out", threshold=0.05)
    steps = work(first, device=CPU, batch_size=2)
    assert [next(steps), next(steps)] == [0, 2]
    steps.close()
    again = open_job(weights, sources, tmp_path / "out", threshold=0.05)
    assert list(work(again, device=CPU, batch_size=2)) == [2, 4, 6]
    alone = open_job(weights, sources, tmp_path / "alone", threshold=0.05)
    list(work(alone, device=CPU, batch_size=2))
    for one, other in zip(again.folder.found(1), alone.folder.found(1), strict=True):
        assert one.name == other.name
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
    # Another threshold is another job, and so are other pictures: the drawings of the first aren't the second's.
    for source, threshold in ((sources[0], 0.5), (valid_images(squares)[0], 0.05)):
        (tmp_path / "out" / "drawings").mkdir()
        changed = open_job(weights, [source], tmp_path / "out", threshold=threshold)
        assert not (tmp_path / "out" / "drawings").exists()
        assert next(work(changed, device=CPU, batch_size=2)) == 0


def test_two_shares_are_the_whole(weights: Path, squares: Path, tmp_path: Path) -> None:
    whole = open_job(weights, [squares / "unlabeled"], tmp_path / "whole", threshold=0.05)
    list(work(whole, device=CPU, batch_size=1))
    opened = open_job(weights, [squares / "unlabeled"], tmp_path / "two", threshold=0.05)
    for rank in range(2):
        job = replace(opened, rank=rank, world_size=2)
        assert list(work(job, device=CPU, batch_size=1))[-1] == 3
    for one, other in zip(whole.folder.found(1), job.folder.found(2), strict=True):
        assert one.name == other.name
        assert np.array_equal(one.boxes, other.boxes)
        assert np.array_equal(one.scores, other.scores)


def test_results_are_not_mixed_with_others(weights: Path, squares: Path, tmp_path: Path) -> None:
    source, out = valid_images(squares)[0], tmp_path / "out"
    detect(weights, [source], out, threshold=0.05)
    (out / "mine.txt").write_text("keep")
    with pytest.raises(RunError, match=r"already holds results \(detections\.json, drawings\).*--overwrite"):
        open_job(weights, [source], out)
    other = valid_images(squares)[1]
    job = open_job(weights, [other], out, drawings=True, overwrite=True)
    assert {path.name for path in out.iterdir()} == {"mine.txt", "unfinished"}
    list(work(job, device=CPU, batch_size=1))
    assert [path.stem for path in (out / "drawings").iterdir()] == [other.stem]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    with pytest.raises(RunError, match="softdet didn't write"):
        open_job(weights, [source], tmp_path / "notes", overwrite=True)


def test_a_source_that_is_none_leaves_nothing_behind(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file or folder .*none\.jpg"):
        open_job(weights, [tmp_path / "none.jpg"], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_cannot_be_read_leaves_nothing_behind(weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    video = tmp_path / "cut.mp4"
    video.write_bytes(b"no video")
    with pytest.raises(DataError, match=r"cut\.mp4"):
        open_job(weights, [video], tmp_path / "out")
    assert list(tmp_path.iterdir()) == [video]


def test_the_summary_counts_what_was_found(weights: Path, squares: Path, tmp_path: Path) -> None:
    entries = detect(weights, [squares / "unlabeled"], tmp_path, threshold=0.2)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["boxes"] == len(entries) == sum(summary["boxes_per_class"].values())
    assert summary["images"] == 6
    assert summary["images_without_boxes"] == 6 - len({entry["image_id"] for entry in entries})
    assert summary["threshold"] == 0.2
    assert not (tmp_path / "unfinished").exists()
