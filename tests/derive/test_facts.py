"""What is known before training is read off the lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from softdet.data.index import ImageRecord, Index
from softdet.derive.facts import Machine, facts_of


def index(*records: ImageRecord) -> Index:
    return Index(Path("x.json"), records, ("a", "b", "c"), (1, 2, 3), {})


def record(size: tuple[int, int], boxes: list[list[float]], labels: list[int]) -> ImageRecord:
    nothing = np.zeros((0, 4), np.float32)
    return ImageRecord(1, Path("1.jpg"), size, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels), nothing)


def test_facts_are_those_of_the_lists() -> None:
    train = index(record((100, 200), [[0, 0, 10, 20], [5, 5, 9, 9]], [0, 2]), record((50, 50), [], []))
    facts = facts_of(train, index(record((300, 400), [[0, 0, 1, 1]], [1])), 7, Machine("cpu"))
    assert (facts.num_labeled, facts.num_unlabeled) == (2, 7)
    assert facts.num_classes == 2  # those that have a box to learn from
    assert facts.boxes.tolist() == [[0, 0, 10, 20], [5, 5, 9, 9]]
    assert facts.box_image_sizes.tolist() == [[100, 200], [100, 200]]
    assert facts.image_sizes.tolist() == [[100, 200], [50, 50], [300, 400]]
    assert facts.long_side == 200


def test_very_many_boxes_thin_out_evenly() -> None:
    boxes = [[0, 0, side, side] for side in range(1, 50_001)]
    facts = facts_of(index(record((60_000, 60_000), boxes, [0] * 50_000)), index(), 0, Machine("cpu"))
    assert len(facts.boxes) <= 20_000
    assert abs(np.median(facts.boxes[:, 2]) - 25_000) < 10


def test_only_a_cpu_is_no_gpu() -> None:
    assert [Machine(kind).has_gpu for kind in ("cuda", "mps", "cpu")] == [True, True, False]  # type: ignore[arg-type]
