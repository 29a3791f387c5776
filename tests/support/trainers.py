"""Trainers as the command line puts them together, and the numbers that they leave."""

from __future__ import annotations

import csv
from pathlib import Path

from softdet import builders
from softdet.config import Config, save_config
from softdet.engine.trainer import Trainer
from softdet.evaluation.run import RunFolder

# By the clock or the system, so another run has others.
_BY_THE_CLOCK = {"images_per_second", "data_wait", "memory_gb"}


def trainer_of(config: Config, *, resume: bool = False) -> Trainer:
    """The trainer of a config; nothing is written yet."""
    fabric = builders.make_fabric(config)
    fabric.launch()
    return builders.make_trainer(config, fabric, builders.load_data(config), resume=resume)


def trainer_in_its_folder(config: Config) -> Trainer:
    """The trainer of a config, and its run folder as `softdet train` begins it."""
    fabric = builders.make_fabric(config)
    fabric.launch()
    run = RunFolder(config.model.exp_path)
    run.claim(fabric, resume=False, overwrite=False)
    save_config(config, run.config)
    run.write_environment(fabric.device)
    return builders.make_trainer(config, fabric, builders.load_data(config), resume=False)


def numbers_of(run: Path) -> list[dict[str, str]]:
    """The rows of a run's metrics, without what the clock says."""
    with RunFolder(run).metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if name not in _BY_THE_CLOCK} for row in rows]
