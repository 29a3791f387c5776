import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from softdet.models.frozen_batchnorm import FrozenBatchNorm


def make_norm(kind: type[nn.BatchNorm2d], affine: bool = True) -> nn.BatchNorm2d:
    """A norm that has seen something, and whose weights aren't those that it began with."""
    torch.manual_seed(0)
    norm = kind(5, affine=affine)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    norm.train()(3 * torch.randn(4, 5, 6, 6) + 1)
    return norm.eval()


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
def test_it_does_what_the_norm_does_in_evaluation(kind: type[nn.BatchNorm2d], affine: bool) -> None:
    norm = make_norm(kind, affine)
    frozen = FrozenBatchNorm(norm).train()
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
    features = torch.randn(2, 5, 4, 3)
    mine, theirs = (features.clone().requires_grad_() for _ in range(2))
    torch.testing.assert_close(frozen(mine), norm(theirs))
    frozen(mine).square().sum().backward()
    norm(theirs).square().sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)
    assert all(torch.equal(tensor, before[name]) for name, tensor in frozen.state_dict().items())
    assert not list(frozen.parameters())


@pytest.mark.parametrize("learning", [True, False])
def test_features_keep_their_precision_and_memory_layout(learning: bool) -> None:
    frozen = FrozenBatchNorm(make_norm(nn.BatchNorm2d))
    features = torch.rand(2, 5, 4, 3, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        normed = frozen(features.requires_grad_(learning))
    assert normed.dtype == torch.bfloat16
    assert normed.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(normed.float(), frozen(features.detach().float()), rtol=2e-2, atol=2e-2)


def test_no_features_are_kept_for_the_backward_pass() -> None:
    frozen = FrozenBatchNorm(make_norm(nn.BatchNorm2d))
    kept: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        frozen(torch.rand(2, 5, 4, 3, requires_grad=True))
    assert max(kept) == 5


def test_loaded_weights_are_those_that_it_works_with() -> None:
    norm = make_norm(nn.BatchNorm2d)
    frozen = nn.Sequential(FrozenBatchNorm(nn.BatchNorm2d(5)))
    features = torch.randn(2, 5, 4, 3)
    assert not torch.allclose(frozen(features), norm(features))
    weights = {f"0.{name}": tensor for name, tensor in norm.state_dict().items() if name != "num_batches_tracked"}
    assert frozen.state_dict().keys() == weights.keys()
    frozen.load_state_dict(weights)
    torch.testing.assert_close(frozen(features), norm(features))
    torch.testing.assert_close(copy.deepcopy(frozen)(features), norm(features))
