"""From a config with `auto` in it to one that is decided, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from softdet.builders.arms import count_steps, planned_burn_in
from softdet.builders.data import Data
from softdet.config import Config, load_config
from softdet.config.auto import AUTO, undecided
from softdet.derive.facts import Machine, facts_of
from softdet.derive.settings import RULES, Setting, derive
from softdet.evaluation.detector import read_card
from softdet.evaluation.run import RunFolder

# Of a detector to start from: what its weights fit.
_OF_THE_START = {
    "basenet.arch": "arch",
    "model.fpn_channels": "fpn_channels",
    "model.head_convs": "head_convs",
    "model.anchor_sizes": "anchor_sizes",
    "model.anchor_octaves": "anchor_octaves",
}
BURN_IN = "soft_teacher.burn_in_steps"
_ALSO_READ = ("params.resize", "model.anchor_ratios", "optimizer.which")


@dataclass(frozen=True, slots=True)
class Decided:
    """A config in which nothing is left to derive.

    Attributes:
        config: it.
        settings: what was derived, each with its reason.
    """

    config: Config
    settings: tuple[Setting, ...]


def decide(config: Config, data: Data, fabric: Fabric) -> Decided:
    """Derive what the config leaves to `auto`; rank 0 decides for all.

    Args:
        config: as written.
        data: from `load_data`.
        fabric: launched.
    """
    settings: list[Setting] = []
    if fabric.is_global_zero and undecided(config):
        settings = _derive(config, data, fabric)
    settings = fabric.broadcast(settings)
    decided = with_values(config, {setting.key: setting.value for setting in settings})
    if decided.soft_teacher.enabled and decided.soft_teacher.burn_in_steps is None:
        # Written out, so that a run that is made longer later keeps the burn-in that it had.
        num_steps = count_steps(decided, len(data.train))
        burn_in = Setting(BURN_IN, planned_burn_in(decided, num_steps), f"for {num_steps:,} steps, as it was left out")
        settings, decided = [*settings, burn_in], with_values(decided, {burn_in.key: burn_in.value})
    return Decided(decided, tuple(settings))


def config_of(run: RunFolder) -> Config:
    """The config of a run, for the place where its folder is now.

    Raises:
        ConfigError: it isn't there, or something in it is no config.
    """
    config, now = load_config(run.config), run.path.absolute()
    then = config.model.exp_path.absolute()
    if now.name == then.name == run.control.path.name:
        # A control's lists are those of the run around it.
        moved = _own_lists(config, then.parent, now.parent)
    else:
        moved = _own_lists(config, then, now)
    # Not as an override, which is YAML: a folder's name may have a `#` in it.
    return with_values(config, {"model.exp_path": now, **moved})


def _own_lists(config: Config, then: Path, now: Path) -> dict[str, Path]:
    """Where the lists that lay in a run's folder are since that was moved, by their keys."""
    moved = {}
    for name, path in config.data:
        if isinstance(path, Path) and path.absolute().is_relative_to(then):
            place = now / path.absolute().relative_to(then)
            if place.exists() and not _is_copy(place, path):
                moved[f"data.{name}"] = place
    return moved


def _is_copy(path: Path, original: Path) -> bool:
    """Whether the original is still there: from a copy in another place its images may not be found."""
    return path.is_file() and original.is_file() and path != original and cmp(path, original, shallow=False)


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """The config with other values, by their dotted keys."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    changed = {section: getattr(config, section).model_copy(update=update) for section, update in sections.items()}
    return config.model_copy(update=changed)


def _derive(config: Config, data: Data, fabric: Fabric) -> list[Setting]:
    asked = {key: _value(config, key) for key in (*RULES, *_ALSO_READ)}
    # Without steps the passes decide, given or not.
    if config.params.iterations is None or "epoch" in config.params.model_fields_set:
        asked["params.epoch"] = config.params.epoch
    of_start = []
    if config.model.model_path:
        start = read_card(config.model.model_path).architecture
        for key, name in _OF_THE_START.items():
            if asked[key] == AUTO:
                asked[key] = tuple(start[name]) if isinstance(start[name], list) else start[name]
                of_start.append(Setting(key, asked[key], "that of model.model_path"))
    num_unlabeled = len(data.unlabeled) if data.unlabeled else 0
    return of_start + derive(asked, facts_of(data.train, data.valid, num_unlabeled, _machine(config, fabric)))


def _value(config: Config, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def _machine(config: Config, fabric: Fabric) -> Machine:
    device = fabric.device
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory / 1e9
        return Machine("cuda", memory, fabric.world_size)
    return Machine("mps" if device.type == "mps" else "cpu", 0.0, fabric.world_size)
