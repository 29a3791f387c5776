"""What we write is read back by other people's readers: pycocotools, labelformat and supervision."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from found_images import CLASSES, make_found
from labelformat.formats import (
    COCOObjectDetectionInput,
    CVATObjectDetectionInput,
    PascalVOCObjectDetectionInput,
    YOLOv8ObjectDetectionInput,
)
from pycocotools.coco import COCO
from supervision import DetectionDataset

from softdet.data.writers.folders import Origin, SetFormat, write_results, write_set
from softdet.data.writers.found import FoundImage

ORIGIN = Origin("cards", 1200, 0.3)
Box = tuple[str, float, float, float, float]


@pytest.fixture
def found(tmp_path: Path) -> list[FoundImage]:
    return make_found(tmp_path / "in")


@pytest.fixture
def write(found: list[FoundImage], tmp_path: Path) -> Callable[[SetFormat], Path]:
    def write_to(format: SetFormat) -> Path:
        write_set(format, found, CLASSES, tmp_path / "out", origin=ORIGIN)
        return tmp_path / "out"

    return write_to


def ours(found: Iterable[FoundImage]) -> dict[str, list[Box]]:
    return {image.name: [(CLASSES.names[label], *box) for box, label, _ in image] for image in found}


def by_labelformat(source: Any) -> dict[str, list[Box]]:
    return {
        label.image.filename: [
            (each.category.name, each.box.xmin, each.box.ymin, each.box.xmax, each.box.ymax) for each in label.objects
        ]
        for label in source.get_labels()
    }


def require_same(read: dict[str, list[Box]], expected: dict[str, list[Box]], pixels: float) -> None:
    assert {name for name, boxes in expected.items() if boxes} <= read.keys() <= expected.keys()
    for name, boxes in read.items():
        assert [box[0] for box in boxes] == [box[0] for box in expected[name]]
        corners = [np.array([box[1:] for box in each]).reshape(-1, 4) for each in (boxes, expected[name])]
        np.testing.assert_allclose(corners[0], corners[1], atol=pixels)


def test_labelformat_reads_yolo(write: Callable[[SetFormat], Path], found: list[FoundImage]) -> None:
    # It takes five columns alone, so the scores go.
    out = write("yolo")
    for file in (out / "labels").iterdir():
        file.write_text("".join(f"{line.rsplit(' ', 1)[0]}\n" for line in file.read_text().splitlines()))
    require_same(by_labelformat(YOLOv8ObjectDetectionInput(out / "data.yaml", "train")), ours(found), 1e-3)


def test_labelformat_reads_cvat(write: Callable[[SetFormat], Path], found: list[FoundImage]) -> None:
    source = CVATObjectDetectionInput(write("cvat") / "annotations.xml")
    require_same(by_labelformat(source), ours(found), 0.0051)
    assert [category.name for category in source.get_categories()] == list(CLASSES.names)
    sizes = {image.filename: (image.height, image.width) for image in source.get_images()}
    assert sizes == {image.name: image.size for image in found}


def test_labelformat_reads_voc_with_vocs_own_pixels(
    write: Callable[[SetFormat], Path], found: list[FoundImage]
) -> None:
    source = PascalVOCObjectDetectionInput(write("voc") / "Annotations", ",".join(CLASSES.names))
    # It takes the first pixel's number, from 1, as a coordinate.
    read = {name: [(b[0], b[1] - 1, b[2] - 1, *b[3:]) for b in boxes] for name, boxes in by_labelformat(source).items()}
    require_same(read, ours(found), 0.5001)


def test_labelformat_reads_coco(write: Callable[[SetFormat], Path], found: list[FoundImage]) -> None:
    source = COCOObjectDetectionInput(write("coco") / "labels.json")
    require_same(by_labelformat(source), ours(found), 2e-3)


def test_supervision_reads_yolo_and_its_sixth_column(
    write: Callable[[SetFormat], Path], found: list[FoundImage]
) -> None:
    out = write("yolo")
    read = DetectionDataset.from_yolo(str(out / "images"), str(out / "labels"), str(out / "data.yaml"))
    assert read.classes == list(CLASSES.names)
    require_same(by_supervision(read), ours(found), 2e-3)


def test_supervision_reads_voc(write: Callable[[SetFormat], Path], found: list[FoundImage]) -> None:
    out = write("voc")
    read = DetectionDataset.from_pascal_voc(str(out / "JPEGImages"), str(out / "Annotations"))
    require_same(by_supervision(read), ours(found), 0.5001)


def by_supervision(read: DetectionDataset) -> dict[str, list[Box]]:
    return {
        Path(path).name: [
            (read.classes[label], *box) for box, label in zip(each.xyxy.tolist(), each.class_id.tolist(), strict=True)
        ]
        for path, each in read.annotations.items()
    }


def test_pycocotools_reads_a_labeled_set_and_results_on_it(
    write: Callable[[SetFormat], Path], found: list[FoundImage]
) -> None:
    out = write("coco")
    detections = write_results("coco", found, CLASSES, out)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(out / "labels.json"))
        results = truth.loadRes(str(detections))
    expected = [
        (image.id, CLASSES.ids[label], [box[0], box[1], box[2] - box[0], box[3] - box[1]], score)
        for image in found
        for box, label, score in image
    ]
    for read in (truth, results):
        listed = [read.anns[number] for number in sorted(read.anns)]
        assert [(each["image_id"], each["category_id"]) for each in listed] == [each[:2] for each in expected]
        np.testing.assert_allclose([each["bbox"] for each in listed], [each[2] for each in expected], atol=1e-3)
        np.testing.assert_allclose([each["score"] for each in listed], [each[3] for each in expected], atol=1e-6)
    assert {image["file_name"]: (image["height"], image["width"]) for image in truth.imgs.values()} == {
        image.name: image.size for image in found
    }
    for entry in json.loads(detections.read_text()):
        assert entry["category"] == CLASSES.names[CLASSES.ids.index(entry["category_id"])]
