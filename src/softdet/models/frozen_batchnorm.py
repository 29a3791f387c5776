"""BatchNorm that neither learns nor moves."""

from __future__ import annotations

import torch
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn


class FrozenBatchNorm(nn.Module):
    """What a BatchNorm does in evaluation, in training too, with buffers for weights: y = scale x + shift.

    Features keep their precision, where timm's and torchvision's frozen norms make 32 bits of 16.

    Args:
        norm: its statistics and affine are copied; dropout and activation, if it has them as timm's `BatchNormAct2d`
            has, are taken over.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        for name, tensor in freeze_batch_norm_2d(norm).named_buffers():
            self.register_buffer(name, tensor)
        self.eps = norm.eps
        self.drop: nn.Module = getattr(norm, "drop", nn.Identity())
        self.act: nn.Module = getattr(norm, "act", nn.Identity())
        # Worked out once: on a GPU each of the operations is a kernel of its own, and this in every layer and pass.
        for name in ("scale", "shift"):
            self.register_buffer(name, torch.empty_like(self.weight)[:, None, None], persistent=False)
        _work_out(self)
        self.register_load_state_dict_post_hook(_work_out)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, C, H, W) to as many."""
        scale, shift = self.scale.to(features.dtype), self.shift.to(features.dtype)
        return self.act(self.drop(torch.addcmul(shift, features, scale)))


def _work_out(norm: FrozenBatchNorm, _: object = None) -> None:
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    norm.scale.copy_(scale[:, None, None])
    norm.shift.copy_((norm.bias - norm.running_mean * scale)[:, None, None])
