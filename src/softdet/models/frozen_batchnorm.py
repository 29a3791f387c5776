"""BatchNorm that neither learns nor moves."""

from __future__ import annotations

import torch
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn
from torch.nn import functional as F


class FrozenBatchNorm(nn.Module):
    """What a BatchNorm does in evaluation, with buffers for weights, in training too.

    In the features' own precision, where timm's and torchvision's frozen norms make 32 bits of 16.

    Args:
        norm: its statistics and affine are copied; dropout and activation, if it has them as timm's `BatchNormAct2d`
            has, are taken over.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        for name, tensor in freeze_batch_norm_2d(norm).named_buffers():
            self.register_buffer(name, tensor)
        self.eps = norm.eps
        self.drop: nn.Module = getattr(norm, "drop", nn.Identity())
        self.act: nn.Module = getattr(norm, "act", nn.Identity())

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, C, H, W) to as many."""
        if features.requires_grad:  # `batch_norm` would keep all of them, for gradients that nobody asks for
            scale = self.weight * (self.running_var + self.eps).rsqrt()
            shift = self.bias - self.running_mean * scale
            scale, shift = (vector.to(features.dtype).view(1, -1, 1, 1) for vector in (scale, shift))
            normed = torch.addcmul(shift, features, scale)
        else:
            normed = F.batch_norm(features, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return self.act(self.drop(normed))
