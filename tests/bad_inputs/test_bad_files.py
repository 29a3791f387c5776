"""Runs, checkpoints, weights and results that can't be used: told by every command, and nothing is changed."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from softdet.engine.checkpoint import load_checkpoint, save_checkpoint
from softdet.errors import RunError

Change = Callable[[Any], object]
BEST = "run/weights/best.safetensors"
START = "train --config tiny.yaml --out out model.model_path="
BACKBONE = "train --config tiny.yaml --out out basenet.pretrained="
SCORE = "evaluate --truth valid.json --detections d.json"
NO_WEIGHTS = "there is no weights file nowhere. Seen from "
NO_RUN = "there is no weights/best.safetensors. Is this a run folder"
CUT_WEIGHTS = "is not a whole safetensors file"


def plain_torch(name: str) -> Change:
    return lambda place: torch.save({"a": 1}, place.path / name)


def plain_weights(place: Any) -> None:
    save_file({"a": torch.zeros(3)}, place.path / "m.safetensors")


def of_a_newer_format(place: Any) -> None:
    with safe_open(place.path / BEST, "pt") as file:
        card = json.loads(file.metadata()["softdet"])
    save_file(
        load_file(place.path / BEST),
        place.path / "m.safetensors",
        {"softdet": json.dumps(card | {"format_version": 9})},
    )


def cut_weights(place: Any) -> None:
    place.write("m.safetensors", place.read(BEST)[:9000])


def rename_class(place: Any) -> None:
    for name in ("train.json", "valid.json"):
        place.edit(name, lambda content: content["categories"][0].update(name="green"))


def other_network(place: Any) -> None:
    place.replace("run/config.yaml", "fpn_channels: 32", "fpn_channels: 16")


def detections(**values: Any) -> Change:
    row = {"image_id": 2000, "category_id": 5, "bbox": [1, 2, 3, 4], "score": 0.5} | values
    return lambda place: place.write("d.json", json.dumps([row]))


def write(name: str, content: str = "hello") -> Change:
    return lambda place: place.write(name, content)


TABLE: dict[str, tuple[Change | None, str, list[str]]] = {
    "resume nothing": (None, "train --resume nowhere", ["--resume nowhere: it is no folder (seen from ", "or --out."]),
    "resume no run": (
        None,
        "train --resume images",
        ["--resume images: it holds no run, there is no config.yaml in it"],
    ),
    "resume without a checkpoint": (
        lambda place: (place.path / "run/checkpoint.pt").unlink(),
        "train --resume run",
        ["nothing to resume, there is no checkpoint.pt. Start it anew, with --overwrite instead of --resume."],
    ),
    "resume and more": (None, "train --resume run params.iterations=99", ["give nothing beside it"]),
    "checkpoint cut off": (
        lambda place: place.cut("run/checkpoint.pt", 5000),
        "train --resume run",
        ["run/checkpoint.pt can't be read as a checkpoint (", "Was it cut off while copied? Put the whole file back"],
    ),
    "checkpoint a text": (write("run/checkpoint.pt"), "train --resume run", ["can't be read as a checkpoint ("]),
    "checkpoint of something else": (
        plain_torch("run/checkpoint.pt"),
        "train --resume run",
        ["run/checkpoint.pt doesn't fit the run (KeyError: "],
    ),
    "checkpoint of an earlier version": (
        lambda place: torch.save({"a": 1, "version": "0.0.9"}, place.path / "run/checkpoint.pt"),
        "train --resume run",
        ["run/checkpoint.pt doesn't fit the run (KeyError: ", "softdet 0.0.9 wrote it, this is"],
    ),
    "checkpoint of another network": (
        other_network,
        "train --resume run",
        ["run/checkpoint.pt doesn't fit the run (RuntimeError: ", "changed since it was written? Undo that, or start"],
    ),
    "a run is there": (
        None,
        "train --config tiny.yaml --out run",
        [
            "run already holds files. Choose: `softdet train --resume run`",
            "--overwrite to delete the run that is there",
        ],
    ),
    "not a run's folder": (
        None,
        "train --config tiny.yaml --out images --overwrite",
        ["images holds files that no run of softdet wrote", "so --overwrite won't delete them"],
    ),
    "a file for a folder": (
        None,
        "train --config tiny.yaml --out train.json",
        ["train.json is a file, and a run needs"],
    ),
    "below a file": (
        None,
        "train --config tiny.yaml --out train.json/run",
        ["model.exp_path: train.json/run can't be written (Not a directory). Choose another folder."],
    ),
    "start nowhere": (None, f"{START}nowhere", [NO_WEIGHTS, "is the path right?"]),
    "start cut off": (cut_weights, f"{START}m.safetensors", [f"m.safetensors {CUT_WEIGHTS}", "Was it cut off"]),
    "start of plain torch": (plain_torch("m.pt"), f"{START}m.pt", [f"m.pt {CUT_WEIGHTS}"]),
    "start of a backbone": (
        plain_weights,
        f"{START}m.safetensors",
        ["no detector written by softdet", "basenet.pretr"],
    ),
    "start of another network": (
        None,
        f"{START}{BEST} model.fpn_channels=16",
        ["doesn't fit the model: ", "Are basenet.arch and the keys under model the ones it was trained with?"],
    ),
    "start of other classes": (
        rename_class,
        f"{START}{BEST}",
        ["knows the classes ['blue', 'red'], the data has ['blue', 'green']. Set model.is_finetune=True"],
    ),
    "start of a newer format": (of_a_newer_format, f"{START}m.safetensors", ["has format 9", "Update softdet."]),
    "backbone nowhere": (None, f"{BACKBONE}nowhere", ["basenet.pretrained: there is no weights file nowhere"]),
    "backbone a text": (
        write("m.safetensors"),
        f"{BACKBONE}m.safetensors",
        ["can't be loaded as weights of test_resnet"],
    ),
    "backbone of another": (
        plain_weights,
        f"{BACKBONE}m.safetensors",
        ["(15 of 90 are not in it, the first ['conv1.0.weight'", "Is it of the architecture that basenet.arch names?"],
    ),
    "evaluate nothing": (None, "evaluate", ["give a run folder, or --truth GT.json --detections DT.json"]),
    "evaluate nowhere": (None, "evaluate nowhere", ["there is no config file nowhere (seen from "]),
    "evaluate on what there is not": (None, "evaluate run --split test", ["data.test is missing", "Leave out --split"]),
    "evaluate on a split unknown": (None, "evaluate run --split all", ["--split all: it is valid or test"]),
    "evaluate half": (None, "evaluate --truth valid.json", ["--truth and --detections go together"]),
    "evaluate a text": (write("d.json"), SCORE, ["d.json is not JSON", "Was it cut off"]),
    "evaluate an object": (write("d.json", "{}"), SCORE, ["d.json: detections are a list, one entry a box"]),
    "evaluate unknown images": (detections(image_id=7), SCORE, ["1 of 1 detections have an unknown image_id: 7"]),
    "evaluate no scores": (detections(score=None), SCORE, ["1 of 1 detections are malformed", "and a finite score"]),
    "evaluate other classes": (rename_class, "evaluate run --rerun", ["['green'], which are not in the class list"]),
    "evaluate cut off": (lambda p: p.cut(BEST, 9000), "evaluate run --rerun", [f"best.safetensors {CUT_WEIGHTS}"]),
    "evaluate to below a file": (
        None,
        "evaluate run --json train.json/a.json",
        ["Something else is in the way there."],
    ),
    "predict nowhere": (None, "predict nowhere unlabeled --out out", [NO_WEIGHTS]),
    "predict no run": (None, "predict images unlabeled --out out", ["Did the run reach its first evaluation?"]),
    "predict no weights": (None, "predict tiny.yaml unlabeled --out out", [f"tiny.yaml {CUT_WEIGHTS}"]),
    "predict in nothing": (None, "predict run nowhere --out out", ["there is no file or folder nowhere, seen from "]),
    "predict in a text": (
        write("a.md"),
        "predict run a.md --out out",
        ["a.md: no image and no video in it (looked for"],
    ),
    "predict into the user's": (None, "predict run unlabeled --out images", ["images holds files that softdet didn't"]),
    "predict above 1": (
        None,
        "predict run unlabeled --out out --threshold 2",
        ["'--threshold'", "less than or equal to 1"],
    ),
    "export nowhere": (None, "export nowhere", [NO_WEIGHTS]),
    "export no run": (None, "export images", [NO_RUN]),
    "export a format unknown": (None, "export run --format tflite", ["--format tflite: it is onnx or pt2"]),
    "report nowhere": (None, "report nowhere", ["nowhere: there is no such folder. Is the path right?"]),
    "report no run": (None, "report images", ["images holds no run: there is no metrics.csv in it"]),
    "pseudo-label nowhere": (None, "pseudo-label nowhere unlabeled --to coco --out out", [NO_WEIGHTS]),
    "pseudo-label for what": (
        None,
        "pseudo-label run unlabeled --to excel --out out",
        ["excel", "coco, yolo, voc, cvat"],
    ),
    "merge nowhere": (None, "merge nowhere train.json --out out", [NO_RUN]),
    "merge nothing": (None, "merge run nowhere --out out", ["there is no file or folder nowhere, seen from "]),
    "merge other classes": (
        lambda p: p.write("g.json", p.read("train.json").replace(b"red", b"green")),
        "merge run g.json --out out",
        ["have the classes green", "the run's are blue, red", "Name them as the run does."],
    ),
    "doctor nowhere": (None, "doctor --labeled nowhere --no-cache", ["there is no file or folder nowhere, seen from "]),
    "doctor at no size": (
        None,
        "doctor --labeled train.json --image-size big --no-cache",
        ["--image-size big: rows x"],
    ),
    "doctor cut off": (
        lambda p: p.cut("train.json"),
        "doctor --labeled train.json --no-cache",
        ["train.json is not JSON"],
    ),
    "compare nowhere": (None, "compare run nowhere", ["nowhere: there is no such folder. Is the path right?"]),
    "evaluate no run": (None, "evaluate images", ["images holds no run: there is no metrics.csv in it"]),
    "a text for the picture": (
        None,
        "compare run run --out notes.txt",
        ["--out notes.txt: the file to write ends in .png"],
    ),
    "a text for the page": (None, "report run --out notes.txt", ["--out notes.txt: the file to write ends in .html"]),
    "a text for the findings": (
        None,
        "doctor --labeled train.json --json notes.txt",
        ["--json notes.txt: the file to write ends in .json, such as notes.json"],
    ),
    "a text for the model": (None, "export run --format pt2 --out notes.txt", ["the file to write ends in .pt2"]),
    "resume the control alone": (
        lambda p: p.write("run/control/config.yaml", p.read("run/config.yaml")),
        "train --resume run/control",
        ["run/control: that is the control arm of a run. Go on with both: --resume run"],
    ),
    "explain an unknown key": (None, "explain params.batchsize", ["no such key. Did you mean params.batch_size?"]),
    "convert nowhere": (None, "convert torchvision nowhere.pth", ["there is no file nowhere.pth. It is RetinaNet_"]),
    "convert something else": (plain_torch("m.pt"), "convert torchvision m.pt", ["m.pt holds no state dict"]),
    "prepare no COCO": (None, "prepare coco --root images --out out", ["no official COCO annotation file was found"]),
    "split into too little": (
        None,
        "prepare split train.json --percent 0.1 --out out",
        ["0.1% of 8 images", "less than"],
    ),
}


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.filterwarnings("ignore:Unexpected keys")
def test_a_file_that_cannot_be_used_is_told(name: str, place_with_run: Any, refuses: Callable[..., None]) -> None:
    change, arguments, said = TABLE[name]
    if change is not None:
        change(place_with_run)
    refuses(place_with_run, arguments, *said)


def test_doctor_ends_with_1_where_it_finds_an_error(place: Any, refuses: Callable[..., None]) -> None:
    place.cut("images/train_1.png")
    refuses(place, "doctor --labeled train.json --no-cache", "error file-cut-off", "train_1.png", "fix: ", code=1)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 7})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(RunError, match=r"can't be written .* Is the disk full\? .* `softdet train --resume"):
            save_checkpoint(path, {"step": torch.zeros(200_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_checkpoint(path)["step"] == 7
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_place_that_takes_nothing_is_told(
    number: int, place_with_run: Any, refuses: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Path, *arguments: object, **options: object) -> int:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "write_text", fails)
    fixes = {errno.ENOSPC: "Make room there; what was written before is whole."}
    refuses(
        place_with_run,
        "evaluate run --json numbers.json",
        f"/run/detections.json: {os.strerror(number)}",
        fixes.get(number, "You may not write or read there. Choose another place"),
    )
