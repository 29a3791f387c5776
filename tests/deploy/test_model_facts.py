"""What a model card says of its run, counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from softdet.data.index import ImageRecord, Index
from softdet.deploy.model_card import ModelFacts, model_card
from softdet.deploy.model_facts import describe_labeled
from softdet.evaluation.detector import DetectorCard
from softdet.evaluation.operating_point import Counts, counts_above


def card(resize: str = "letterbox") -> DetectorCard:
    return DetectorCard({"arch": "resnet18"}, ("a|b", "c"), (4, 9), (100, 200), resize, 0.05, 0.5, 100)  # type: ignore[arg-type]


def box(image: int, category: int, place: float, **more: float) -> dict[str, object]:
    return {"image_id": image, "category_id": category, "bbox": [place, 0, 10, 10], **more}


def test_counts_above_a_threshold_by_hand() -> None:
    truth = {
        "images": [{"id": 1}, {"id": 2}],
        "categories": [{"id": 9, "name": "c"}, {"id": 4, "name": "a"}],
        "annotations": [
            box(1, 4, 0, id=1),
            box(1, 4, 50, id=2),
            box(2, 4, 0, id=3),
            box(2, 4, 80, id=4, iscrowd=1),
        ],
    }
    detections = [
        box(1, 4, 1, score=0.9),  # right
        box(1, 4, 2, score=0.8),  # the same object again
        box(1, 4, 49, score=0.3),  # right, below the threshold
        box(2, 4, 30, score=0.5),  # nothing is there
        box(2, 4, 80, score=0.7),  # in a crowd: doesn't count
        box(2, 9, 0, score=0.6),  # of another class
    ]
    found = counts_above(truth, detections, 0.5)
    assert found == {4: Counts(right=1, shown=3, boxes=3), 9: Counts(right=0, shown=1, boxes=0)}
    assert found[4].precision == pytest.approx(1 / 3)
    assert found[4].recall == pytest.approx(1 / 3)
    assert found[9].precision == 0
    assert found[9].recall is None
    assert counts_above(truth, detections, 0.95)[4].precision is None
    assert counts_above(truth, detections, 0.3)[4].right == 2


@pytest.mark.parametrize(("resize", "side"), [("letterbox", 16 * 0.5), ("stretch", 16 * (0.5 * 2) ** 0.5)])
def test_objects_are_measured_on_the_canvas(resize: str, side: float) -> None:
    # 200 x 100 pixels (rows x columns) onto 100 x 200: halved in one direction, doubled in the other.
    boxes = np.array([[0, 0, 32, 8], [10, 10, 26, 26]], np.float32)
    nothing = np.zeros((0, 4), np.float32)
    record = ImageRecord(1, Path("a.png"), (200, 100), boxes, np.array([1, 1]), nothing)
    empty = ImageRecord.plain(2, Path("b.png"), (50, 50))
    known = describe_labeled(Index(Path("x/labels.json"), (record, empty), ("a|b", "c"), (4, 9), {}), card(resize))
    assert (known.name, known.num_images, known.boxes) == ("labels.json", 2, {"a|b": 0, "c": 2})
    assert known.sides == pytest.approx((side, side))


def test_a_card_of_weights_alone_says_what_it_does_not_know() -> None:
    text = model_card(
        ModelFacts(
            title="bare",
            card=card("stretch"),
            file="bare.pt2",
            megabytes=1.25,
            with_nms=True,
            num_parameters=1_234_567,
            weights="0" * 64,
        )
    )
    assert text.count("Not known") == 2
    assert "| 0 | a\\|b | 4 |" in text
    assert "whatever its shape" in text
    assert "1.2 million parameters" in text
    assert "import torchvision" in text
    assert "opset" not in text
