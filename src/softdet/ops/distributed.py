"""Sums and gathers over ranks that are the identity in a single process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

_Item = TypeVar("_Item")


_alone = False


@contextmanager
def alone() -> Iterator[None]:
    """Be a single process for a while: nobody waits for a rank that fails inside."""
    global _alone
    _alone = True
    try:
        yield
    finally:
        _alone = False


def world_size() -> int:
    """How many processes train together."""
    if _alone:
        return 1
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of every rank's tensor; all ranks must call it with the same shape."""
    if world_size() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


def take_from_first_rank(tensors: Sequence[Tensor]) -> None:
    """Overwrite tensors of one type with the first rank's; all ranks must call it with the same shapes."""
    if world_size() == 1 or not tensors:
        return
    joined = torch.cat([tensor.flatten() for tensor in tensors])
    dist.broadcast(joined, 0)
    for tensor, values in zip(tensors, joined.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(values.view_as(tensor))


def gather_lists(items: list[_Item]) -> list[_Item]:
    """Every rank's items, in the order of the ranks; all ranks must call it."""
    if world_size() == 1:
        return items
    parts: list[list[_Item]] = [[] for _ in range(world_size())]
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def gather_rows(rows: Tensor) -> Tensor:
    """Every rank's rows, in the order of the ranks.

    Args:
        rows: (n, C), where n may differ from rank to rank.

    Returns:
        (sum of n, C), the same on every rank.
    """
    if world_size() == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    longest = int(max(count.item() for count in counts))
    padded = rows.new_zeros(longest, rows.shape[1])
    padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(gathered, padded)
    return torch.cat([part[: int(count.item())] for part, count in zip(gathered, counts, strict=True)])
