"""Pseudo-labels out, corrected ones back, and training goes on: the whole loop on the tiny set."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from softdet.config import load_config
from softdet.data.index_reading import load_labeled, load_unlabeled
from softdet.evaluation.detector import read_card
from softdet.evaluation.run import RunFolder

Command = Callable[..., int]
Output = pytest.CaptureFixture[str]


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> RunFolder:
    """A copy of the run, to be written to."""
    return RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run")))


@pytest.fixture
def label(run: RunFolder, squares: Path, tmp_path: Path, softdet: Command) -> Callable[..., Path]:
    """Pseudo-label the unlabeled images into a folder."""

    def to(format: str, *options: str) -> Path:
        out = tmp_path / format
        arguments = (run.path, squares / "unlabeled", "--to", format, "--out", out, "--threshold", "0.2", *options)
        assert softdet("pseudo-label", *arguments) == 0
        return out

    return to


def corrected_by_hand(labels: Path) -> dict[str, int]:
    """Delete, move, rename and add a box in a COCO file, and drop the images that nobody has looked at."""
    listed = content(labels)
    with_boxes = {each["image_id"] for each in listed["annotations"]}
    first, second, third = sorted(with_boxes)[:3]
    chosen = [first, second, third]
    listed["images"] = [each for each in listed["images"] if each["id"] in chosen]
    kept = [each for each in listed["annotations"] if each["image_id"] in chosen]
    (deleted, *rest) = kept
    moved, renamed = rest[0], next(each for each in rest if each["image_id"] == third)
    moved["bbox"][0] += 4
    ids = [category["id"] for category in listed["categories"]]
    renamed["category_id"] = next(each for each in ids if each != renamed["category_id"])
    added = {**deleted, "id": 999, "image_id": second, "bbox": [0, 0, 5, 5]}
    listed["annotations"] = [*rest, added]
    labels.write_text(json.dumps(listed))
    changed = {moved["id"], renamed["id"]}
    return {"boxes": len(rest) + 1, "kept": len([each for each in rest if each["id"] not in changed])}


def test_the_whole_loop_labels_corrects_merges_and_trains_on(
    label: Callable[..., Path], run: RunFolder, squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    out = label("coco")
    said = capsys.readouterr().out
    assert f"softdet merge {run.path} CORRECTED --out DIR" in said
    counts = corrected_by_hand(out / "labels.json")
    assert softdet("merge", run.path, out / "labels.json", "--out", tmp_path / "merged") == 0
    said = capsys.readouterr().out
    assert f"3 corrected images with {counts['boxes']} boxes" in said
    told = f"1 added, 1 moved, 1 given another class, 1 deleted, {counts['kept']} as they were"
    assert f"against the pseudo-labels: {told}" in said

    names = read_card(run.best).class_names
    train = load_labeled(tmp_path / "merged" / "train.json")
    unlabeled = load_unlabeled(tmp_path / "merged" / "unlabeled.json")
    before = load_labeled(squares / "train.json")
    assert train.class_names == before.class_names == names
    assert train.category_ids == before.category_ids
    assert len(train) == len(before) + 3
    assert sum(len(each.labels) for each in train.images) == 16 + counts["boxes"]
    for one, other in zip(train.images, before.images, strict=False):
        assert (one.id, one.path.resolve(), one.size) == (other.id, other.path.resolve(), other.size)
        assert one.boxes.tolist() == other.boxes.tolist()
    new = {each.path.resolve() for each in train.images[len(before) :]}
    assert len(new) == 3
    assert new | {each.path.resolve() for each in unlabeled.images} == set((squares / "unlabeled").resolve().iterdir())
    assert len(unlabeled) == 3

    command = shlex.split(next(line for line in said.splitlines() if line.startswith("  softdet train")))
    assert f"model.model_path={run.best}" in command
    short = ["params.iterations=3", "soft_teacher.burn_in_steps=2", "params.evaluate_every=3"]
    assert softdet(*command[1:], *short) == 0
    said = capsys.readouterr().out
    assert f"labeled: 11 images, {16 + counts['boxes']} boxes, 2 classes" in said
    assert "unlabeled: 3 images" in said
    assert load_config(tmp_path / "run_2" / "config.yaml").model.model_path == run.best
    assert read_card(RunFolder(tmp_path / "run_2").best).class_names == names


@pytest.mark.parametrize("format", ["coco", "yolo", "voc", "cvat"])
@pytest.mark.parametrize("images", ["--images", "--no-images"])
def test_labels_that_come_back_as_they_left_are_all_kept(
    format: str,
    images: str,
    label: Callable[..., Path],
    run: RunFolder,
    squares: Path,
    tmp_path: Path,
    softdet: Command,
    capsys: Output,
) -> None:
    out = label(format, images)
    # As an annotation tool gives them back: at another place.
    back = Path(shutil.copytree(out, tmp_path / "elsewhere"))
    (back / "summary.json").unlink()
    num_boxes = content(out / "summary.json")["boxes"]
    capsys.readouterr()
    place = back / "annotations.xml" if format == "cvat" else back
    assert softdet("merge", run.path, place, "--out", tmp_path / "merged") == 0
    said = capsys.readouterr().out
    assert f"0 added, 0 moved, 0 given another class, 0 deleted, {num_boxes} as they were" in said
    assert "--changed-only" in said
    assert "--supervised" in said
    train = load_labeled(tmp_path / "merged" / "train.json")
    assert {each.path.resolve() for each in train.images[8:]} == set((squares / "unlabeled").resolve().iterdir())
    assert softdet("merge", run.path, place, "--out", tmp_path / "none", "--changed-only") == 2
    assert "no image is left" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_label_studio_gets_tasks_and_a_config(label: Callable[..., Path], capsys: Output) -> None:
    out = label("labelstudio", "--url", "https://host/pool/")
    assert {path.name for path in out.iterdir()} == {"tasks.json", "labeling_config.xml", "summary.json"}
    assert content(out / "tasks.json")[0]["data"]["image"] == "https://host/pool/unlabeled_0.png"
    assert "labeling_config.xml" in capsys.readouterr().out


def test_images_that_were_not_in_the_unlabeled_list_join_too_and_copies_of_them_leave_it(
    run: RunFolder, squares: Path, tmp_path: Path, softdet: Command
) -> None:
    (tmp_path / "new").mkdir()
    for number in range(4):
        with Image.open(squares / "unlabeled" / f"unlabeled_{number}.png") as opened:
            ImageOps.mirror(opened).save(tmp_path / "new" / f"new_{number}.png")
    shutil.copy(squares / "unlabeled" / "unlabeled_0.png", tmp_path / "new" / "copy.png")
    arguments = (run.path, tmp_path / "new", "--to", "coco", "--out", tmp_path / "out", "--threshold", "0.2")
    assert softdet("pseudo-label", *arguments) == 0
    assert softdet("merge", run.path, tmp_path / "out", "--out", tmp_path / "merged") == 0
    train = load_labeled(tmp_path / "merged" / "train.json")
    assert {each.path.parent.resolve() for each in train.images[8:]} == {(tmp_path / "new").resolve()}
    assert len(train) == 8 + 5
    assert len(load_unlabeled(tmp_path / "merged" / "unlabeled.json")) == 5


def test_folders_of_the_same_names_come_back_to_their_own_pictures(
    run: RunFolder, squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    pool = sorted((squares / "unlabeled").iterdir())
    for camera, images in (("cam1", pool[:2]), ("cam2", pool[2:4])):
        for number, image in enumerate(images):
            copy = tmp_path / camera / f"f_{number}{image.suffix}"
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(image, copy)
        out = tmp_path / f"of_{camera}"
        arguments = (run.path, tmp_path / camera, "--to", "yolo", "--out", out, "--threshold", "0.2")
        assert softdet("pseudo-label", *arguments) == 0
    assert softdet("merge", run.path, tmp_path / "of_cam1", "--out", tmp_path / "merged") == 0
    joined = {record.path.resolve() for record in load_labeled(tmp_path / "merged" / "train.json").images}
    assert {path.resolve() for path in (tmp_path / "cam1").iterdir()} <= joined
    assert not joined & {path.resolve() for path in (tmp_path / "cam2").iterdir()}
    shutil.rmtree(tmp_path / "of_cam1" / "images")
    assert softdet("merge", run.path, tmp_path / "of_cam1", "--out", tmp_path / "unknown") == 2
    assert "pictures of one name" in capsys.readouterr().err


def test_images_to_evaluate_on_do_not_join(
    run: RunFolder, squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    mixed = content(squares / "valid.json")
    new = {**mixed["images"][0], "id": 5, "file_name": str(squares / "unlabeled" / "unlabeled_0.png")}
    corrected = {**mixed, "images": [*mixed["images"], new]}
    for image in corrected["images"][:-1]:
        image["file_name"] = str(squares / "images" / image["file_name"])
    (tmp_path / "mixed.json").write_text(json.dumps(corrected))
    assert softdet("merge", run.path, tmp_path / "mixed.json", "--out", tmp_path / "merged") == 0
    said = capsys.readouterr().out
    assert "left out: 8 images that the run is evaluated on" in said
    assert "1 images have no pseudo-labels of this run" in said
    assert len(load_labeled(tmp_path / "merged" / "train.json")) == 9


def test_roboflows_versions_are_known_by_their_names(
    run: RunFolder, squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    pool = sorted((squares / "unlabeled").iterdir())[:2]
    evaluated = load_labeled(squares / "valid.json").images[0].path
    for number, image in enumerate([*pool, evaluated]):
        name = f"{image.stem}_{image.suffix[1:]}.rf.0{number}.jpg"
        (tmp_path / "back").mkdir(exist_ok=True)
        with Image.open(image) as picture:
            picture.convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "back" / name)
        (tmp_path / "back" / name).with_suffix(".txt").write_text("0 .5 .5 .2 .2\n")
    (tmp_path / "back" / "gone.txt").write_text("0 .5 .5 .2 .2\n")
    assert softdet("merge", run.path, tmp_path / "back", "--out", tmp_path / "merged") == 0
    said = capsys.readouterr().out
    assert "left out: 1 images that the run is evaluated on" in said
    assert "gone.txt" in said
    assert len(load_labeled(tmp_path / "merged" / "train.json")) == 10
    left = {record.path.name for record in load_unlabeled(tmp_path / "merged" / "unlabeled.json").images}
    assert not left & {image.name for image in pool}


def test_a_class_that_the_run_does_not_know_is_named(
    label: Callable[..., Path], run: RunFolder, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    out = label("coco")
    (out / "labels.json").write_text((out / "labels.json").read_text().replace('"red"', '"crimson"'))
    assert softdet("merge", run.path, out, "--out", tmp_path / "merged") == 2
    said = capsys.readouterr().err
    assert "crimson (" in said
    assert "the run's are blue, red" in said
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ["pseudo-label", "{run}", "{squares}/unlabeled", "--to", "xml", "--out", "a"],
            "--to xml: it is coco, yolo, voc",
        ),
        (["merge", "{squares}", "{squares}/train.json", "--out", "a"], "there is no weights/best.safetensors"),
        (["merge", "{run}", "none.json", "--out", "a"], "none.json"),
        (["merge", "{run}", "{squares}/train.json", "--out", "{squares}"], "train.json is there already"),
    ],
)
def test_a_mistake_is_told_and_leaves_nothing_behind(
    command: list[str],
    said: str,
    squares: Path,
    tiny_run: Path,
    softdet: Command,
    capsys: Output,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert softdet(*(each.format(run=tiny_run, squares=squares) for each in command)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert said in captured.err
    assert list(tmp_path.iterdir()) == []
