"""From a labeled list of real pictures to detections; only where the pictures lie beside the repository."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from softdet.evaluation.run import RunFolder

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
RACCOONS = SHARED / "data" / "raccoon"
COCO = SHARED / "data" / "coco20"
WEIGHTS = SHARED / "weights" / "mobilenetv2_100-imagenet-fp16.safetensors"

pytestmark = pytest.mark.real


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_first(source: Path, target: Path, num_images: int) -> None:
    """The first images of a list, with their boxes."""
    listed = content(source)
    listed["images"] = listed["images"][:num_images]
    kept = {image["id"] for image in listed["images"]}
    listed["annotations"] = [entry for entry in listed["annotations"] if entry["image_id"] in kept]
    target.write_text(json.dumps(listed))


def assert_in_own_pixels(found: list[dict[str, Any]], listed: dict[str, Any]) -> None:
    sides = {image["id"]: (image["width"], image["height"]) for image in listed["images"]}
    for entry in found:
        x, y, width, height = entry["bbox"]
        assert 0 <= x <= x + width <= sides[entry["image_id"]][0] + 1e-3
        assert 0 <= y <= y + height <= sides[entry["image_id"]][1] + 1e-3


# Defined only where the pictures are: a test that skips says nothing.
if RACCOONS.is_dir() and WEIGHTS.is_file():

    def test_raccoons_are_split_trained_on_evaluated_and_detected(
        tmp_path: Path, softdet: Callable[..., int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        split = tmp_path / "split"
        assert softdet("prepare", "split", RACCOONS / "train.json", "--percent", 10, "--fold", 1, "--out", split) == 0
        labeled, unlabeled = split / "train.1@10.json", split / "train.1@10-unlabeled.json"
        assert len(content(labeled)["images"]) + len(content(unlabeled)["images"]) == 146
        write_first(RACCOONS / "val.json", tmp_path / "val.json", 12)

        run = RunFolder(tmp_path / "run")
        overrides = {
            "data.train": labeled,
            "data.valid": tmp_path / "val.json",
            "data.unlabeled": unlabeled,
            "data.root": RACCOONS / "images",
            "basenet.pretrained": WEIGHTS,
            "params.batch_size": 4,
            "params.iterations": 6,
            "params.image_size": 96,
            "params.evaluate_every": 6,
            "soft_teacher.burn_in_steps": 3,
            "inference.cls_th": 0.001,
            "model.exp_path": run.path,
            "cuda.using": False,
        }
        arguments = [f"{key}={value}" for key, value in overrides.items()]
        assert softdet("train", "--config", ROOT / "configs" / "raccoon.yaml", *arguments) == 0
        assert "6 steps, of which 3 burn-in" in capsys.readouterr().out
        in_training = content(run.evaluation)

        assert softdet("evaluate", run.path, "--rerun") == 0
        assert content(run.evaluation) == in_training
        assert in_training["num_images"] == 12
        found = content(run.detections)
        assert len(found) > 12
        assert_in_own_pixels(found, content(tmp_path / "val.json"))

        names = [image["file_name"] for image in content(RACCOONS / "val.json")["images"][:3]]
        pictures = [RACCOONS / "images" / name for name in names]
        assert softdet("predict", run.path, *pictures, "--out", tmp_path / "found", "--threshold", 0.001, "--cpu") == 0
        drawings = [tmp_path / "found" / "drawings" / Path(name).with_suffix(".jpg") for name in names]
        for picture, drawing in zip(pictures, drawings, strict=True):
            with Image.open(picture) as before, Image.open(drawing) as after:
                assert before.size == after.size
        first = content(RACCOONS / "val.json")["images"][0]["id"]
        predicted = [
            entry["bbox"] for entry in content(tmp_path / "found" / "detections.json") if entry["image_id"] == 1
        ]
        assert predicted == [entry["bbox"] for entry in found if entry["image_id"] == first]


if COCO.is_dir():

    def test_real_coco_pictures_under_the_official_names(
        tmp_path: Path, softdet: Callable[..., int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = tmp_path / "coco"
        (root / "annotations").mkdir(parents=True)
        for name, folder, num_images in (("train", "train2017", 24), ("val", "val2017", 8)):
            write_first(COCO / f"{name}.json", root / "annotations" / f"instances_{folder}.json", num_images)
            (root / folder).symlink_to(COCO / "images")
        unlabeled = content(COCO / "unlabeled_10_fold1.json")
        unlabeled["images"] = unlabeled["images"][:16]
        (root / "annotations" / "image_info_unlabeled2017.json").write_text(json.dumps(unlabeled))
        (root / "unlabeled2017").symlink_to(COCO / "images")

        lists = tmp_path / "lists"
        assert softdet("prepare", "coco", "--root", root, "--out", lists) == 0
        run = RunFolder(tmp_path / "run")
        overrides = {
            "data.train": lists / "coco_trainval35k.json",
            "data.valid": lists / "coco_minival5k.json",
            "data.unlabeled": lists / "coco_unlabel2017.json",
            "params.classes": lists / "coco_classes.txt",
            "basenet.pretrained": False,
            "params.iterations": 3,
            "model.exp_path": run.path,
            # ResNet-50 at 320 pixels takes a minute here.
            "basenet.arch": "test_resnet",
            "model.fpn_channels": 16,
            "model.head_convs": 1,
            "params.image_size": 128,
            "params.evaluate_every": 3,
            "inference.cls_th": 0.001,
        }
        arguments = [f"{key}={value}" for key, value in overrides.items()]
        assert softdet("train", "--config", ROOT / "configs" / "coco.yaml", *arguments) == 0
        assert "labeled: 24 images" in capsys.readouterr().out
        listed = content(COCO / "val.json")
        found = content(run.detections)
        assert {entry["category_id"] for entry in found} <= {category["id"] for category in listed["categories"]}
        assert_in_own_pixels(found, listed)
        assert softdet("evaluate", run.path) == 0
        assert "(kept detections)" in capsys.readouterr().out
