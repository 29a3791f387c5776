"""The seed's three commands on a COCO release, and the wheel that people install."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import softdet
from softdet.data.index_reading import load_labeled, load_unlabeled
from softdet.data.splits import percent_indices
from softdet.evaluation.run import RunFolder

ROOT = Path(__file__).resolve().parent.parent
Script = Callable[..., int]


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Run a Python file of the repository as `python FILE ARGUMENTS` does; gives its exit code."""

    def run(name: str, *arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return code or 0

    return run


@pytest.fixture(scope="module")
def release(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The squares in the layout and under the names of COCO's 2017 release."""
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    for name, folder in (("train", "train2017"), ("valid", "val2017")):
        (root / folder).mkdir()
        listed = content(squares / f"{name}.json")
        for image in listed["images"]:
            old, image["file_name"] = image["file_name"], f"{image['id']:012d}.jpg"
            with Image.open(squares / "images" / old) as opened:
                opened.save(root / folder / image["file_name"], quality=95)
        (root / "annotations" / f"instances_{folder}.json").write_text(json.dumps(listed))
    (root / "unlabeled2017").mkdir()
    images = []
    for number, path in enumerate(sorted((squares / "unlabeled").iterdir()), 9001):
        with Image.open(path) as opened:
            opened.save(root / "unlabeled2017" / f"{number:012d}.jpg", quality=95)
            images.append({"id": number, "file_name": f"{number:012d}.jpg", "width": opened.width})
            images[-1]["height"] = opened.height
    info = {"info": {}, "images": images, "categories": content(squares / "train.json")["categories"]}
    (root / "annotations" / "image_info_unlabeled2017.json").write_text(json.dumps(info))
    return root


@pytest.fixture(scope="module")
def lists(release: Path) -> Path:
    """Where the prepared lists go."""
    return release / "lists"


def paths(lists: Path, run: Path) -> list[str]:
    return [
        f"data.train={lists / 'coco_trainval35k.json'}",
        f"data.valid={lists / 'coco_minival5k.json'}",
        f"data.unlabeled={lists / 'coco_unlabel2017.json'}",
        f"params.classes={lists / 'coco_classes.txt'}",
        f"model.exp_path={run}",
    ]


def test_the_seeds_three_commands_prepare_train_and_evaluate(
    script: Script,
    release: Path,
    lists: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert script("data/coco.py", "--root", release, "--out", lists) == 0
    assert len(content(lists / "coco_trainval35k.json")["images"]) == 8
    assert len(content(lists / "coco_minival5k.json")["images"]) == 8
    assert len(content(lists / "coco_unlabel2017.json")["images"]) == 6

    run = RunFolder(tmp_path / "run")
    # A small backbone and canvas in the place of ResNet-50 at 320 pixels, which takes a minute here.
    small = ["basenet.arch=test_resnet", "params.image_size=64x64", "model.fpn_channels=16", "model.head_convs=1"]
    small += ["inference.cls_th=0.0"]
    overrides = [*paths(lists, run.path), "basenet.pretrained=False", "params.iterations=3", *small]
    assert script("train.py", f"--config={ROOT / 'configs' / 'coco.yaml'}", *overrides) == 0
    out = capsys.readouterr().out
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert "device: cpu" in out
    assert f"{run.best}: mAP" in out
    # Inference over the validation images, with COCO's ids.
    listed = content(lists / "coco_minival5k.json")
    found = content(run.detections)
    assert {entry["image_id"] for entry in found} == {image["id"] for image in listed["images"]}
    assert {entry["category_id"] for entry in found} == {5, 17}

    in_training = content(run.evaluation)
    run.evaluation.unlink()
    assert script("evaluation.py", f"--config={run.path}") == 0
    assert f"{run.best}: mAP" in capsys.readouterr().out
    assert content(run.evaluation) == in_training


def test_a_percentage_also_splits_the_training_list_under_mmdetections_names(
    script: Script, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--root", release, "--out", tmp_path, "--percent", "50", "--fold", "2")
    assert script("data/coco.py", *arguments) == 0
    assert "mmdetection draws" not in capsys.readouterr().out
    labeled = load_labeled(tmp_path / "instances_train2017.2@50.json")
    unlabeled = load_unlabeled(tmp_path / "instances_train2017.2@50-unlabeled.json")
    ids = [image["id"] for image in content(tmp_path / "coco_trainval35k.json")["images"]]
    assert [image.id for image in labeled.images] == [ids[i] for i in percent_indices(8, 50, 2)]
    assert {image.path for image in labeled.images}.isdisjoint(image.path for image in unlabeled.images)
    assert len(labeled) + len(unlabeled) == 8


def test_of_the_2014_release_the_draw_is_said_to_be_another(
    script: Script, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = content(squares / "train.json")
    for name in ("train2014", "valminusminival2014"):
        part = listed | {"images": [each | {"id": each["id"] + 100 * (name[0] == "v")} for each in listed["images"]]}
        (tmp_path / f"instances_{name}.json").write_text(
            json.dumps(part if name[0] == "t" else part | {"annotations": []})
        )
    arguments = ("--root", tmp_path, "--out", tmp_path / "out", "--percent", "50")
    assert script("data/coco.py", *arguments) == 0
    assert "this fold 1 isn't the one that mmdetection draws" in capsys.readouterr().out


def test_a_run_already_there_ends_the_seeds_command_with_2(
    script: Script, tiny_run: Path, squares: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script("train.py", f"--config={squares / 'tiny.yaml'}", f"model.exp_path={tiny_run}") == 2
    assert "--overwrite" in capsys.readouterr().err


def test_data_coco_has_its_defaults_at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["data/coco.py"])
    names = runpy.run_path(str(ROOT / "data" / "coco.py"), run_name="imported")
    assert (names["ROOT"], names["OUT"]) == ("data/coco", "data")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout; where its builder isn't installed, in an environment of its own."""
    out = tmp_path_factory.mktemp("wheel")
    isolation = ["--no-isolation"] if find_spec("hatchling") else []
    command = [sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", str(out), str(ROOT)]
    # As on a machine of somebody else, whose environment doesn't name our source folder.
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=clean)
    (path,) = out.iterdir()
    return path


def test_the_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"softdet-{softdet.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        about = archive.read(metadata).decode()
        (entry_points,) = [name for name in archive.namelist() if name.endswith("/entry_points.txt")]
        assert archive.read(entry_points).decode().split() == [
            "[console_scripts]",
            "softdet",
            "=",
            "softdet.cli.main:main",
        ]
    source = ROOT / "src"
    ours = {path.relative_to(source).as_posix() for path in (source / "softdet").rglob("*") if path.is_file()}
    assert names == {name for name in ours if "__pycache__" not in name}
    assert "Requires-Python: >=3.11" in about
    assert "License-Expression: Apache-2.0" in about


def test_the_command_runs_from_the_unpacked_wheel(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "unpacked")
    # `python -m softdet --help`, after saying whose module that is: the unpacked one, not the checkout.
    run_module = "import runpy, sys, softdet; print(softdet.__file__); sys.argv = ['softdet', '--help']; "
    finished = subprocess.run(
        [sys.executable, "-c", run_module + "runpy.run_module('softdet', run_name='__main__')"],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "unpacked")},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    place, _, help_text = finished.stdout.partition("\n")
    assert place == str(tmp_path / "unpacked" / "softdet" / "__init__.py")
    assert "prepare" in help_text
    assert "evaluate" in help_text
