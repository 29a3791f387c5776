"""What a step of either kind asks of its device: how many operations, and how often the program waits for an answer.

    python bench/operations.py configs/coco_10_percent.yaml data.train=LIST data.valid=LIST data.unlabeled=LIST ...

On a GPU each operation is a kernel to launch, and at each wait the program stands still until all of them are done.
Counted on the CPU, so that no GPU is needed: copies between the two, which are waited for as well, aren't among them,
nor is the optimizer, which works otherwise there. Prints a row for each kind of step, and with `--by-function N` the
functions that ask most.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Self
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import softdet
from rehearsed import rehearsed
from softdet.engine.trainer import Trainer
from softdet.errors import SoftdetError

_SOURCES = str(Path(softdet.__file__).parent) + "/"
# They look at a tensor otherwise, or make room for one, and compute nothing.
_FREE = frozenset(
    {
        *("view", "_unsafe_view", "reshape", "expand", "permute", "transpose", "t", "as_strided", "alias", "detach"),
        *("squeeze", "unsqueeze", "select", "slice", "split", "split_with_sizes", "unbind", "diagonal", "lift_fresh"),
        *("empty", "empty_like", "empty_strided", "new_empty", "_local_scalar_dense", "is_pinned"),
    }
)
# Their result's size, or a number for Python, is only known when they are done.
_WAITED_FOR = frozenset({"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim"})
# Each parameter by itself on the CPU, all at once on a GPU.
_OPTIMIZER = "engine/update.py"


class Operations(TorchDispatchMode):
    """Counts while it is entered.

    Attributes:
        launched: operations by the function of softdet that asked for them.
        waits: those whose end is waited for, likewise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launched: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """Begin to count. `tolist` doesn't pass the dispatcher."""
        read = torch.Tensor.tolist

        def tolist(tensor: torch.Tensor) -> Any:
            self.waits[_asker()] += 1
            return read(tensor)

        self._patch = patch.object(torch.Tensor, "tolist", tolist)
        self._patch.start()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Stop counting."""
        super().__exit__(*error)
        self._patch.stop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note an operation and do it."""
        name = func.overloadpacket.__name__
        asker = _asker()
        if not asker.startswith(_OPTIMIZER):
            if name not in _FREE:
                self.launched[asker] += 1
            if name in _WAITED_FOR or (name == "index" and _selects(args[1])):
                self.waits[asker] += 1
        return func(*args, **(kwargs or {}))


def main(arguments: Sequence[str] | None = None) -> int:
    """Count and print; the exit code."""
    options = parser().parse_intermixed_args(arguments)
    try:
        with rehearsed(options.config, options.overrides, steps=2) as (_, trainer):
            kinds = count(trainer)
    except SoftdetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("| step | operations | waits |", "| --- | --- | --- |", sep="\n")
    for kind, counted in kinds.items():
        print(f"| {kind} | {counted.launched.total():,} | {counted.waits.total()} |")
    for kind, counted in kinds.items():
        for asker, number in counted.launched.most_common(options.by_function):
            print(f"{kind}: {number} operations, {counted.waits[asker]} waits in {asker}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    options.add_argument("config", type=Path)
    options.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the config")
    options.add_argument("--by-function", type=int, default=0, metavar="N", help="also the N that ask most")
    return options


def count(trainer: Trainer) -> dict[str, Operations]:
    """One step of either kind, the second of each two: the first has anchors and the like to make."""
    kinds = {}
    for kind, first in (("supervised", 0), ("semi", 2)):
        trainer.rehearse(range(first, first + 1))
        with Operations() as kinds[kind]:
            trainer.rehearse(range(first + 1, first + 2))
    return kinds


def _selects(indices: Sequence[torch.Tensor | None]) -> bool:
    return any(index is not None and index.dtype == torch.bool for index in indices)


def _asker() -> str:
    """The innermost function of softdet that is being run."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_SOURCES):
            return f"{frame.f_code.co_filename.removeprefix(_SOURCES)}: {frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"


if __name__ == "__main__":
    sys.exit(main())
