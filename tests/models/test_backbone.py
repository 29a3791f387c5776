from pathlib import Path
from urllib.error import URLError

import pytest
import timm
import torch
from torch import nn

from softdet.errors import ConfigError, WeightsError
from softdet.models import backbone as module
from softdet.models.backbone import ALIASES, Backbone, build_backbone


def build(arch: str = "test_resnet", pretrained: bool | Path = False, stages: int = 0, norms: bool = False) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(arch, pretrained, num_frozen_stages=stages, freeze_batchnorm=norms)


def train_a_little(backbone: Backbone) -> None:
    """Two steps that move whatever can move, BatchNorm statistics included."""
    learning = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.1) if learning else None
    backbone.train()
    for _ in range(2):
        loss = torch.stack([level.square().mean() for level in backbone.body(torch.rand(2, 3, 64, 64))]).sum()
        if optimizer:
            loss.backward()
            optimizer.step()


@pytest.mark.parametrize("arch", ["test_resnet", "mobilenetv2_100", "test_convnext"])
def test_levels_have_strides_8_16_32_and_the_channels_they_claim(arch: str) -> None:
    backbone = build(arch).eval()
    with torch.no_grad():
        levels = backbone(torch.rand(1, 3, 64, 96))
    shapes = [tuple(level.shape[1:]) for level in levels]
    assert shapes == [(c, 64 // s, 96 // s) for c, s in zip(backbone.channels, (8, 16, 32), strict=True)]


def test_the_deeper_of_two_stages_with_one_stride_is_taken() -> None:
    body = nn.Module()
    body.feature_info = timm.models.FeatureInfo(
        [{"num_chs": c, "reduction": r, "module": f"m{c}"} for c, r in ((4, 4), (8, 8), (9, 8), (16, 16), (32, 32))],
        (0, 1, 2, 3, 4),
    )
    assert Backbone(body, "two_at_8").channels == [9, 16, 32]


def test_aliases_are_timm_models() -> None:
    assert ALIASES["Res50"] == "resnet50"
    assert all(timm.is_model(name) for name in ALIASES.values())
    assert build("Res18").state_dict().keys() == build("resnet18").state_dict().keys()


def test_normalisation_is_the_weights_own() -> None:
    assert build("test_resnet").mean == (0.5, 0.5, 0.5)
    assert build("resnet18").mean == (0.485, 0.456, 0.406)


def test_an_unknown_architecture_names_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"'resnet51'.*Near:.*resnet"):
        build("resnet51")


@pytest.mark.parametrize("arch", ["test_vit", "test_mlp_mixer"])
def test_an_architecture_without_a_pyramid_is_refused(arch: str) -> None:
    with pytest.raises(ConfigError, match=arch):
        build(arch)


def test_local_weights_are_loaded(tmp_path: Path) -> None:
    torch.manual_seed(7)
    source = timm.create_model("test_resnet", pretrained=False)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    loaded = build(pretrained=tmp_path / "weights.pth").body.state_dict()
    assert all(torch.equal(loaded[name.replace(".", "_", 0)], source.state_dict()[name]) for name in loaded)
    assert not torch.equal(loaded["conv1.0.weight"], build().body.state_dict()["conv1.0.weight"])


def test_loading_draws_no_random_number_more(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.pth")
    build(pretrained=tmp_path / "weights.pth")
    after_loading = torch.rand(1)
    build()
    assert torch.equal(after_loading, torch.rand(1))


def test_missing_or_foreign_weights_never_start_from_scratch(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no weights file"):
        build(pretrained=tmp_path / "none.pth")
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "resnet18.pth")
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("not weights")
    for name in ("other.pth", "text.pth"):
        with pytest.raises(WeightsError, match=rf"{name} can't be loaded as weights of test_resnet"):
            build(pretrained=tmp_path / name)
    with pytest.raises(WeightsError, match=r"weights of resnet34 \(.*layer1\.2.*architecture"):
        build("Res34", tmp_path / "resnet18.pth")


def test_a_failed_download_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise URLError("no network")

    # The one thing that a test can't have for real: a network that is surely down.
    monkeypatch.setattr(module.timm, "create_model", fail)
    with pytest.raises(WeightsError, match=r"no network.*\(1\).*PATH.*\(2\).*HF_HOME.*\(3\).*False"):
        build(pretrained=True)


@pytest.mark.parametrize("arch", ["test_resnet", "mobilenetv2_100"])
@pytest.mark.parametrize("stages", [0, 1, 2, 3])
def test_frozen_stages_keep_their_features_and_the_next_one_learns(arch: str, stages: int) -> None:
    backbone = build(arch, stages=stages)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        before = backbone.eval().body(images)
        train_states = [level.clone() for level in before]
    with torch.enable_grad():
        train_a_little(backbone)
    with torch.no_grad():
        after = backbone.eval().body(images)
    unchanged = [torch.equal(a, b) for a, b in zip(after, train_states, strict=True)]
    assert unchanged == [True] * stages + [False] * (len(after) - stages)


def test_frozen_batchnorm_stays_while_the_convolutions_learn() -> None:
    backbone = build(norms=True)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    train_a_little(backbone)
    moved = {name for name, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved
    assert not any("running" in name or "bn" in name for name in moved)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in backbone.modules())


def test_freezing_changes_no_output() -> None:
    free, frozen = build().eval(), build(stages=4, norms=True).eval()
    images = torch.rand(1, 3, 64, 64)
    for a, b in zip(free(images), frozen(images), strict=True):
        torch.testing.assert_close(a, b)
