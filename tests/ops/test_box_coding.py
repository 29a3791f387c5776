import math

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from softdet.ops.box_coding import decode, encode

REFERENCE = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))


def random_boxes(number: int, seed: int, largest: float = 200.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(number, 2, generator=generator) * 300
    return torch.cat([corners, corners + 4 + torch.rand(number, 2, generator=generator) * largest], 1)


def test_encoding_is_torchvisions() -> None:
    boxes, anchors = random_boxes(200, 0), random_boxes(200, 1)
    torch.testing.assert_close(encode(boxes, anchors), REFERENCE.encode_single(boxes, anchors), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spread", [0.3, 3.0, 30.0])
def test_decoding_is_torchvisions_however_wild_the_offsets(spread: float) -> None:
    anchors = random_boxes(200, 2)
    deltas = torch.randn(200, 4, generator=torch.Generator().manual_seed(3)) * spread
    decoded = decode(deltas, anchors)
    assert decoded.isfinite().all()
    torch.testing.assert_close(decoded, REFERENCE.decode_single(deltas, anchors), atol=1e-2, rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_decoding_takes_encoding_back(seed: int) -> None:
    boxes, anchors = random_boxes(200, seed), random_boxes(200, seed + 100)
    torch.testing.assert_close(decode(encode(boxes, anchors), anchors), boxes, atol=1e-3, rtol=1e-5)


def test_the_law_holds_up_to_62_5_times_the_anchor_and_the_size_stops_there() -> None:
    anchor = torch.tensor([[0.0, 0, 8, 8]])
    box = torch.tensor([[-245.0, -245, 255, 255]])
    torch.testing.assert_close(decode(encode(box, anchor), anchor), box)
    larger = torch.tensor([[-995.0, -995, 1005, 1005]])
    torch.testing.assert_close(decode(encode(larger, anchor), anchor), torch.tensor([[-245.0, -245, 255, 255]]))


def test_the_anchor_itself_has_no_offset() -> None:
    anchors = random_boxes(20, 4)
    assert torch.equal(encode(anchors, anchors), torch.zeros(20, 4))
    torch.testing.assert_close(decode(torch.zeros(20, 4), anchors), anchors)


def test_what_the_four_offsets_mean() -> None:
    anchor, box = torch.tensor([0.0, 0, 10, 20]), torch.tensor([5.0, 0, 25, 20])
    torch.testing.assert_close(encode(box, anchor), torch.tensor([1.0, 0, math.log(2), 0]))


def test_batches_share_the_anchors() -> None:
    anchors = random_boxes(30, 5)
    deltas = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(6))
    assert torch.equal(decode(deltas, anchors)[1], decode(deltas[1], anchors))


def test_half_precision_offsets_give_single_precision_boxes() -> None:
    anchors = random_boxes(50, 7)
    deltas = torch.randn(50, 4, generator=torch.Generator().manual_seed(8)).bfloat16()
    assert torch.equal(decode(deltas, anchors), decode(deltas.float(), anchors))


def test_no_boxes() -> None:
    assert encode(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)
    assert decode(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)
