"""RetinaNet (arXiv 1708.02002) from timm and torchvision pieces, with GroupNorm in the heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.ops.misc import Conv2dNormActivation

from softdet.models.backbone import Backbone, build_backbone
from softdet.ops.anchors import Anchors
from softdet.structures import DenseOutput

_PRIOR = 0.01  # every anchor starts as an object with this probability (section 4.1)
_NUM_LEVELS = 5


class Head(nn.Module):
    """A small convolutional tower shared by all levels, with one output per anchor and channel.

    Args:
        channels: of the pyramid.
        num_convs: 3x3 convolutions before the last one.
        num_anchors: per cell.
        num_outputs: per anchor.
        bias: of the last convolution.
    """

    def __init__(self, channels: int, num_convs: int, num_anchors: int, num_outputs: int, bias: float) -> None:
        super().__init__()
        # 32 groups as torchvision has. Narrow heads take 8 channels a group: one channel alone on a level of one cell
        # would be normalised to nothing, and torch refuses it for a single image.
        norm = partial(nn.GroupNorm, math.gcd(32, channels) if channels > 64 else max(1, channels // 8))
        self.convs = nn.Sequential(
            *(Conv2dNormActivation(channels, channels, norm_layer=norm) for _ in range(num_convs))
        )
        self.output = nn.Conv2d(channels, num_anchors * num_outputs, 3, padding=1)
        self.num_outputs = num_outputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
        nn.init.constant_(self.output.bias, bias)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map levels (B, C, h, w) to (B, A, outputs), ordered as `Anchors` orders them."""
        levels = []
        for feature in features:
            cells = self.output(self.convs(feature))
            batch, _, height, width = cells.shape
            cells = cells.view(batch, -1, self.num_outputs, height, width).permute(0, 3, 4, 1, 2)
            levels.append(cells.reshape(batch, -1, self.num_outputs))
        return torch.cat(levels, 1)


class RetinaNet(nn.Module):
    """A single-stage detector that says the same thing in training and evaluation: logits and offsets at every anchor.

    Args:
        backbone: features at strides 8, 16 and 32.
        channels: of the pyramid P3-P7.
        num_convs: per head.
        num_classes: K.
        anchors: sized for five levels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: Backbone, *, channels: int, num_convs: int, num_classes: int, anchors: Anchors
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.fpn = FeaturePyramidNetwork(
            backbone.channels, channels, extra_blocks=LastLevelP6P7(backbone.channels[-1], channels)
        )
        self.class_head = Head(
            channels, num_convs, anchors.num_per_cell, num_classes, bias=-math.log((1 - _PRIOR) / _PRIOR)
        )
        self.box_head = Head(channels, num_convs, anchors.num_per_cell, 4, bias=0.0)
        self.anchors = anchors
        self._anchors_at: dict[tuple[tuple[int, int], torch.device], Tensor] = {}
        self.register_buffer("mean", torch.tensor(backbone.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.std).view(3, 1, 1))

    @property
    def num_classes(self) -> int:
        """K."""
        return self.class_head.num_outputs

    def forward(self, images: Tensor) -> DenseOutput:
        """Detect densely.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
        """
        features = self._features(images)
        return DenseOutput(self.class_head(features), self.box_head(features), self._lay_anchors(features, images))

    @torch.no_grad()
    def anchors_at(self, size: tuple[int, int]) -> Tensor:
        """The anchors that `forward` gives for views of a size, (A, 4), so that targets can be laid out beforehand."""
        key = (size, self.mean.device)
        if key not in self._anchors_at:
            was_training = self.training
            image = self.mean.new_zeros(1, 3, *size)
            self._anchors_at[key] = self._lay_anchors(self.eval()._features(image), image)
            self.train(was_training)
        return self._anchors_at[key]

    def _features(self, images: Tensor) -> list[Tensor]:
        normalised = (images - self.mean) / self.std
        levels = self.backbone(normalised.contiguous(memory_format=torch.channels_last))
        return list(self.fpn({str(i): level for i, level in enumerate(levels)}).values())

    def _lay_anchors(self, features: Sequence[Tensor], images: Tensor) -> Tensor:
        grids = [(feature.shape[-2], feature.shape[-1]) for feature in features]
        height, width = images.shape[-2:]
        return self.anchors(grids, (height, width), images.device)


def build_retinanet(
    *,
    arch: str,
    num_classes: int,
    pretrained: bool | Path = False,
    num_frozen_stages: int = 0,
    freeze_batchnorm: bool = False,
    fpn_channels: int = 256,
    head_convs: int = 4,
    anchor_sizes: Sequence[float] = (32, 64, 128, 256, 512),
    anchor_octaves: Sequence[float] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3)),
    anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
) -> RetinaNet:
    """Put a RetinaNet together; the defaults are the paper's.

    Args:
        arch: see `build_backbone`.
        num_classes: K.
        pretrained: see `build_backbone`.
        num_frozen_stages: see `Backbone.freeze`.
        freeze_batchnorm: see `Backbone.freeze`.
        fpn_channels: of the pyramid and the heads.
        head_convs: 3x3 convolutions in each head before its last.
        anchor_sizes: base side on P3-P7, in pixels.
        anchor_octaves: multiples of the base side.
        anchor_ratios: height / width.
    """
    assert len(anchor_sizes) == _NUM_LEVELS, "one base size for each of P3-P7; the config has checked it"
    backbone = build_backbone(arch, pretrained, num_frozen_stages=num_frozen_stages, freeze_batchnorm=freeze_batchnorm)
    model = RetinaNet(
        backbone,
        channels=fpn_channels,
        num_convs=head_convs,
        num_classes=num_classes,
        anchors=Anchors(anchor_sizes, anchor_octaves, anchor_ratios),
    )
    # Convolutions on the CPU and on tensor cores are faster with the channels last (.62 s against .84 s a step).
    return model.to(memory_format=torch.channels_last)
