"""The detector in Python: the same boxes however a picture comes, in its own pixels, as arrays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import softdet
from softdet.errors import ConfigError, DataError, WeightsError
from softdet.evaluation.run import RunFolder


@pytest.fixture(scope="module")
def predictor(tiny_run: Path) -> softdet.Predictor:
    return softdet.load(tiny_run, device="cpu")


@pytest.fixture
def files(squares: Path) -> list[Path]:
    return sorted((squares / "unlabeled").iterdir())


def test_paths_pictures_and_arrays_give_the_same(predictor: softdet.Predictor, files: list[Path]) -> None:
    with Image.open(files[1]) as opened:
        picture = opened.convert("RGB")
    mix: list[Any] = [files[1], str(files[1]), picture, np.asarray(picture)]
    found = predictor.predict(mix, threshold=0.05)
    assert len(found) == 4
    assert len(found[0]) > 0
    for each in found:
        assert np.array_equal(each.boxes, found[0].boxes)
        assert np.array_equal(each.scores, found[0].scores)
        assert each.image_size == (picture.height, picture.width)
    assert [each.path for each in found] == [files[1], files[1], None, None]


def test_results_are_arrays_of_the_promised_shapes_and_types(predictor: softdet.Predictor, files: list[Path]) -> None:
    for each in predictor.predict(files, threshold=0.05, batch_size=4):
        count = len(each)
        assert (each.boxes.shape, each.boxes.dtype) == ((count, 4), np.float32)
        assert (each.labels.shape, each.labels.dtype) == ((count,), np.int64)
        assert (each.scores.shape, each.scores.dtype) == ((count,), np.float32)
        assert each.class_names.tolist() == [predictor.class_names[label] for label in each.labels]
        assert (np.diff(each.scores) <= 0).all()
        rows, columns = each.image_size
        assert (each.boxes >= 0).all()
        assert (each.boxes <= [columns, rows, columns, rows]).all()


def test_the_operating_point_is_the_threshold(predictor: softdet.Predictor, files: list[Path]) -> None:
    chosen, everything = predictor.predict(files), predictor.predict(files, threshold=0.05)
    for one, other in zip(chosen, everything, strict=True):
        assert np.array_equal(one.scores, other.scores[other.scores >= predictor.threshold])
    assert sum(map(len, chosen)) < sum(map(len, everything))


def test_nothing_found_is_empty_arrays(predictor: softdet.Predictor, files: list[Path]) -> None:
    (found,) = predictor.predict(files[0], threshold=1.0)
    assert found.boxes.shape == (0, 4)
    assert found.class_names.shape == (0,)
    assert predictor.predict([]) == []


def test_one_image_and_a_stack_of_images_will_do(predictor: softdet.Predictor) -> None:
    stack = np.zeros((3, 40, 50, 3), np.uint8)
    assert [len(predictor.predict(each)) for each in (stack, stack[0], Image.fromarray(stack[0]))] == [3, 1, 1]


def test_a_file_is_turned_upright(predictor: softdet.Predictor, files: list[Path], tmp_path: Path) -> None:
    with Image.open(files[1]) as opened:
        exif = Image.Exif()
        exif[0x0112] = 6
        opened.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
        upright = opened.convert("RGB")
    turned, plain = predictor.predict([tmp_path / "turned.png", upright], threshold=0.05)
    assert np.array_equal(turned.boxes, plain.boxes)
    assert turned.image_size == (upright.height, upright.width)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((4, 4, 4), np.uint8), "OpenCV"),
        (3, "int; it is a path"),
        ("none.jpg", "none.jpg"),
    ],
)
def test_what_is_no_image_is_named(image: Any, said: str, predictor: softdet.Predictor, files: list[Path]) -> None:
    with pytest.raises(DataError, match=said):
        predictor.predict([files[0], image])


def test_supervision_gets_the_same(predictor: softdet.Predictor, files: list[Path]) -> None:
    (found,) = predictor.predict(files[1], threshold=0.05)
    detections = found.to_supervision()
    assert np.array_equal(detections.xyxy, found.boxes)
    assert np.array_equal(detections.confidence, found.scores)
    assert np.array_equal(detections.class_id, found.labels)
    assert detections["class_name"].tolist() == found.class_names.tolist()
    assert len(predictor.predict(files[1], threshold=1.0)[0].to_supervision()) == 0


def test_without_supervision_the_pip_line_is_named(
    predictor: softdet.Predictor, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    (found,) = predictor.predict(files[1])
    with pytest.raises(ConfigError, match="pip install supervision"):
        found.to_supervision()


def test_a_run_or_its_file_is_loaded_and_a_missing_one_named(tiny_run: Path, tmp_path: Path) -> None:
    assert softdet.load(RunFolder(tiny_run).best, device="cpu").class_names == softdet.load(str(tiny_run)).class_names
    with pytest.raises(WeightsError, match="there is no weights file"):
        softdet.load(tmp_path)


def test_importing_softdet_is_fast() -> None:
    code = (
        "import sys, softdet; softdet.__version__; dir(softdet); print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_what_it_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        softdet.predict  # noqa: B018
    assert {"load", "Predictor", "Prediction", "__version__"} <= set(dir(softdet))
