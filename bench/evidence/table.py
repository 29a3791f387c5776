"""The table of runs (`accuracy.yaml`): which there are, each one's config, and the digest that tells configs apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from softdet.config import Config, keys, parse_config
from softdet.errors import ConfigError

Group = Literal["main", "control", "search", "ablation"]
Settings = dict[str, Any]

# Where files lie, what is written and how fast it goes; none of it changes what is learned or measured.
_LEFT_OUT = frozenset(
    {
        *("data.root", "data.cache_gb", "model.exp_path", "cuda.using", "cuda.gpu_id", "cuda.num_nodes"),
        *("params.data_worker", "params.evaluate_every", "params.checkpoint_every", "params.log_every"),
        *("params.tensorboard", "inference.batch_size"),
    }
)
# The only keys of soft_teacher that an arm without it reads.
_READ_BY_CONTROL = ("soft_teacher.enabled", "soft_teacher.ema_decay")
_LISTS = ("data.train", "data.valid", "data.unlabeled")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSet(_Part):
    """A set of images: its lists, in which `{fold}` stands for the fold's number, and its own settings."""

    labeled: str
    unlabeled: str
    valid: str = "val.json"
    gpu: bool = False
    settings: Settings
    tuned: Settings = {}


class Arm(_Part):
    """What one arm changes: keys that it sets, keys that it multiplies, and whether it has the tuned setting.

    It runs on the group's sets and folds unless it names its own.
    """

    change: Settings = {}
    times: dict[str, float] = {}
    tuned: bool = True
    sets: tuple[str, ...] | None = None
    folds: tuple[int, ...] | None = None


class ArmGroup(_Part):
    """Arms that answer one question.

    Attributes:
        against: the arm that theirs change and are compared with; says nothing in `main`.
        folds, sets: what they run on; no sets means all.
        times: keys that each of them multiplies, besides its own.
        arms: by name.
    """

    against: str = "soft_teacher"
    folds: tuple[int, ...]
    sets: tuple[str, ...] | None = None
    times: dict[str, float] = {}
    arms: dict[str, Arm]

    def folds_of(self, arm: str) -> tuple[int, ...]:
        """The folds that one of the arms runs on."""
        return self.arms[arm].folds or self.folds

    def runs_on(self, arm: str, set_name: str, fold: int) -> bool:
        """Whether one of the arms runs on a fold of a set."""
        sets = self.arms[arm].sets or self.sets
        return (sets is None or set_name in sets) and fold in self.folds_of(arm)


class Table(_Part):
    """All that is to be run; see the head of `accuracy.yaml`."""

    seed: int
    tuning_fold: int
    report_folds: tuple[int, ...]
    every_run: Settings
    every_tuned: Settings
    sets: dict[str, DataSet]
    groups: dict[Group, ArmGroup]
    neutral: Settings = {}


@dataclass(frozen=True, slots=True)
class Job:
    """One run of the table."""

    set: str
    arm: str
    fold: int
    seed: int

    def __str__(self) -> str:
        return f"{self.set} {self.arm} fold {self.fold} seed {self.seed}"


def load_table(path: Path) -> Table:
    """Read the table and check it.

    Raises:
        ConfigError: the file or a key of it can't be used; an arm stands twice; a run has no params.iterations.
    """
    try:
        table = Table.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no table of runs {path}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error
    names = [name for group in table.groups.values() for name in group.arms]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path}: these arms stand in several groups: {doubled}. Rows are told apart by the name.")
    groups = table.groups.values()
    named = [group.sets for group in groups] + [arm.sets for group in groups for arm in group.arms.values()]
    if unknown := {name for sets in named for name in sets or ()} - table.sets.keys():
        raise ConfigError(f"{path}: groups or arms name the sets {sorted(unknown)}; there are {list(table.sets)}")
    for group_name, group in table.groups.items():
        if group_name != "main" and group.against not in names:
            raise ConfigError(f"{path}: {group_name} is against {group.against}, which is none of its arms: {names}")
    for part in (table.every_tuned, *(data_set.tuned for data_set in table.sets.values())):
        if shared := [key for key in part if not key.startswith("soft_teacher.")]:
            raise ConfigError(f"{path}: {shared} under tuned; what the control has too goes under settings")
    if unknown := table.neutral.keys() - set(keys()):
        raise ConfigError(f"{path}: neutral names {sorted(unknown)}, and there are no such keys")
    for job in jobs_of(table):
        if resolve(table, job).params.iterations is None:
            raise ConfigError(f"{path}: {job} has no params.iterations; the steps of a run must not depend on its data")
    return table


def jobs_of(table: Table, seed: int | None = None) -> Iterator[Job]:
    """All runs of the table in the order in which they should be made.

    Args:
        table: of runs.
        seed: of the first fold, the table's own if None; each later fold takes the next. All labels are the same in
            every fold, so with one seed for all that arm would be the same run again and again.
    """
    first = table.seed if seed is None else seed
    for group in table.groups.values():
        for set_name in table.sets:
            for fold in sorted({fold for arm in group.arms for fold in group.folds_of(arm)}):
                for arm in group.arms:
                    if group.runs_on(arm, set_name, fold):
                        yield Job(set_name, arm, fold, first + fold - 1)


def arms_on(table: Table, set_name: str, fold: int) -> list[str]:
    """The arms that run on a fold of a set."""
    return [arm for group in table.groups.values() for arm in group.arms if group.runs_on(arm, set_name, fold)]


def group_of(table: Table, arm: str) -> Group | None:
    """The group that an arm stands in; None where the table doesn't know it."""
    return next((name for name, group in table.groups.items() if arm in group.arms), None)


def resolve(
    table: Table, job: Job, data: Path = Path("data"), weights: Path | None = None, run: Path = Path("runs/bench")
) -> Config:
    """The whole config of a run.

    Args:
        table: of runs.
        job: which one.
        data: the folder of the sets.
        weights: backbone weights to use where the table says `basenet.pretrained: true`.
        run: the run folder.

    Raises:
        ConfigError: a key or value is not allowed.
    """
    settings = _settings(table, job) | {"model.exp_path": str(run)}
    for key in _LISTS:
        if settings.get(key) is not None:
            settings[key] = str(data / job.set / settings[key])
    if weights is not None and settings.get("basenet.pretrained", True) is True:
        settings["basenet.pretrained"] = str(weights)
    nested: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = value
    return parse_config(nested, source=str(job))


def config_digest(config: Config, neutral: Settings | None = None) -> str:
    """Twelve hexadecimal digits that are the same for configs that train and measure the same.

    Laws: where files lie doesn't count, only the names of the lists; whatever a key's value is by default counts as if
    it had been written; a key of `neutral` counts only where it differs from the value given there.
    """
    flat = {f"{section}.{name}": value for section, part in config.model_dump().items() for name, value in part.items()}
    # Which file the backbone's weights were in is no matter, and a report is made where no such file is.
    flat["basenet.pretrained"] = bool(flat["basenet.pretrained"])
    counted = {
        key: value.name if isinstance(value, Path) else value
        for key, value in flat.items()
        if key not in _LEFT_OUT and (neutral or {}).get(key, _Never) != value
    }
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:12]


class _Never:
    """Equal to no value of a config."""


def _settings(table: Table, job: Job) -> Settings:
    data_set = table.sets[job.set]
    group = group_of(table, job.arm)
    assert group is not None
    arm = table.groups[group].arms[job.arm]
    lists = {
        "data.train": data_set.labeled.format(fold=job.fold),
        "data.unlabeled": data_set.unlabeled.format(fold=job.fold),
        "data.valid": data_set.valid,
        "params.random_seed": job.seed,
    }
    tuned = {**table.every_tuned, **data_set.tuned} if arm.tuned else {}
    settings = {**lists, **table.every_run, **data_set.settings, **tuned, **arm.change}
    for key, factor in (*table.groups[group].times.items(), *arm.times.items()):
        if key not in settings:
            raise ConfigError(f"{job}: {key} is to be multiplied, so the table must give it")
        settings[key] = float(settings[key]) * factor
    if settings.get("soft_teacher.enabled", True):
        return settings
    # What the control never reads must not make its rows stale.
    settings["data.unlabeled"] = None
    return {
        key: value for key, value in settings.items() if not key.startswith("soft_teacher.") or key in _READ_BY_CONTROL
    }
