"""How fast a config trains on this machine: seconds of a step of either kind, images a second, memory.

    python bench/speed.py configs/coco_10_percent.yaml data.train=LIST data.valid=LIST data.unlabeled=LIST KEY=VALUE ...

Trains some steps of either kind, loading and all, in a folder that is deleted, and prints a row of docs/performance.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import torch

from softdet.errors import SoftdetError

# Each loader process runs this file's head anew: what takes seconds to import is imported where it is used.
if TYPE_CHECKING:
    from softdet.config import Config
    from softdet.engine.trainer import Trainer

TITLES = (
    *("network", "canvas", "labeled + unlabeled", "precision", "device", "supervised step", "semi step", "waits"),
    *("images/s", "memory"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code."""
    from rehearsed import rehearsed

    options = parser().parse_intermixed_args(arguments)
    steps = options.steps + options.warm_up
    try:
        with rehearsed(options.config, options.overrides, steps) as (config, trainer):
            row = row_of(config, trainer, steps, options.warm_up)
        lines = [TITLES, ["---"] * len(TITLES), row] if options.head else [row]
        print(*(f"| {' | '.join(line)} |" for line in lines), sep="\n", flush=True)
    except SoftdetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    options.add_argument("config", type=Path)
    options.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the config")
    options.add_argument("--steps", type=int, default=30, help="measured, of either kind")
    options.add_argument("--warm-up", type=int, default=10, help="before them")
    options.add_argument("--head", action="store_true", help="print the table's head first")
    return options


def row_of(config: Config, trainer: Trainer, steps: int, warm_up: int) -> tuple[str, ...]:
    """Train and measure; medians over the steps, in the order of `TITLES`.

    Args:
        config: its first half is the burn-in.
        trainer: of it.
        steps: of either kind, those that warm up included.
        warm_up: how many of them those are.
    """
    from softdet.builders.data import batch_sizes
    from softdet.engine.progress import memory_gb

    fabric = trainer.fabric
    seconds = [trainer.rehearse(kind)[warm_up:] for kind in (range(steps), range(steps, 2 * steps))]
    memory = memory_gb(fabric.device)
    supervised, semi = (median(map(sum, kind)) for kind in seconds)
    waits = sum(waited for _, waited in seconds[1]) / sum(map(sum, seconds[1]))
    labeled, unlabeled = batch_sizes(config, fabric.world_size)
    on_gpu = fabric.device.type == "cuda"
    return (
        f"{config.basenet.arch}, {config.model.fpn_channels} channels",
        "x".join(map(str, config.params.image_size)),
        f"{labeled} + {unlabeled}",
        fabric.strategy.precision.precision,
        torch.cuda.get_device_name(fabric.device) if on_gpu else f"CPU, {torch.get_num_threads()} threads",
        f"{1000 * supervised:.0f} ms",
        f"{1000 * semi:.0f} ms",
        f"{waits:.0%}",
        f"{labeled / supervised:.0f}, {(labeled + unlabeled) / semi:.0f}",
        f"{memory:.1f} GB",
    )


if __name__ == "__main__":
    sys.exit(main())
