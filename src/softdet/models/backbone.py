"""Any timm feature backbone as a source of the three levels that a feature pyramid starts from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from softdet.errors import ConfigError, WeightsError
from softdet.models.frozen_batchnorm import FrozenBatchNorm

REDUCTIONS = (8, 16, 32)
ALIASES = {f"Res{depth}": f"resnet{depth}" for depth in (18, 34, 50, 101, 152)}


class Backbone(nn.Module):
    """Features at strides 8, 16 and 32.

    Args:
        body: a timm model made with `features_only=True`.
        name: the architecture's name, for messages.

    Attributes:
        channels: of the three levels.
        mean: of the three colours of an image in [0, 1], as the weights expect it.
        std: likewise.

    Raises:
        ConfigError: the architecture has no level at one of the strides.
    """

    def __init__(self, body: nn.Module, name: str) -> None:
        super().__init__()
        info: Any = body.feature_info
        reductions = info.reduction()
        if not set(REDUCTIONS) <= set(reductions):
            raise ConfigError(
                f"basenet.arch: {name!r} has features at strides {reductions}, and RetinaNet needs {list(REDUCTIONS)}. "
                "Take a pyramid backbone such as resnet50, mobilenetv2_100 or convnext_tiny."
            )
        self.body = body
        # Where two stages share a stride, the deeper one.
        self.levels = [len(reductions) - 1 - reductions[::-1].index(reduction) for reduction in REDUCTIONS]
        self.channels = [info.channels()[level] for level in self.levels]
        cfg: dict[str, Any] = getattr(body, "pretrained_cfg", None) or {}
        self.mean = tuple(cfg.get("mean", (0.485, 0.456, 0.406)))
        self.std = tuple(cfg.get("std", (0.229, 0.224, 0.225)))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map normalised images (B, 3, H, W) to three levels (B, C, H / stride, W / stride)."""
        features = self.body(images)
        return [features[level] for level in self.levels]

    def freeze(self, num_stages: int, batchnorm: bool) -> None:
        """Stop the first stages from learning, and BatchNorm from moving.

        Args:
            num_stages: how many of the backbone's feature stages (strides 2, 4, 8, ...) keep their weights.
            batchnorm: fix every BatchNorm's statistics and affine, not only those of the frozen stages.
        """
        frozen: set[str] = set()
        if num_stages > 0:
            info: Any = self.body.feature_info
            # timm names a stage "blocks.1" and flattens it to "blocks_1" where it takes modules apart.
            last_stage = info.module_name(min(num_stages, len(info)) - 1)
            prefixes = (last_stage + ".", last_stage.replace(".", "_") + ".")
            names = [name for name, _ in self.body.named_parameters()]
            # An activation after the stem ("act1") names a stage but owns nothing: everything before the next stage.
            owned = [i for i, name in enumerate(names) if name.startswith(prefixes)]
            end = owned[-1] + 1 if owned else self._end_of_stem(names)
            for name in names[:end]:
                self.body.get_parameter(name).requires_grad_(False)
                frozen.add(name.rpartition(".")[0])
        for name, module in list(self.body.named_modules()):
            if isinstance(module, nn.BatchNorm2d) and (batchnorm or name in frozen):
                self.body.set_submodule(name, FrozenBatchNorm(module))

    def _end_of_stem(self, names: Sequence[str]) -> int:
        info: Any = self.body.feature_info
        following = info.module_name(1)
        prefixes = (following + ".", following.replace(".", "_") + ".")
        return next(i for i, name in enumerate(names) if name.startswith(prefixes))


def build_backbone(arch: str, pretrained: bool | Path, *, num_frozen_stages: int, freeze_batchnorm: bool) -> Backbone:
    """Make a backbone, with ImageNet weights where asked for.

    Args:
        arch: `Res18/34/50/101/152` or any timm name.
        pretrained: True downloads timm's weights, a path loads a local file, False starts from random numbers.
        num_frozen_stages: see `Backbone.freeze`.
        freeze_batchnorm: see `Backbone.freeze`.

    Raises:
        ConfigError: timm doesn't know the name, or the architecture has no feature pyramid.
        WeightsError: the weights can't be had or don't fit; it never starts from scratch silently.
    """
    name = ALIASES.get(arch, arch)
    if not timm.is_model(name):
        near = get_close_matches(name.lower(), timm.list_models(), n=5) or timm.list_models("resnet*")[:5]
        raise ConfigError(
            f"basenet.arch: {arch!r} is neither one of {', '.join(ALIASES)} nor a timm model. Near: {', '.join(near)}"
        )
    if isinstance(pretrained, Path) and not pretrained.is_file():
        raise WeightsError(f"basenet.pretrained: there is no weights file {pretrained}")
    try:
        body = _create(name, pretrained)
    except (RuntimeError, AttributeError) as error:
        if pretrained:
            raise WeightsError(_weights_message(name, pretrained, error)) from error
        raise ConfigError(f"basenet.arch: {name!r} can't serve as a feature backbone ({error})") from error
    except Exception as error:  # the hub, the network and the file system each raise their own kinds
        raise WeightsError(_weights_message(name, pretrained, error)) from error
    backbone = Backbone(body, name)
    if isinstance(pretrained, Path):
        _require_all_loaded(body, name, pretrained)
    backbone.freeze(num_frozen_stages, freeze_batchnorm)
    return backbone


def _create(name: str, pretrained: bool | Path) -> nn.Module:
    overlay = {"file": str(pretrained)} if isinstance(pretrained, Path) else None
    # It names the classifier's weights, which a backbone leaves over; what a file lacks is found below.
    loader = logging.getLogger("timm.models._builder")
    level = loader.level
    loader.setLevel(logging.ERROR)
    try:
        return timm.create_model(name, pretrained=bool(pretrained), features_only=True, pretrained_cfg_overlay=overlay)
    finally:
        loader.setLevel(level)


def _require_all_loaded(body: nn.Module, name: str, file: Path) -> None:
    # timm passes over weights that a file lacks. What it passed over is random, and differs in a second model.
    with torch.random.fork_rng(devices=[]):
        other = _create(name, file).state_dict()
    missing = [key for key, tensor in body.state_dict().items() if not torch.equal(tensor, other[key])]
    if missing:
        raise WeightsError(
            f"basenet.pretrained: {file} can't be loaded as weights of {name} ({len(missing)} of {len(other)} are not "
            f"in it, the first {missing[:3]}). Is it of the architecture that basenet.arch names?"
        )


def _weights_message(name: str, pretrained: bool | Path, error: Exception) -> str:
    reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'no reason given'}"
    if isinstance(pretrained, Path):
        return f"basenet.pretrained: {pretrained} can't be loaded as weights of {name} ({reason})"
    return (
        f"basenet.pretrained=True: the ImageNet weights of {name} could not be downloaded ({reason}). Ways out: "
        "(1) basenet.pretrained=PATH to a weights file of this architecture that you have; "
        "(2) download once on a machine with a network and copy the cache folder (HF_HOME) here; "
        "(3) basenet.pretrained=False to start from scratch, which needs far more images and steps."
    )
