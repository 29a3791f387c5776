from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models._meta import _COCO_CATEGORIES
from torchvision.models.detection import retinanet_resnet50_fpn_v2
from torchvision.models.detection.image_list import ImageList

from softdet.builders.detector import architecture_of, require_same_anchors
from softdet.config import Config
from softdet.errors import WeightsError
from softdet.evaluation.detector import load_detector
from softdet.evaluation.torchvision_weights import convert, save_converted

SIZE = (96, 128)
ANCHORS = ("sizes", "octaves", "ratios")
KEPT = [number for number, name in enumerate(_COCO_CATEGORIES) if name not in ("__background__", "N/A")]


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """A torchvision model at random, with every weight and statistic far enough from its start to matter."""
    torch.manual_seed(0)
    model = retinanet_resnet50_fpn_v2(weights=None, weights_backbone=None).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.9, 1.1)
            nn.init.uniform_(module.weight, 0.3, 0.5)
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.bias, -0.1, 0.1)
    for output in (model.head.classification_head.cls_logits, model.head.regression_head.bbox_reg):
        nn.init.normal_(output.bias, std=0.5)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def weights(theirs: nn.Module) -> dict[str, Tensor]:
    return theirs.state_dict()


def test_converted_weights_say_what_torchvision_says(theirs: nn.Module, weights: dict[str, Tensor]) -> None:
    images = torch.rand(2, 3, *SIZE)
    model, card = convert(weights, list(_COCO_CATEGORIES))
    with torch.no_grad():
        ours = model.eval()(images)
        features = list(theirs.backbone((images - model.mean) / model.std).values())
        outputs = theirs.head(features)
        (anchors, _) = theirs.anchor_generator(ImageList(images, [SIZE, SIZE]), features)

    assert card.class_ids == tuple(KEPT)
    assert len(card.class_names) == model.num_classes == 80
    expected = outputs["cls_logits"][..., KEPT]
    assert expected.std() > 0.3, "or else the comparison below means nothing"
    assert outputs["bbox_regression"].std() > 0.3
    torch.testing.assert_close(ours.logits, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.deltas, outputs["bbox_regression"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.anchors, anchors, atol=1e-5, rtol=0)


def test_normalisation_is_that_of_torchvisions_transform(theirs: nn.Module, weights: dict[str, Tensor]) -> None:
    model, _ = convert(weights, list(_COCO_CATEGORIES))
    assert model.mean.flatten().tolist() == pytest.approx(theirs.transform.image_mean)
    assert model.std.flatten().tolist() == pytest.approx(theirs.transform.image_std)


def test_all_91_categories_come_back_from_the_80_classes(weights: dict[str, Tensor]) -> None:
    model, card = convert(weights, list(_COCO_CATEGORIES))
    assert [_COCO_CATEGORIES[number] for number in card.class_ids] == list(card.class_names)
    for name, prefix in (("weight", (9, 91, 256, 3, 3)), ("bias", (9, 91))):
        original = weights[f"head.classification_head.cls_logits.{name}"].view(prefix)
        kept = model.state_dict()[f"class_head.output.{name}"].view(9, 80, *prefix[2:])
        back = torch.zeros_like(original)
        back[:, list(card.class_ids)] = kept
        dropped = [number for number in range(91) if number not in KEPT]
        assert torch.equal(back[:, KEPT], original[:, KEPT])
        assert not back[:, dropped].any()


def test_a_file_becomes_a_detector_to_start_from(
    theirs: nn.Module, weights: dict[str, Tensor], tmp_path: Path, tiny_config: Callable[..., Config]
) -> None:
    torch.save(weights, tmp_path / "retinanet.pth")
    save_converted(tmp_path / "retinanet.pth", tmp_path / "detector.safetensors")
    detector = load_detector(tmp_path / "detector.safetensors")
    anchors = [f"model.anchor_{key}={detector.card.architecture[f'anchor_{key}']}" for key in ANCHORS]
    config = tiny_config("basenet.arch=Res50", *anchors)
    require_same_anchors(config, tmp_path / "detector.safetensors")
    assert set(detector.card.architecture) == set(architecture_of(config))
    for file in tmp_path.iterdir():
        file.unlink()  # pytest keeps the folders of three runs, and these are 150 MB each
    model, card = convert(weights, list(_COCO_CATEGORIES))
    assert detector.card.class_ids == card.class_ids
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in detector.model.state_dict().items())


def test_a_missing_or_foreign_file_is_a_weights_error(weights: dict[str, Tensor], tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    with pytest.raises(WeightsError, match=r"no file .*none\.pth.*retinanet_resnet50_fpn_v2_coco"):
        save_converted(tmp_path / "none.pth", out)
    file = tmp_path / "file.pth"
    # A cut download, an empty one, text (whose letters are pickle codes), another format's header.
    torch.save({"a": torch.zeros(1000)}, file)
    for content in (
        file.read_bytes()[:500],
        b"",
        b"0",
        b"hello",
        b"<html>not found</html>",
        b"\x08" + bytes(7) + b"{}",
    ):
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=r"file\.pth can't be read as weights"):
            save_converted(file, out)
    for content in ([torch.zeros(2)], torch.zeros(2), {"model": {"a": torch.zeros(2)}, "epoch": 3}, {7: 8}):
        torch.save(content, file)
        with pytest.raises(WeightsError, match=r"file\.pth holds no state dict"):
            save_converted(file, out)
    assert not out.exists()


def test_weights_of_another_model_are_refused(weights: dict[str, Tensor]) -> None:
    categories = list(_COCO_CATEGORIES)
    first, *_ = weights
    with pytest.raises(WeightsError, match=r"'fc\.weight' is no weight"):
        convert(weights | {"fc.weight": torch.zeros(2)}, categories)
    with pytest.raises(WeightsError, match="doesn't fit"):
        convert({name: value for name, value in weights.items() if name != first}, categories)
    with pytest.raises(WeightsError, match="doesn't fit"):
        convert(weights | {first: weights[first][:1]}, categories)
    with pytest.raises(WeightsError, match="9 anchors x 90 categories"):
        convert(weights, categories[1:])
    with pytest.raises(WeightsError, match="9 anchors x 91 categories"):
        convert({}, categories)
