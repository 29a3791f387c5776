"""A config that is trained for a few steps of either kind, for what measures them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from softdet import builders
from softdet.builders.rehearsal import scratch_trainer
from softdet.builders.settings import decide
from softdet.config import Config, load_config
from softdet.engine.trainer import Trainer


@contextmanager
def rehearsed(path: Path, overrides: Sequence[str], steps: int) -> Iterator[tuple[Config, Trainer]]:
    """The config and a trainer of it, in a folder that is deleted; its first `steps` steps are the burn-in.

    Args:
        path: of the config.
        overrides: `KEY=VALUE`.
        steps: of either kind.

    Raises:
        SoftdetError: the config or its data can't be used.
    """
    halves = [f"params.iterations={2 * steps}", f"soft_teacher.burn_in_steps={steps}"]
    halves += ["soft_teacher.ramp_steps=0", f"optimizer.warmup_steps={steps}"]
    config = load_config(path, [*overrides, *halves])
    fabric = builders.make_fabric(config)
    fabric.launch()
    data = builders.load_data(config)
    config = decide(config, data, fabric).config
    with scratch_trainer(config, data, fabric) as trainer:
        yield config, trainer
