"""Trainers as the command line puts them together."""

from __future__ import annotations

from softdet import builders
from softdet.config import Config, save_config
from softdet.engine.run import RunFolder
from softdet.engine.trainer import Trainer


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
