"""What foreign readers pass over: scores, quoting, the labels for the tools, and the images beside the labels."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import yaml
from found_images import CLASSES, make_found

from softdet.data.sources.reading import read_labeled
from softdet.data.writers.folders import SET_FORMATS, Origin, SetFormat, place_image, write_results, write_set
from softdet.data.writers.found import FoundImage, from_row, to_row
from softdet.data.writers.voc import annotation_xml
from softdet.errors import DataError

ORIGIN = Origin("cards", 1200, 0.3)


@pytest.fixture
def found(tmp_path: Path) -> list[FoundImage]:
    return make_found(tmp_path / "in")


def scores_of(found: list[FoundImage]) -> list[float]:
    return [score for image in found for _, _, score in image]


def test_a_row_gives_exactly_the_same_back(found: list[FoundImage]) -> None:
    for image in found:
        back = from_row(json.loads(json.dumps(to_row(image))))
        assert (back.id, back.name, back.path, back.size) == (image.id, image.name, image.path, image.size)
        for one, other in ((back.boxes, image.boxes), (back.labels, image.labels), (back.scores, image.scores)):
            assert one.dtype == other.dtype
            assert one.shape == other.shape
            assert np.array_equal(one, other)


def test_yolos_sixth_column_is_the_score(found: list[FoundImage], tmp_path: Path) -> None:
    write_set("yolo", found, CLASSES, tmp_path / "out", origin=ORIGIN)
    lines = [
        line.split()
        for image in found
        for line in (tmp_path / "out" / "labels" / image.name).with_suffix(".txt").read_text().splitlines()
    ]
    assert {len(line) for line in lines} == {6}
    assert [float(line[5]) for line in lines] == pytest.approx(scores_of(found), abs=1e-6)
    content = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text(encoding="utf-8"))
    # `on` unquoted would be a yes to YAML.
    assert [content["names"][number] for number in range(content["nc"])] == list(CLASSES.names)
    assert (tmp_path / "out" / "labels" / "no boxes.txt").read_text() == ""


def test_vocs_objects_have_a_score(found: list[FoundImage]) -> None:
    read = [
        float(each.findtext("score", ""))
        for image in found
        for each in ET.fromstring(annotation_xml(image, CLASSES.names)).iter("object")
    ]
    assert read == pytest.approx(scores_of(found), abs=1e-6)


def test_vocs_pixels_stay_inside_the_image_and_take_at_least_one(found: list[FoundImage]) -> None:
    for image in found:
        rows, columns = image.size
        tiny = np.array([[columns - 0.4, rows - 0.4, columns, rows], [0, 0, 0.3, 0.3]], np.float32)
        few = FoundImage(1, "a.png", image.path, image.size, tiny, np.zeros(2, np.int64), np.ones(2, np.float32))
        for each in (
            *ET.fromstring(annotation_xml(image, CLASSES.names)).iter("bndbox"),
            *ET.fromstring(annotation_xml(few, CLASSES.names)).iter("bndbox"),
        ):
            x1, y1, x2, y2 = (int(each.findtext(key, "")) for key in ("xmin", "ymin", "xmax", "ymax"))
            assert 1 <= x1 <= x2 <= columns
            assert 1 <= y1 <= y2 <= rows


def test_cvats_boxes_have_a_score_and_the_labels_know_it(found: list[FoundImage], tmp_path: Path) -> None:
    write_set("cvat", found, CLASSES, tmp_path, origin=ORIGIN)
    root = ET.parse(tmp_path / "annotations.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert "step 1200" in root.findtext("meta/task/name", "")
    for label in root.iterfind("meta/task/labels/label"):
        assert label.findtext("attributes/attribute/name") == "score"
    scores = [float(each.text or "") for each in root.iterfind("image/box/attribute[@name='score']")]
    assert scores == pytest.approx(scores_of(found), abs=1e-4)
    raw = json.loads((tmp_path / "cvat_labels.json").read_text(encoding="utf-8"))
    assert [each["name"] for each in raw] == list(CLASSES.names)
    assert {each["attributes"][0]["name"] for each in raw} == {"score"}


def test_label_studios_predictions_are_percents_with_scores(found: list[FoundImage], tmp_path: Path) -> None:
    write_set("labelstudio", found, CLASSES, tmp_path, origin=ORIGIN, url_prefix="https://host/")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    config = ET.parse(tmp_path / "labeling_config.xml").getroot()
    (image_tag,), (labels_tag,) = config.iter("Image"), config.iter("RectangleLabels")
    assert [each.get("value") for each in labels_tag] == list(CLASSES.names)
    assert image_tag.get("value") == "$image"
    assert len(tasks) == len(found)
    for task, image in zip(tasks, found, strict=True):
        address = task["data"]["image"]
        assert " " not in address
        assert unquote(address) == f"https://host/{image.name}"
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "cards step 1200"
        assert 0 <= prediction["score"] <= 1
        assert len({region["id"] for region in prediction["result"]}) == len(image.labels)
        for region, (box, label, score) in zip(prediction["result"], image, strict=True):
            assert (region["from_name"], region["to_name"]) == (labels_tag.get("name"), image_tag.get("name"))
            assert (region["original_height"], region["original_width"]) == image.size
            assert region["score"] == pytest.approx(score, abs=1e-6)
            value = region["value"]
            assert value[region["type"]] == [CLASSES.names[label]]
            x, y = value["x"] * image.size[1] / 100, value["y"] * image.size[0] / 100
            w, h = value["width"] * image.size[1] / 100, value["height"] * image.size[0] / 100
            assert [x, y, x + w, y + h] == pytest.approx(box, abs=1e-3)


def test_a_table_has_a_row_a_box(found: list[FoundImage], tmp_path: Path) -> None:
    with write_results("csv", found, CLASSES, tmp_path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == pytest.approx(scores_of(found), abs=1e-6)
    expected = [(str(image.path), CLASSES.names[label]) for image in found for _, label, _ in image]
    assert [(row["file"], row["class"]) for row in rows] == expected
    assert float(rows[0]["x2"]) == pytest.approx(found[0].boxes[0, 2], abs=0.01)


@pytest.mark.parametrize("format", [each for each in SET_FORMATS if each != "labelstudio"])
def test_our_own_readers_take_it_back(format: SetFormat, found: list[FoundImage], tmp_path: Path) -> None:
    write_set(format, found, CLASSES, tmp_path / "out", origin=ORIGIN)
    labeled = read_labeled(tmp_path / "out")
    (content,) = labeled.parts.values()
    names = {category["id"]: category["name"] for category in content["categories"]}
    read: dict[str, list[tuple[str, list[float]]]] = {
        Path(image["file_name"]).name: [
            (names[each["category_id"]], each["bbox"])
            for each in content["annotations"]
            if each["image_id"] == image["id"]
        ]
        for image in content["images"]
    }
    for image in found:
        expected = [
            (CLASSES.names[label], pytest.approx([b[0], b[1], b[2] - b[0], b[3] - b[1]], abs=1.01))
            for b, label, _ in image
        ]
        assert read[image.name] == expected


def test_images_in_folders_keep_their_way(tmp_path: Path) -> None:
    found = make_found(tmp_path / "in", ("day/1.png", "night/1.png", "2.png"))
    write_set("yolo", found, CLASSES, tmp_path / "out", origin=ORIGIN)
    for image in found:
        assert (tmp_path / "out" / "images" / image.name).read_bytes() == image.path.read_bytes()
        assert (tmp_path / "out" / "labels" / image.name).with_suffix(".txt").is_file()


def test_an_image_is_linked_where_it_can_be_and_can_be_left_out(found: list[FoundImage], tmp_path: Path) -> None:
    write_set("coco", found, CLASSES, tmp_path / "out", origin=ORIGIN)
    for image in found:
        assert image.path.samefile(tmp_path / "out" / "images" / image.name)
    write_set("coco", found, CLASSES, tmp_path / "alone", origin=ORIGIN, with_images=False)
    assert [path.name for path in (tmp_path / "alone").iterdir()] == ["labels.json"]


def test_an_image_that_is_there_already_stays(found: list[FoundImage], tmp_path: Path) -> None:
    image = found[0].path
    for target in (image, image.parent / ".." / image.parent.name / image.name):
        place_image(image, target)
        assert image.is_file()


def test_an_image_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png can't be copied"):
        place_image(tmp_path / "gone.png", tmp_path / "out" / "gone.png")


def test_a_folder_that_cannot_be_written_is_named(found: list[FoundImage], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="can't be written"):
        write_results("csv", found, CLASSES, tmp_path / "file")


@pytest.mark.parametrize("format", SET_FORMATS)
def test_a_name_that_is_no_utf_8_stops_nothing(format: SetFormat, found: list[FoundImage], tmp_path: Path) -> None:
    odd = replace(found[0], name=os.fsdecode(b"caf\xe9.png"))
    write_set(format, [odd, *found[1:]], CLASSES, tmp_path / "out", origin=ORIGIN)
    for file in (tmp_path / "out").rglob("*.*"):
        if file.suffix in (".xml", ".json", ".csv", ".txt", ".yaml"):
            file.read_text(encoding="utf-8")


def test_a_table_takes_a_name_that_is_no_utf_8(found: list[FoundImage], tmp_path: Path) -> None:
    write_results("csv", [replace(found[0], name=os.fsdecode(b"caf\xe9.png"))], CLASSES, tmp_path / "out")
