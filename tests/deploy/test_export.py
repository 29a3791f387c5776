"""An exported file detects what its detector detects, at every batch size, and says all that a user needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch

from softdet.data.index import ImageRecord
from softdet.data.index_reading import load_unlabeled
from softdet.deploy import export_check, export_files
from softdet.deploy.export import describe_parity, export_detector
from softdet.deploy.export_check import canvases_of, check_parity, patterns
from softdet.deploy.export_files import DETECTION_OUTPUTS, PT2_CARD, Format, open_exported, require_packages, write_pt2
from softdet.errors import ConfigError, DataError, SoftdetError
from softdet.evaluation.detector import Detector, DetectorCard, load_detector, save_detector
from softdet.models.postprocess import detect

NAMES = ("cat", "dog", "red panda")
# Neither side is a multiple of a stride, so the pyramid's levels don't nest.
SIZE = (76, 100)


class File(NamedTuple):
    """An exported file of the tests."""

    path: Path
    kind: Format
    with_nms: bool


@pytest.fixture(scope="module")
def weights(make_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that has learned nothing but to be loud: hundreds of boxes in every image."""
    model = make_model(freeze_batchnorm=True)
    for output in (model.class_head.output, model.box_head.output):
        torch.nn.init.normal_(output.weight, std=0.2)
    architecture: dict[str, Any] = {"arch": "test_resnet", "freeze_batchnorm": True, "fpn_channels": 16}
    architecture |= {"head_convs": 1, "anchor_sizes": (16, 24, 32, 48, 64), "anchor_octaves": (1.0, 1.15, 1.3)}
    card = DetectorCard(architecture, NAMES, (7, 3, 90), SIZE, "letterbox", 0.05, 0.5, 300, operating_threshold=0.4)
    path = tmp_path_factory.mktemp("detector") / "loud.safetensors"
    save_detector(path, model, card)
    return path


@pytest.fixture(scope="module")
def detector(weights: Path) -> Detector:
    return load_detector(weights)


@pytest.fixture(scope="module")
def records(squares: Path) -> tuple[ImageRecord, ...]:
    return load_unlabeled(squares / "unlabeled").images


@pytest.fixture(
    scope="module",
    params=[("onnx", True), ("onnx", False), ("pt2", True), ("pt2", False)],
    ids=lambda param: f"{param[0]}-{'nms' if param[1] else 'dense'}",
)
def file(
    request: pytest.FixtureRequest,
    weights: Path,
    records: tuple[ImageRecord, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> File:
    kind, with_nms = request.param
    path = tmp_path_factory.mktemp("exported") / f"model.{kind}"
    done = export_detector(weights, path, kind, with_nms=with_nms, records=records)
    assert done.parity.holds
    assert done.parity.num_images == len(records)
    assert done.parity.num_boxes > 100
    assert "in batches of 1, 3 and 8" in describe_parity(done.parity, with_nms=with_nms, on_images=done.on_images)
    return File(path, kind, with_nms)


def test_each_image_of_a_batch_is_detected_as_alone(file: File, detector: Detector) -> None:
    runner = open_exported(file.path, file.kind)
    images = patterns(detector.card)[:3]
    together = runner(images)
    for place, image in enumerate(images):
        alone = runner(image[None])
        if file.with_nms:
            rows = together[3] == place
            assert 0 < len(alone[0]) == rows.sum()
            chosen, own = (np.lexsort((found[1], found[2])) for found in ([each[rows] for each in together], alone))
            for name, left, right in zip(DETECTION_OUTPUTS[:3], together, alone, strict=False):
                np.testing.assert_allclose(left[rows][chosen], right[own], atol=1e-3, err_msg=name)
        else:
            for left, right in zip(together, alone, strict=True):
                np.testing.assert_allclose(left[place], right[0], atol=1e-3)


def test_the_card_is_inside(file: File, detector: Detector) -> None:
    if file.kind == "onnx":
        model = onnx.load(file.path)
        card = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    else:
        extra = {PT2_CARD: ""}
        torch.export.load(file.path, extra_files=extra)
        card = json.loads(extra[PT2_CARD])
    assert card["class_names"] == list(NAMES)
    assert card["class_ids"] == [7, 3, 90]
    assert card["image_size"] == list(SIZE)
    assert card["resize"] == "letterbox"
    assert card["operating_threshold"] == 0.4
    assert card["nms"] is file.with_nms
    assert len(card["outputs"]) == (4 if file.with_nms else 2)


def test_nothing_of_this_machine_is_inside(file: File) -> None:
    content = file.path.read_bytes()
    for trace in (b"site-packages", b"postprocess.py", b"export_graph.py", str(Path.cwd()).encode()):
        assert trace not in content


def test_onnx_holds_one_suppression_or_none_and_a_free_batch(file: File) -> None:
    if file.kind != "onnx":
        program = torch.export.load(file.path)
        assert sum("nms" in str(node.target) for node in program.graph.nodes) == file.with_nms
        return
    model = onnx.load(file.path)
    assert [node.op_type for node in model.graph.node].count("NonMaxSuppression") == file.with_nms
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
    (images,) = model.graph.input
    shape = [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim]
    assert shape == ["batch", *SIZE, 3]
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_a_file_that_differs_is_set_aside_and_the_old_one_stays(
    weights: Path, records: tuple[ImageRecord, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_check, "MOST_SCORE_DIFFERENCE", 0.0)
    out = tmp_path / "model.pt2"
    out.write_text("an older one")
    with pytest.raises(SoftdetError, match=r"doesn't detect what .* detects.*allowed 0\.1\).*model\.differs\.pt2"):
        export_detector(weights, out, "pt2", with_nms=False, records=records)
    assert out.read_text() == "an older one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.differs.pt2", "model.pt2"]


def test_where_nothing_is_found_the_outputs_are_empty(detector: Detector, tmp_path: Path) -> None:
    quiet = Detector(detector.model, replace(detector.card, score_threshold=0.9999999))
    write_pt2(quiet, tmp_path / "quiet.pt2", with_nms=True)
    found = open_exported(tmp_path / "quiet.pt2", "pt2")(patterns(detector.card)[:3])
    assert [output.shape for output in found] == [(0, 4), (0,), (0,), (0,)]


def eager(detector: Detector, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """The detector itself in the place of a file."""
    card = detector.card
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    limits = {"score_threshold": card.score_threshold, "iou_threshold": card.iou_threshold, "top_k": card.top_k}
    found = detect(detector.model(pixels), card.image_size, **limits)  # type: ignore[arg-type]
    image_index = np.concatenate([np.full(len(each), place) for place, each in enumerate(found)])
    parts = [(each.boxes, each.scores, each.labels) for each in found]
    return [*(torch.cat(part).numpy() for part in zip(*parts, strict=True)), image_index]


def changed(change: str, outputs: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    boxes, scores, labels, image_index = (output.copy() for output in outputs)
    rows = np.arange(len(boxes))
    if not len(rows):  # on the grey canvas
        return outputs
    match change:
        case "moved":
            boxes[0, 2] += 0.15
        case "scored":
            scores[0] += 2e-4
        case "named":
            labels[0] = (labels[0] + 1) % len(NAMES)
        case "lost":
            rows = rows[1:]
        case "invented":
            rows = np.append(rows, 0)
            labels = np.append(labels, (labels[0] + 1) % len(NAMES))
            return [boxes[rows], scores[rows], labels, image_index[rows]]
        case "not a number":
            boxes[0] = np.nan
        case "another image's":
            image_index = image_index[::-1]
    return [each[rows] for each in (boxes, scores, labels, image_index)]


def test_parity_holds_for_the_detector_itself(detector: Detector) -> None:
    parity = check_parity(detector, lambda images: eager(detector, images), patterns(detector.card), with_nms=True)
    assert parity.holds
    assert parity.num_boxes > 100
    assert (parity.box_difference, parity.score_difference) == (0.0, 0.0)


@pytest.mark.parametrize("change", ["moved", "scored", "named", "lost", "invented", "not a number", "another image's"])
def test_parity_sees_what_is_wrong(change: str, detector: Detector) -> None:
    parity = check_parity(
        detector, lambda images: changed(change, eager(detector, images)), patterns(detector.card), with_nms=True
    )
    assert not parity.holds


def test_boxes_on_the_brink_may_fall_either_way(detector: Detector) -> None:
    # A runtime that rounds otherwise is one whose thresholds lie a hair beside ours.
    for by in (-5e-5, 5e-5):
        card = replace(detector.card, iou_threshold=0.5 + by, score_threshold=0.05 - by)
        other = Detector(detector.model, card)
        assert check_parity(
            detector, lambda images, other=other: eager(other, images), patterns(card), with_nms=True
        ).holds


def test_canvases_are_spread_over_a_list_and_unreadable_images_left_out(squares: Path, detector: Detector) -> None:
    listed = [*load_unlabeled(squares / "images").images, ImageRecord.plain("gone", squares / "gone.png")]
    canvases = canvases_of(listed, detector.card)
    assert canvases.shape == (11, *SIZE, 3)
    assert canvases.dtype == np.uint8
    assert canvases_of([], detector.card).shape == (0, *SIZE, 3)


def test_images_that_cannot_be_read_are_told(weights: Path, tmp_path: Path) -> None:
    gone = [ImageRecord.plain("gone", tmp_path / "gone.png")]
    with pytest.raises(DataError, match=r"none of the 1 images to compare on can be read"):
        export_detector(weights, tmp_path / "model.pt2", "pt2", with_nms=True, records=gone)
    assert not (tmp_path / "model.pt2").exists()


def test_a_missing_package_is_named_with_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_files, "_NEEDED", ("onnx", "no_such_package"))
    with pytest.raises(ConfigError, match=r"not installed: no_such_package\. Run: pip install no_such_package"):
        require_packages("onnx")
    require_packages("pt2")
