import pytest
import torch

from softdet.models.retinanet import Head
from softdet.structures import DenseOutput


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_one_row_per_anchor(make_model) -> None:
    output = make_model(num_classes=5).eval()(torch.rand(2, 3, 64, 96))
    cells = 8 * 12 + 4 * 6 + 2 * 3 + 1 * 2 + 1 * 1
    assert output.logits.shape == (2, 9 * cells, 5)
    assert output.deltas.shape == (2, 9 * cells, 4)
    assert output.anchors.shape == (9 * cells, 4)


def test_training_and_evaluation_say_the_same(make_model, images) -> None:
    model = make_model()
    for a, b in zip(model.train()(images), model.eval()(images), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("channels", [8, 16, 32, 64, 96])
def test_batched_is_single(make_model, images, channels: int) -> None:
    # The last level has one cell here: a group of one channel would have nothing to compare itself with.
    model = make_model(1, fpn_channels=channels).eval()
    together = model(images)
    for image in range(3):
        alone = model(images[image : image + 1])
        torch.testing.assert_close(alone.logits[0], together.logits[image], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.deltas[0], together.deltas[image], atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [16, 32, 64])
def test_the_coarsest_level_sees_the_image(make_model, images, channels: int) -> None:
    logits = make_model(1, fpn_channels=channels).eval()(images).logits[:, -9:]
    assert logits.std(0).min() > 1e-6


def test_every_anchor_starts_as_an_object_with_one_percent(make_model, images) -> None:
    output = make_model().eval()(images)
    assert output.logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.1)
    assert output.deltas.abs().max() < 0.5


def test_the_head_orders_its_outputs_by_level_row_column_anchor() -> None:
    head = Head(channels=1, num_convs=0, num_anchors=2, num_outputs=3, bias=0.0)
    with torch.no_grad():
        head.output.weight.zero_()
        head.output.weight[:, 0, 1, 1] = 1.0
        head.output.bias.copy_(torch.arange(6) / 10)  # anchor * 3 + output, in tenths
    levels = [torch.arange(12.0).view(2, 1, 2, 3), 100 + torch.arange(2.0).view(2, 1, 1, 1)]
    result = head(levels)
    for image in range(2):
        cells = [*levels[0][image].flatten().tolist(), *levels[1][image].flatten().tolist()]
        expected = [[cell + (3 * anchor + k) / 10 for k in range(3)] for cell in cells for anchor in range(2)]
        torch.testing.assert_close(result[image], torch.tensor(expected))


@pytest.mark.parametrize("size", [(64, 64), (72, 100), (128, 32)])
def test_anchors_at_are_those_of_the_forward_pass(make_model, size: tuple[int, int]) -> None:
    model = make_model(freeze_batchnorm=False).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    anchors = model.anchors_at(size)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(anchors, model(torch.rand(2, 3, *size)).anchors)


def test_anchors_follow_the_model_to_another_device(make_model) -> None:
    model = make_model()
    assert model.anchors_at((64, 64)).device.type == "cpu"
    assert model.to("meta").anchors_at((64, 64)).device.type == "meta"


def test_anchors_lie_where_their_features_look(make_model) -> None:
    """The centre of an anchor and the centre of what moves its logits are the same place, give or take a cell."""
    model = make_model(2, anchor_ratios=(1.0,), anchor_octaves=(1.0,), head_convs=0).eval()
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    output = model(image)
    rows, columns = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    for anchor in (8 * 2 + 5, 8 * 6 + 1):  # on the finest level: (row 2, column 5) and (row 6, column 1)
        (gradient,) = torch.autograd.grad(output.logits[0, anchor].sum(), image, retain_graph=True)
        weight = gradient.square().sum((0, 1))
        x, y = (float((weight * where).sum() / weight.sum()) for where in (columns, rows))
        box = output.anchors[anchor]
        assert abs(x - float(box[[0, 2]].mean())) < 8
        assert abs(y - float(box[[1, 3]].mean())) < 8


def test_images_are_normalised_as_the_backbone_expects(make_model, images) -> None:
    model = make_model(1).eval()
    mean, std = torch.tensor(model.backbone.mean), torch.tensor(model.backbone.std)
    features = model.fpn(
        {str(i): level for i, level in enumerate(model.backbone((images - mean.view(3, 1, 1)) / std.view(3, 1, 1)))}
    )
    torch.testing.assert_close(model(images).logits, model.class_head(list(features.values())))


def test_batches_split_like_tensors(make_output) -> None:
    output = make_output(3)
    first, second = output.split([1, 2])
    assert isinstance(second, DenseOutput)
    assert torch.equal(first.logits, output.logits[:1])
    assert torch.equal(second.deltas, output.deltas[1:])


def test_every_parameter_learns(make_model, images) -> None:
    # One that never gets a gradient would stop data-parallel training.
    model = make_model(freeze_batchnorm=False)
    output = model(images)
    (output.logits.square().sum() + output.deltas.square().sum()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
