from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from softdet.ops.distributed import gather_lists, gather_rows, sum_over_ranks, take_from_first_rank, world_size

WORLD = 2
# Rows of rank 0 and of rank 1; ranks need not have equally many.
CASES = {"more on the last": (1, 4), "none on the first": (0, 3), "none on the last": (2, 0), "none": (0, 0)}


def rows_of(rank: int, number: int) -> torch.Tensor:
    return torch.arange(number * 2, dtype=torch.float32).view(number, 2) + 100 * rank


def act(rank: int, folder: Path) -> dict[str, Any]:
    """What each of the two processes does."""
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", meeting, timedelta(seconds=60), rank=rank, world_size=WORLD)
    try:
        own = torch.tensor([rank + 1, 10])
        shared = [torch.full((2, 2), 1.5 + rank), torch.tensor([7.0 + rank])]
        take_from_first_rank(shared)
        gathered = {name: gather_rows(rows_of(rank, numbers[rank])) for name, numbers in CASES.items()}
        return {
            "world_size": world_size(),
            "sum": sum_over_ranks(own),
            "own": own,
            "shared": shared,
            "list": gather_lists(["a", "b"][: rank + 1]),
            **gathered,
        }
    finally:
        dist.destroy_process_group()


def act_elsewhere(_: int, folder: Path) -> None:
    torch.save(act(1, folder), folder / "1.pt")


def test_a_single_process_keeps_what_it_has() -> None:
    values, rows = torch.tensor([1.0, 2]), rows_of(0, 3)
    assert world_size() == 1
    assert sum_over_ranks(values) is values
    assert gather_rows(rows) is rows
    assert gather_lists([1, 2]) == [1, 2]
    take_from_first_rank([values])
    assert values.tolist() == [1, 2]


def test_two_processes(tmp_path: Path) -> None:
    # Rank 0 is this process: only one other has to start and import torch.
    other = mp.spawn(act_elsewhere, (tmp_path,), nprocs=1, join=False)
    here = act(0, tmp_path)
    while not other.join():
        pass
    for rank, found in enumerate([here, torch.load(tmp_path / "1.pt", weights_only=True)]):
        assert found["world_size"] == WORLD
        assert found["sum"].tolist() == [3, 20]
        assert found["list"] == ["a", "a", "b"], "one from the first, two from the last"
        assert [tensor.tolist() for tensor in found["shared"]] == [[[1.5, 1.5], [1.5, 1.5]], [7.0]]
        assert found["own"].tolist() == [rank + 1, 10], "the input is not changed"
        for name, numbers in CASES.items():
            expected = torch.cat([rows_of(other_rank, number) for other_rank, number in enumerate(numbers)])
            assert torch.equal(found[name], expected), name
    assert world_size() == 1
