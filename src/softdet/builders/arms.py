"""The arms of a run, and how many steps each takes."""

from __future__ import annotations

import math

from softdet.builders.data import Data, batch_sizes
from softdet.config import Config
from softdet.derive.schedule import burn_in_left_out
from softdet.errors import ConfigError
from softdet.evaluation.run import RunFolder


def count_steps(config: Config, num_images: int) -> int:
    """Optimizer steps of the run."""
    return config.params.iterations or math.ceil(config.params.epoch * num_images / config.params.batch_size)


def count_burn_in(config: Config, num_steps: int) -> int:
    """Steps on labeled images alone."""
    return planned_burn_in(config, num_steps) if config.soft_teacher.enabled else num_steps


def planned_burn_in(config: Config, num_steps: int) -> int:
    """Steps of the burn-in, or in a control of the one that its other arm has."""
    asked = config.soft_teacher.burn_in_steps
    return burn_in_left_out(num_steps) if asked is None else asked


def has_control(config: Config) -> bool:
    """Whether the supervised control is trained in the same run."""
    return config.soft_teacher.enabled and config.soft_teacher.control


def arms_of(config: Config, data: Data, world_size: int) -> tuple[Config, ...]:
    """What one training trains, in this order: the control where it is asked for, and the run itself.

    Args:
        config: of the run.
        data: from `load_data`.
        world_size: number of processes.

    Returns:
        A config for each; the control's is that of a run of its own, in the folder `control` of the run.

    Raises:
        ConfigError: an arm can't be trained. Said here, before the hours that the first one takes.
    """
    batch_sizes(config, world_size)
    num_steps = count_steps(config, len(data.train))
    burn_in = count_burn_in(config, num_steps)
    if config.soft_teacher.enabled and burn_in >= num_steps:
        raise ConfigError(
            f"soft_teacher.burn_in_steps: the run has {num_steps} steps and a burn-in of {burn_in}, so not one step of "
            "Soft Teacher would follow. Take more params.iterations or fewer soft_teacher.burn_in_steps, or train on "
            "the labeled images alone with --supervised."
        )
    if not has_control(config):
        return (config,)
    semi = config.soft_teacher.model_copy(update={"enabled": False, "control": False})
    model = config.model.model_copy(update={"exp_path": RunFolder(config.model.exp_path).control.path})
    return config.model_copy(update={"soft_teacher": semi, "model": model}), config
