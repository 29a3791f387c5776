"""`softdet export`: the file, its model card, the example that runs it without softdet, and what is told to users."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from softdet.data.index_reading import load_labeled
from softdet.evaluation.detector import load_detector
from softdet.evaluation.inference import infer
from softdet.evaluation.run import RunFolder
from softdet.files import write_json

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., int]
# Runs a script where what isn't named in its first line can't be imported, as on a machine that hasn't got it.
ALONE = """
import runpy, sys
for name in ("torch", "torchvision", "timm", "softdet", "onnx", "onnxscript"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the module's own."""
    return Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("exported") / "squares"))


@pytest.fixture(scope="module")
def model(run: Path, softdet: Command) -> Path:
    """The run as ONNX."""
    assert softdet("export", run) == 0
    return run / "export" / "model.onnx"


def test_the_example_sees_what_the_detector_sees_without_softdet_and_torch(
    model: Path, run: Path, squares: Path, tmp_path: Path
) -> None:
    valid = load_labeled(squares / "valid.json")
    pictures = [Path(shutil.copy(record.path, tmp_path)) for record in valid.images]
    # Of 16 bits, and with a transparent corner.
    with Image.open(pictures[1]) as picture:
        Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 200).save(pictures[1], "PNG")
    with Image.open(pictures[2]) as picture:
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        picture.save(pictures[2], "PNG")
    records = [replace(record, path=path) for record, path in zip(valid.images, pictures, strict=True)]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(ROOT / "examples" / "onnx_predict.py"), str(model), *map(str, pictures)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [re.fullmatch(r"(.+): (\w+) (.+) at (.+), (.+), (.+), (.+)", line) for line in done.stdout.splitlines()]
    # By place, since scores are told to two digits and so are often equal.
    found = sorted(
        (Path(each[1]).name, each[2], *map(float, each.groups()[3:]), float(each[3])) for each in told if each
    )
    assert len(found) == len(told) > 2
    detector = load_detector(RunFolder(run).best)
    expected = sorted(
        (record.path.name, detector.card.class_names[label], *box, score)
        for record, own in infer(detector.model, detector.card, records, device=torch.device("cpu"), batch_size=4)
        for label, score, box in zip(own.labels.tolist(), own.scores.tolist(), own.boxes.tolist(), strict=True)
        if score >= detector.card.operating_threshold
    )
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for left, right in zip(found, expected, strict=True):
        assert left[2:6] == pytest.approx(right[2:6], abs=0.06)
        assert left[6] == pytest.approx(right[6], abs=0.0051)
    with Image.open(tmp_path / "valid_0.detected.jpg") as drawn, Image.open(pictures[0]) as picture:
        assert drawn.size == picture.size


def test_the_model_card_of_a_run(model: Path) -> None:
    text = (model.parent / "model_card.md").read_text(encoding="utf-8")
    assert text.startswith("# squares\n\nFinds blue and red in pictures")
    assert "| 0 | blue | 5 |\n| 1 | red | 17 |" in text
    assert "In percent, on 8 validation images with 16 boxes (`valid.json`): **mAP" in text
    assert "95% interval" in text
    assert "| class | boxes | AP | AP50 | precision | recall |" in text
    assert re.search(r"\d+ of the 16 objects are found", text)
    assert "- How: Soft Teacher, from labeled and unlabeled images" in text
    assert "- Labeled: 8 images with 16 boxes (`train.json`): " in text
    assert "- Unlabeled: 6 images (`unlabeled`)." in text
    assert "`model.onnx` (" in text
    assert "(B, 64, 64, 3) uint8" in text
    assert "Apache-2.0" in text
    # It may be passed on: nothing in it tells of this machine.
    assert str(model.parent.parent.parent) not in text
    assert "nan" not in text


def test_what_the_unlabeled_images_brought_is_in_the_card(run: Path, softdet: Command, tmp_path: Path) -> None:
    gain = {"before": 0.44, "after": 0.431, "difference": -0.009, "low": -0.03, "high": 0.012}
    outcome = {"winner": "supervised", "reported_on": "valid", "gains": {"valid": gain}}
    write_json(RunFolder(run).outcome, outcome)
    assert softdet("export", run, "--format", "pt2", "--no-nms", "--out", tmp_path / "a.pt2") == 0
    text = (tmp_path / "a.model_card.md").read_text(encoding="utf-8")
    assert "mAP 44.0 -> 43.1, -0.9 mAP (95% interval -3.0..+1.2, paired bootstrap over images)" in text
    assert "So this is the model of the labeled images alone." in text
    assert "`boxes` (B, N, 4)" in text


def test_a_detectors_file_alone(
    run: Path, squares: Path, softdet: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "from_a_friend.safetensors"
    shutil.copy(RunFolder(run).last, weights)
    assert softdet("export", weights, "--format", "pt2", "--images", squares / "unlabeled") == 0
    told = capsys.readouterr().out
    assert f"wrote {weights.with_suffix('.pt2')} (" in told
    assert "the same as the detector on 6 images, in batches of 1, 3 and 8" in told
    text = (tmp_path / "model_card.md").read_text(encoding="utf-8")
    assert text.startswith("# from_a_friend\n")
    assert text.count("Not known: this card was written from the weights alone") == 2


def test_without_any_image_patterns_are_compared_and_that_is_said(
    run: Path, softdet: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert softdet("export", RunFolder(run).best, "--format", "pt2", "--no-nms", "--out", tmp_path / "a.pt2") == 0
    assert "on 12 patterns, for want of images (give --images FOLDER)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{run}", "--format", "tflite"), r"--format tflite: it is onnx or pt2"),
        (("{tmp}/nowhere",), r"there is no weights file .*nowhere"),
        (("{tmp}",), r"there is no weights/best\.safetensors\. Is this a run folder"),
        (("{run}", "--out", "{tmp}"), r"--out .* ends in \.onnx, such as .*/name\.onnx"),
        (("{run}", "--images", "{tmp}"), r"no image in this folder"),
        (("{run}", "--format", "pt2", "--out", "{file}/model.pt2"), r"--out .* can't be written \(.*\)"),
    ],
)
def test_what_cannot_be_exported_is_told(
    arguments: tuple[str, ...],
    message: str,
    run: Path,
    softdet: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "a_file"
    file.touch()
    assert softdet("export", *(each.format(run=run, tmp=tmp_path, file=file) for each in arguments)) == 2
    told = capsys.readouterr().err
    assert re.search(message, told)
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == [file]
