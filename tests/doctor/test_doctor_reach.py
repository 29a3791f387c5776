from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from softdet.doctor.reach import Canvas, best_overlap


def test_small_objects_are_named_with_what_would_help(own: Any, only: Callable[..., Any]) -> None:
    for number in range(0, 12, 2):
        own.box(number, bbox=[37, 29, 6, 6])
    finding = only(own.examine(canvas=Canvas((96, 96))), "objects-without-anchor")
    assert finding.level == "warning"
    assert [place.file for place in finding.places] == ["cat"]
    assert finding.places[0].detail == "100% of its boxes, median side 6 px there"
    assert "params.image_size=128x128" in finding.fix


def test_the_same_objects_on_a_larger_canvas_or_with_smaller_anchors_are_no_finding(own: Any) -> None:
    for number in range(0, 12, 2):
        own.box(number, bbox=[37, 29, 6, 6])
    assert own.examine(canvas=Canvas((640, 640))).findings == ()
    assert own.examine(canvas=Canvas((96, 96), sizes=(6, 16, 32, 64, 128))).findings == ()


def test_the_overlap_is_one_where_an_anchor_lies() -> None:
    # torchvision's anchors lie around whole multiples of the stride.
    boxes = torch.tensor([[48.0, 48.0, 80.0, 80.0], [0.0, 0.0, 8.0, 8.0], [63.0, 63.0, 65.0, 65.0]])
    overlap = best_overlap(boxes, Canvas((128, 128)))
    assert overlap[0] == pytest.approx(1)
    assert (overlap[1:] < 0.5).all()
    assert best_overlap(boxes[:0], Canvas()).tolist() == []


def test_the_anchors_are_those_of_the_model(make_model: Callable[..., Any]) -> None:
    model = make_model(anchor_sizes=(16, 24, 32, 48, 64), anchor_octaves=(1.0,))
    laid_out = model.anchors_at((96, 160))
    canvas = Canvas((96, 160), sizes=(16, 24, 32, 48, 64), octaves=(1.0,))
    inside = laid_out[:: max(1, len(laid_out) // 50)]
    np.testing.assert_allclose(best_overlap(inside, canvas), 1, atol=1e-6)
