import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from softdet.ops.anchors import Anchors
from softdet.ops.matching import BACKGROUND, IGNORED, NEGATIVE_IOU, POSITIVE_IOU, match


def anchors() -> Tensor:
    return Anchors((16, 32), (1.0, 1.5), (0.5, 1.0, 2.0))([(12, 12), (6, 6)], (96, 96), torch.device("cpu"))


def random_boxes(number: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(number, 2, generator=generator) * 60
    return torch.cat([corners, corners + 3 + torch.rand(number, 2, generator=generator) * 50], 1)


@pytest.mark.parametrize("allow_low_quality", [True, False])
@pytest.mark.parametrize("num_boxes", [1, 3, 20])
def test_matching_is_torchvisions(num_boxes: int, allow_low_quality: bool) -> None:
    reference = Matcher(POSITIVE_IOU, NEGATIVE_IOU, allow_low_quality)
    found = set()
    for seed in range(10):
        boxes = random_boxes(num_boxes, seed)
        matched = match(anchors(), boxes, allow_low_quality=allow_low_quality)
        assert torch.equal(matched, reference(box_iou(boxes, anchors())))
        found |= set(matched.clamp(max=0).tolist())
    assert found == {BACKGROUND, IGNORED, 0}, "the cases say something about each"
    assert (Matcher.BELOW_LOW_THRESHOLD, Matcher.BETWEEN_THRESHOLDS) == (BACKGROUND, IGNORED)


def test_the_thresholds_belong_to_the_upper_band() -> None:
    cells = torch.tensor([[0.0, 0, 2, 1], [0, 0, 5, 1]])
    half, two_fifths = torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[0.0, 0, 2, 1]])
    assert match(cells[:1], half, allow_low_quality=False).tolist() == [0]
    assert match(cells[1:], two_fifths, allow_low_quality=False).tolist() == [IGNORED]
    assert match(cells[1:], half, allow_low_quality=False).tolist() == [BACKGROUND]


@pytest.mark.parametrize("allow_low_quality", [True, False])
def test_an_image_without_boxes_is_background(allow_low_quality: bool) -> None:
    matched = match(anchors(), torch.zeros(0, 4), allow_low_quality=allow_low_quality)
    assert matched.dtype == torch.int64
    assert matched.unique().tolist() == [BACKGROUND]


def test_a_box_that_fits_no_anchor_teaches_only_where_it_is_true() -> None:
    # Trap 3: a pseudo box must not force its way onto an anchor that it hardly overlaps.
    sliver = torch.tensor([[10.0, 10, 90, 12]])
    assert (box_iou(anchors(), sliver) < NEGATIVE_IOU).all()
    assert (match(anchors(), sliver, allow_low_quality=False) == BACKGROUND).all()
    assert (match(anchors(), sliver, allow_low_quality=True) == 0).any()


def test_every_true_box_teaches_at_least_one_anchor() -> None:
    for seed in range(20):
        box = random_boxes(1, seed)
        assert (match(anchors(), box, allow_low_quality=True) == 0).any()


def test_an_anchor_learns_the_box_that_it_overlaps_most() -> None:
    anchor = torch.tensor([[0.0, 0, 10, 10]])
    boxes = torch.tensor([[0.0, 0, 10, 6], [0, 0, 10, 9], [0, 0, 10, 7]])
    assert match(anchor, boxes, allow_low_quality=True).tolist() == [1]


def test_a_box_that_touches_no_anchor_claims_none() -> None:
    # Its best overlap is 0, which it has with every anchor.
    boxes = torch.tensor([[1000.0, 1000, 1010, 1010], [8, 8, 24, 24]])
    assert torch.equal(
        match(anchors(), boxes, allow_low_quality=True) == 1, match(anchors(), boxes[1:], allow_low_quality=True) == 0
    )
    assert not (match(anchors(), boxes, allow_low_quality=True) == 0).any()
