import pytest
import torch
from torchvision.models.detection import retinanet_resnet50_fpn_v2
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from softdet.ops.anchors import Anchors

CPU = torch.device("cpu")
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))


def retinanet_anchors() -> Anchors:
    return Anchors((32, 64, 128, 256, 512), OCTAVES, (0.5, 1.0, 2.0))


@pytest.fixture(scope="module")
def reference() -> AnchorGenerator:
    return retinanet_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=2).anchor_generator


@pytest.mark.parametrize("size", [(320, 320), (256, 384), (128, 96)])
def test_the_anchors_of_torchvisions_retinanet(reference: AnchorGenerator, size: tuple[int, int]) -> None:
    height, width = size
    # P3-P5 as a backbone gives them, P6 and P7 by convolutions of stride 2, which round up.
    grids = [(-(-height // stride), -(-width // stride)) for stride in (8, 16, 32, 64, 128)]
    images = ImageList(torch.zeros(1, 3, height, width), [size])
    expected = reference(images, [torch.zeros(1, 1, *grid) for grid in grids])[0]
    assert torch.equal(retinanet_anchors()(grids, size, CPU), expected)


def test_the_order_of_the_anchors() -> None:
    anchors = Anchors((16, 64), (1.0, 2.0), (0.5, 1.0, 2.0))
    laid = anchors([(2, 3), (1, 1)], (16, 24), CPU)
    assert anchors.num_per_cell == 6
    assert laid.shape == ((2 * 3 + 1) * 6, 4)
    cells = laid[:36].view(2, 3, 6, 4)
    assert torch.equal(cells[0, 1] - cells[0, 0], torch.tensor([8.0, 0, 8, 0]).expand(6, 4))
    assert torch.equal(cells[1, 0] - cells[0, 0], torch.tensor([0.0, 8, 0, 8]).expand(6, 4))
    sides = laid[:6, 2:] - laid[:6, :2]
    assert (sides[:2, 0] > sides[:2, 1]).all(), "height / width is .5 first, for both octaves"
    assert sides[2:4].tolist() == [[16, 16], [32, 32]]
    assert (laid[:6, :2] + laid[:6, 2:] == 0).all(), "the first cell's anchors are centred on the corner"


def test_the_answer_is_remembered_for_each_size() -> None:
    anchors = Anchors((16,), (1.0,), (1.0,))
    small, large = anchors([(2, 2)], (16, 16), CPU), anchors([(2, 2)], (32, 32), CPU)
    assert anchors([(2, 2)], (16, 16), CPU) is small
    assert small[1, 0] - small[0, 0] == 8
    assert large[1, 0] - large[0, 0] == 16


def test_anchors_first_asked_for_in_an_evaluation_serve_in_training() -> None:
    anchors = Anchors((16,), (1.0,), (1.0,))
    with torch.inference_mode():
        laid = anchors([(2, 2)], (16, 16), CPU)
    shifts = torch.ones(4, 4, requires_grad=True)
    (shifts * laid).sum().backward()
    assert torch.equal(shifts.grad, laid)
