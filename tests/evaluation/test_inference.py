"""Inference over an index: the images' own pixels, the user's ids, and files that can't be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from softdet.data.images import Resize
from softdet.data.index import ImageRecord, Index
from softdet.data.index_reading import load_labeled
from softdet.errors import DataError
from softdet.evaluation import inference as module
from softdet.evaluation.detector import DetectorCard, load_detector
from softdet.evaluation.inference import check_failures, detections_over, device_for, infer, to_coco
from softdet.structures import DenseOutput, Instances

CPU = torch.device("cpu")
CARD = DetectorCard({}, ("a", "b"), (3, 9), (64, 64), "letterbox", 0.5, 0.5, 100)


class Seer(nn.Module):
    """A model that sees one object: the brightest pixels' bounding box, in the view it is given."""

    def forward(self, images: Tensor) -> DenseOutput:
        logits, anchors = torch.full((len(images), len(images), 2), -9.0), []
        for number, image in enumerate(images):
            rows, columns = (image.amin(0) > 0.9).nonzero().unbind(1)
            if len(rows):
                box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                anchors.append(torch.tensor(box, dtype=torch.float32))
                logits[number, number, 1] = 2.0
            else:
                anchors.append(torch.tensor([0.0, 0.0, 1.0, 1.0]))
        return DenseOutput(logits, torch.zeros(len(images), len(images), 4), torch.stack(anchors))


def record_with_square(folder: Path, number: int, size: tuple[int, int], box: Sequence[int]) -> ImageRecord:
    """A dark picture of (width, height) with a white box."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    path = folder / f"{number}.png"
    Image.fromarray(pixels).save(path)
    return ImageRecord.plain(number, path, (size[1], size[0]))


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("size", [(64, 64), (128, 128), (256, 128), (96, 160), (40, 30)])
def test_boxes_come_back_in_the_pixels_of_their_own_image(
    tmp_path: Path, size: tuple[int, int], resize: Resize
) -> None:
    width, height = size
    box = [width // 4, height // 4, width // 2, height - height // 4]
    record = record_with_square(tmp_path, 1, size, box)
    card = replace(CARD, resize=resize)
    ((found, instances),) = list(infer(Seer(), card, [record], device=CPU, batch_size=1))
    assert found is record
    assert instances.labels.tolist() == [1]
    # A pixel of the canvas covers so many of the image, and a little more where a side was rounded.
    pixel = 1.06 * max(width, height) / 64
    np.testing.assert_allclose(instances.boxes[0].numpy(), box, atol=pixel)


def test_no_box_leaves_its_image(tmp_path: Path) -> None:
    record = record_with_square(tmp_path, 1, (100, 50), [0, 0, 100, 50])
    ((_, instances),) = list(infer(Seer(), CARD, [record], device=CPU, batch_size=1))
    assert instances.boxes.tolist() == [[0.0, 0.0, 100.0, 50.0]]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_the_batch_size_changes_nothing(tmp_path: Path, batch_size: int) -> None:
    records = [record_with_square(tmp_path, n, (64, 64 + 8 * n), [n, n, 40, 30 + n]) for n in range(5)]
    whole = list(infer(Seer(), CARD, records, device=CPU, batch_size=5))
    parts = list(infer(Seer(), CARD, records, device=CPU, batch_size=batch_size))
    assert [record for record, _ in parts] == records
    for (_, one), (_, other) in zip(whole, parts, strict=True):
        assert torch.equal(one.boxes, other.boxes)
        assert torch.equal(one.scores, other.scores)


def test_a_real_model_detects_the_same_alone_and_in_a_batch(tiny_run: Path, squares: Path) -> None:
    detector = load_detector(tiny_run / "weights" / "best.safetensors")
    records = load_labeled(squares / "valid.json").images
    whole = infer(detector.model, detector.card, records, device=CPU, batch_size=len(records))
    single = infer(detector.model, detector.card, records, device=CPU, batch_size=1)
    for (_, one), (_, other) in zip(whole, single, strict=True):
        assert len(one) == len(other) > 0
        # Another batch size may sum in another order, and scores that nearly tie then change places.
        far = torch.cdist(one.boxes, other.boxes) + 1000 * (one.labels[:, None] != other.labels)
        same = far.argmin(1)
        assert len(same.unique()) == len(one)
        torch.testing.assert_close(one.boxes, other.boxes[same], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(one.scores, other.scores[same], atol=1e-5, rtol=1e-4)


def test_results_are_as_coco_writes_them() -> None:
    boxes = torch.tensor([[1.0, 2.0, 4.5, 8.0], [0.0, 0.0, 1 / 3, 2 / 3]])
    instances = Instances(boxes, torch.tensor([1, 0]), torch.tensor([0.75, 0.123456789]))
    record = ImageRecord.plain("holiday/1.jpg", Path("1.jpg"))
    assert to_coco(record, instances, (3, 9)) == [
        {"image_id": "holiday/1.jpg", "category_id": 9, "bbox": [1.0, 2.0, 3.5, 6.0], "score": 0.75},
        {"image_id": "holiday/1.jpg", "category_id": 3, "bbox": [0.0, 0.0, 0.333, 0.667], "score": 0.123457},
    ]
    assert [entry["category_id"] for entry in to_coco(record, instances, (None, 9))] == [9]


def test_the_users_ids_come_back_from_an_index(tmp_path: Path) -> None:
    records = tuple(record_with_square(tmp_path, 1000 - n, (64, 64), [8, 8, 40, 40]) for n in range(3))
    index = Index(tmp_path, records, ("a", "b"), (3, 9), {})
    found = detections_over(Seer(), CARD, index, device=CPU, batch_size=2)
    assert [(entry["image_id"], entry["category_id"]) for entry in found] == [(1000, 9), (999, 9), (998, 9)]


def test_more_than_a_hundred_detections_of_an_image_are_kept(tmp_path: Path) -> None:
    class Crowd(nn.Module):
        def forward(self, images: Tensor) -> DenseOutput:
            corners = torch.arange(20.0) * 3
            x, y = torch.meshgrid(corners, corners, indexing="ij")
            anchors = torch.stack([x, y, x + 2, y + 2], -1).reshape(-1, 4)
            shape = (len(images), len(anchors))
            return DenseOutput(torch.full((*shape, 2), 1.0), torch.zeros(*shape, 4), anchors)

    index = Index(tmp_path, (record_with_square(tmp_path, 1, (64, 64), [1, 1, 2, 2]),), ("a", "b"), (3, 9), {})
    for top_k, num_found in ((100, 100), (500, 500), (10_000, 800)):
        card = replace(CARD, top_k=top_k)
        assert len(detections_over(Crowd(), card, index, device=CPU, batch_size=1)) == num_found


def test_an_unreadable_image_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    records = [record_with_square(tmp_path, n, (64, 64), [8, 8, 40, 40]) for n in range(30)]
    records[7].path.write_bytes(b"no picture")
    with pytest.warns(RuntimeWarning, match=r"1 of 30 images can't be read and are skipped[\s\S]*7\.png"):
        found = list(infer(Seer(), CARD, records, device=CPU, batch_size=4))
    assert [record.id for record, _ in found] == [n for n in range(30) if n != 7]


def test_too_many_unreadable_images_are_an_error(tmp_path: Path) -> None:
    records = [record_with_square(tmp_path, n, (64, 64), [8, 8, 40, 40]) for n in range(30)]
    for n in (7, 9):
        records[n].path.unlink()
    with pytest.raises(DataError, match=r"2 of 30 images can't be read, more than 5%[\s\S]*7\.png[\s\S]*9\.png"):
        list(infer(Seer(), CARD, records, device=CPU, batch_size=4))


def test_one_unreadable_image_of_few_is_no_error(tmp_path: Path) -> None:
    records = [record_with_square(tmp_path, n, (64, 64), [8, 8, 40, 40]) for n in range(4)]
    records[2].path.unlink()
    with pytest.warns(RuntimeWarning, match="1 of 4 images can't be read"):
        assert len(list(infer(Seer(), CARD, records, device=CPU, batch_size=4))) == 3


def test_nothing_but_unreadable_images_is_an_error(tmp_path: Path) -> None:
    record = record_with_square(tmp_path, 1, (64, 64), [8, 8, 40, 40])
    record.path.unlink()
    with pytest.raises(DataError, match="1 of 1 images can't be read"):
        list(infer(Seer(), CARD, [record], device=CPU, batch_size=1))


@pytest.mark.parametrize("elsewhere", [0, 1])
def test_all_ranks_count_what_cannot_be_read_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: int
) -> None:
    records = tuple(record_with_square(tmp_path, n, (64, 64), [8, 8, 40, 40]) for n in range(30))
    index = Index(tmp_path, records, ("a", "b"), (3, 9), {})
    records[8].path.unlink()
    monkeypatch.setattr(module, "world_size", lambda: 2)
    others = ["15.png"][:elsewhere]
    monkeypatch.setattr(module, "gather_lists", lambda own: own + others if isinstance(own[0], str) else own)
    # Of this rank's fifteen images one is more than 5%.
    if elsewhere:
        with pytest.raises(DataError, match="2 of 30 images can't be read, more than 5%"):
            detections_over(Seer(), CARD, index, device=CPU, batch_size=4)
    else:
        with pytest.warns(RuntimeWarning, match="1 of 30 images can't be read"):
            found = detections_over(Seer(), CARD, index, device=CPU, batch_size=4)
        assert [entry["image_id"] for entry in found] == [n for n in range(0, 30, 2) if n != 8]


def test_no_failure_is_no_word() -> None:
    check_failures([], 0)
    check_failures([], 10)


def test_a_model_in_inference_learns_nothing(tmp_path: Path) -> None:
    record = record_with_square(tmp_path, 1, (64, 64), [8, 8, 40, 40])
    seen: list[Any] = []

    class Watcher(Seer):
        def forward(self, images: Tensor) -> DenseOutput:
            seen.append(torch.is_grad_enabled())
            return super().forward(images)

    for _ in infer(Watcher(), CARD, [record], device=CPU, batch_size=1):
        # And the caller, between two images, is not in that mode.
        assert torch.is_grad_enabled()
    assert seen == [False]


def test_the_device_is_the_cpu_where_there_is_no_other_or_none_is_wanted() -> None:
    assert device_for(False).type == "cpu"
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert device_for(True, 3).type == "cpu"
