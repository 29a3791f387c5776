"""Processes that torchrun has started meet, share what the first one knows, and wait for each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist

from softdet.ops.distributed import world_size

_Item = TypeVar("_Item")


@contextmanager
def joined_processes() -> Iterator[tuple[int, int]]:
    """Meet the other processes that torchrun has started, on the CPU; alone where it wasn't used.

    Yields:
        This process's number, and how many there are.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or world_size() > 1:
        yield (dist.get_rank(), world_size()) if world_size() > 1 else (0, 1)
        return
    # Whoever is done first waits for the slowest, and shares may take days.
    dist.init_process_group("gloo", timeout=timedelta(days=30))
    try:
        yield dist.get_rank(), world_size()
    finally:
        dist.destroy_process_group()


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if world_size() > 1:
        dist.barrier()


def from_first(value: _Item) -> _Item:
    """The first process's value, on all of them; all must call it."""
    if world_size() == 1:
        return value
    box: list[_Item] = [value]
    dist.broadcast_object_list(box)
    return box[0]
