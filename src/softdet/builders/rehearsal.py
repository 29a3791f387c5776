"""What a run will take, measured on two real steps of each kind before it starts."""

from __future__ import annotations

import copy
import math
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning_fabric import Fabric

from softdet.builders.arms import count_burn_in, count_steps, has_control
from softdet.builders.data import Data, batch_sizes, cache_rooms, some_readable
from softdet.builders.detector import make_card
from softdet.builders.settings import BURN_IN, with_values
from softdet.builders.trainer import make_trainer
from softdet.config import Config
from softdet.engine.progress import Stopwatch, memory_gb
from softdet.engine.trainer import Trainer
from softdet.evaluation.inference import detections_over

# The first step of a kind warms up: memory is fetched, kernels are chosen.
_STEPS = 3
_EVALUATED = 8
_IN_GALLERY = 2
_FEWEST_STEPS = 10
# Below these the control has hardly begun, and nothing that a teacher says is worth learning.
FEW_BURN_IN_STEPS = 300


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds and memory.

    Attributes:
        supervised: seconds of a step on labeled images alone, once these are loaded.
        semi: of a step with unlabeled ones; 0 where there are none.
        loading: of a labeled image, the first time; later ones come from memory as far as `data.cache_gb` allows, and
            loader processes work beside the training.
        loading_unlabeled: likewise of an unlabeled one.
        evaluation: of a whole evaluation.
        memory_gb: the largest so far.
        pieces: into how many each micro-batch had to be cut.
    """

    supervised: float
    semi: float
    evaluation: float
    memory_gb: float
    loading: float = 0.0
    loading_unlabeled: float = 0.0
    pieces: int = 1


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run.

    Attributes:
        name: for people.
        steps: optimizer steps, or evaluations.
        labeled: labeled images served, or validation images looked at.
        unlabeled: unlabeled images served.
        seconds: all of it.
    """

    name: str
    steps: int
    labeled: int
    unlabeled: int
    seconds: float


@contextmanager
def scratch_trainer(config: Config, data: Data, fabric: Fabric) -> Iterator[Trainer]:
    """Put a run together in a folder that is deleted afterwards; the run itself will be as if this had not been.

    Args:
        config: decided.
        data: from `load_data`.
        fabric: launched; all ranks take part.
    """
    precision = fabric.strategy.precision
    # A copy: the scaler of 16-mixed is one for the whole process.
    before = copy.deepcopy(precision.state_dict())
    with TemporaryDirectory(prefix="softdet-") as folder:
        scratch = {
            "model.exp_path": Path(folder),
            "soft_teacher.control": False,
            "soft_teacher.far_images": "keep",
            "params.tensorboard": False,
            "params.gallery_images": min(config.params.gallery_images, _IN_GALLERY),
        }
        yield make_trainer(with_values(config, scratch), fabric, data, resume=False)
    precision.load_state_dict(before)
    if fabric.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(fabric.device)


def rehearse(config: Config, data: Data, fabric: Fabric) -> Measured:
    """Train a few steps of each kind and evaluate a few images, in a folder that is deleted afterwards.

    Args:
        config: decided.
        data: from `load_data`.
        fabric: launched; all ranks take part.
    """
    if fabric.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(fabric.device)
    with scratch_trainer(config, data, fabric) as trainer:
        burn_in = min(count_burn_in(config, trainer.num_steps), trainer.num_steps)
        kinds = range(min(_STEPS, burn_in)), range(burn_in, min(burn_in + _STEPS, trainer.num_steps))
        (supervised, load), (semi, load_semi) = (
            _typical(trainer.rehearse(steps) if len(steps) else []) for steps in kinds
        )
        labeled, unlabeled = batch_sizes(config, fabric.world_size)
        loading = load / labeled if len(kinds[0]) else load_semi / (labeled + unlabeled)
        # Some of the labeled ones are in memory by then.
        room, _ = cache_rooms(config, len(data.train))
        known = min(room, len(kinds[0]) * labeled) / len(data.train)
        of_unlabeled = max(load_semi - max(1 - known, 0.0) * labeled * loading, 0.0)
        loading_unlabeled = of_unlabeled / unlabeled if unlabeled else 0.0
        few = some_readable(data.valid, _EVALUATED)
        where: Any = {"device": fabric.device, "batch_size": config.inference.batch_size, "rank": fabric.global_rank}
        card = make_card(config, data.train)
        detections_over(trainer.method.evaluation_model, card, few, **where)
        watch = Stopwatch()
        detections_over(trainer.method.evaluation_model, card, few, **where)
        passes = 1 + config.params.evaluate_student
        evaluation = passes * watch.lap() * len(data.valid) / len(few)
        pieces, memory = trainer.state.pieces, memory_gb(fabric.device)
    if config.params.data_worker:
        loading = loading_unlabeled = 0.0
    measured = Measured(supervised, semi, evaluation, memory, loading, loading_unlabeled, pieces)
    return fabric.broadcast(measured)


def _typical(seconds: list[tuple[float, float]]) -> tuple[float, float]:
    """The fastest step of some, and the slowest loading, of which most images weren't in memory; 0 and 0 of none."""
    computed, waited = zip(*seconds, strict=True) if seconds else ((0.0,), (0.0,))
    return min(computed), max(waited)


def phases_of(config: Config, data: Data, measured: Measured) -> list[Phase]:
    """The parts of a run, each with what it takes."""
    num_steps = count_steps(config, len(data.train))
    burn_in = min(count_burn_in(config, num_steps), num_steps)
    labeled, unlabeled = batch_sizes(config, 1)
    arms = 2 if has_control(config) else 1

    def phase(name: str, steps: int, seconds: float, *, semi: bool = False) -> Phase:
        served = steps * labeled, steps * unlabeled * semi
        pools = len(data.train), len(data.unlabeled) if data.unlabeled else 0
        rooms = cache_rooms(config, len(data.train))
        each = measured.loading, measured.loading_unlabeled
        loading = sum(_num_loads(*kind) * cost for *kind, cost in zip(served, pools, rooms, each, strict=True))
        return Phase(name, steps, *served, steps * seconds + loading)

    def all_phases() -> Iterator[Phase]:
        if burn_in == num_steps:
            yield phase("supervised", num_steps, measured.supervised)
        else:
            yield phase("burn-in", burn_in, measured.supervised)
            if arms == 2:
                yield phase("supervised control", num_steps - burn_in, measured.supervised)
            yield phase("Soft Teacher", num_steps - burn_in, measured.semi, semi=True)
        every = config.params.evaluate_every or max(1, math.ceil(num_steps / 10))
        # Each arm evaluates at the end, and one of them at the end of the burn-in.
        evaluations = arms * math.ceil(num_steps / every) + (0 < burn_in < num_steps and burn_in % every > 0)
        yield Phase("evaluation", evaluations, evaluations * len(data.valid), 0, evaluations * measured.evaluation)

    return list(all_phases())


def fit_hours(config: Config, data: Data, measured: Measured, hours: float) -> dict[str, int]:
    """The schedule that takes so long and no longer; empty where the planned one does.

    Evaluations stay as many as they are; the steps shrink, the burn-in in proportion.

    Returns:
        `params.iterations` and `soft_teacher.burn_in_steps`.
    """
    num_steps = count_steps(config, len(data.train))
    burn_in = count_burn_in(config, num_steps) if config.soft_teacher.enabled else None
    evaluations = sum(p.seconds for p in phases_of(config, data, measured) if p.name == "evaluation")

    def schedule(steps: int) -> dict[str, int]:
        fitted = {"params.iterations": steps}
        return fitted if burn_in is None else fitted | {BURN_IN: round(burn_in / num_steps * steps)}

    def training(steps: int) -> float:
        phases = phases_of(with_values(config, schedule(steps)), data, measured)
        return sum(phase.seconds for phase in phases if phase.name != "evaluation")

    # Loading doesn't shrink with the steps: each image is decoded once at least.
    fitting = bisect_right(range(_FEWEST_STEPS, num_steps + 1), 3600 * hours - evaluations, key=training)
    steps = _FEWEST_STEPS + max(fitting - 1, 0)
    return {} if steps >= num_steps else schedule(steps)


def _num_loads(served: int, pool: int, room: int) -> int:
    """How many of the images that are served have to be decoded, those of one list."""
    return served - max(served - pool, 0) * min(room, pool) // max(pool, 1)
