"""A second device that needs no GPU: its tensors are CPU tensors in disguise, and mixing them with others is an error.

It goes by the name of `meta`, the one other device that every PyTorch knows. What a GPU would refuse, an operation on
tensors of two devices, is refused here too; numbers, and speed, are the CPU's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("meta")
# They are there to take tensors of two devices.
_MOVES = frozenset({"_to_copy", "copy_"})
# They take numbers of the CPU wherever what they choose from is.
_CHOOSE = frozenset({"index", "index_put", "index_put_", "_index_put_impl_"})


class Disguised(torch.Tensor):
    """A CPU tensor that says it is elsewhere."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Disguised:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    # What Python asks of a tensor's values doesn't pass the dispatcher, or not of one like this.
    def tolist(self) -> Any:
        return self.inner.tolist()

    def item(self) -> Any:
        return self.inner.item()

    def new_tensor(self, data: Any, **options: Any) -> Disguised:
        return Disguised(self.inner.new_tensor(data, **options))

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(_numbers(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_numbers(index), value)

    def __bool__(self) -> bool:
        return bool(self.inner)

    def __float__(self) -> float:
        return float(self.inner)


class _Everywhere(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def made_up_device() -> Iterator[torch.device]:
    """The device, as long as the block lasts."""
    make = torch.tensor

    def tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        made = make(data, **options)
        return Disguised(made) if _is_ours(device) else made

    with patch.object(torch, "tensor", tensor), _Everywhere():
        yield DEVICE


def _numbers(index: Any) -> Any:
    """A list as the tensor that it stands for: PyTorch would make one on a device without values."""
    return torch.tensor(index) if isinstance(index, list) else index


def _is_ours(device: Any) -> bool:
    return device is not None and torch.device(device) == DEVICE


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    name = func.overloadpacket.__name__
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    together = [args[0], *args[2:3]] if name in _CHOOSE and isinstance(args[0], Disguised) else tensors
    here = [tensor for tensor in tensors if isinstance(tensor, Disguised)]
    # A single number of the CPU may be anywhere.
    strangers = [tensor for tensor in together if not isinstance(tensor, Disguised) and tensor.dim() > 0]
    if here and strangers and name not in _MOVES:
        raise RuntimeError(f"{name}: tensors of two devices, on the CPU {[tuple(each.shape) for each in strangers]}")
    asked = kwargs.get("device")
    stays = bool(here) if asked is None else _is_ours(asked)
    bare_args, bare_kwargs = tree_map_only(Disguised, lambda tensor: tensor.inner, (args, kwargs))
    if _is_ours(asked):
        bare_kwargs["device"] = torch.device("cpu")
    result = func(*bare_args, **bare_kwargs)
    if func._schema.is_mutable and result is not None and name.endswith("_"):
        return args[0]
    return tree_map_only(Tensor, Disguised, result) if stays else result
