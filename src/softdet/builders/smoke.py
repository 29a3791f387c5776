"""The minute-1 proof: all that a long run will do, done once before it, in a folder of its own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from lightning_fabric import Fabric

from softdet.builders.arms import has_control
from softdet.builders.data import Data, some_readable
from softdet.builders.proof import prove_checkpoint, prove_detector
from softdet.builders.rehearsal import scratch_trainer
from softdet.config import Config
from softdet.data.index import Index
from softdet.engine.progress import Stopwatch, format_seconds
from softdet.engine.trainer import Trainer
from softdet.errors import RunError, SoftdetError
from softdet.evaluation.run import RunFolder

_EVALUATED = 4
# Beside its checkpoints and weights a run writes numbers, pictures and detections.
_REST_BYTES = 50_000_000


@dataclass(frozen=True, slots=True)
class Proof:
    """What was seen to work.

    Attributes:
        checked: in order.
        seconds: that it took.
        picture: of the first batch, a JPEG; None where it couldn't be drawn.
    """

    checked: tuple[str, ...]
    seconds: float
    picture: bytes | None

    def __str__(self) -> str:
        return f"checked in {format_seconds(self.seconds)}: {', '.join(self.checked)}"


def prove(config: Config, data: Data, fabric: Fabric) -> Proof:
    """Train a step of each kind, evaluate, save, reload and draw, and see that there's room for what a run writes.

    The run itself will be, to the bit, as if this had not been: no weights, no random number and no score of it stay.

    Args:
        config: decided.
        data: from `load_data`.
        fabric: launched; all ranks take part.

    Raises:
        SoftdetError: on all ranks, where something doesn't work.
    """
    watch = Stopwatch()
    few = some_readable(data.valid, _EVALUATED)
    with scratch_trainer(config, replace(data, valid=few), fabric) as trainer:
        checked = _try_steps(trainer)
        trainer.save()
        failure: str | None = None
        picture = None
        if fabric.is_global_zero:
            run = RunFolder(trainer.checkpoint.parent)
            try:
                picture = _prove_files(config, trainer, run, few, fabric)
            except SoftdetError as error:
                failure = str(error)
        if failure := fabric.broadcast(failure):
            raise RunError(failure)
    checked += ["evaluation", "checkpoint", "reload", *(["picture"] if picture else [])]
    return Proof(tuple(checked), watch.lap(), picture)


def _try_steps(trainer: Trainer) -> list[str]:
    semi_from = trainer.times.semi_from
    kinds = [("a supervised step", 0)] if semi_from > 0 else []
    if semi_from < trainer.num_steps:
        kinds.append(("a semi-supervised step", semi_from))
    for _, step in kinds:
        trainer.rehearse(range(step, step + 1))
    trainer.rehearse_evaluation(kinds[-1][1])
    return [name for name, _ in kinds]


def _prove_files(config: Config, trainer: Trainer, run: RunFolder, few: Index, fabric: Fabric) -> bytes | None:
    _require_room(config, 2 * run.checkpoint.stat().st_size + 3 * run.last.stat().st_size)
    prove_detector(
        run.last,
        trainer.method.evaluation_model,
        few,
        device=fabric.device,
        batch_size=config.inference.batch_size,
    )
    prove_checkpoint(trainer)
    drawn = run.pictures / "train_batch.jpg"
    return drawn.read_bytes() if drawn.is_file() else None


def _require_room(config: Config, num_bytes: int) -> None:
    # Another checkpoint or two where there is a control: its last, and that of the burn-in.
    needed = num_bytes * (2 if has_control(config) else 1) + _REST_BYTES
    folder = next(each for each in (config.model.exp_path, *config.model.exp_path.absolute().parents) if each.is_dir())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RunError(
            f"model.exp_path: the disk of {config.model.exp_path} has {free / 1e9:.1f} GB left, and this run writes "
            f"{needed / 1e9:.1f} GB. Make room, or choose a folder on another disk (--out, or model.exp_path=FOLDER)."
        )


def keep_picture(proof: Proof, run: RunFolder) -> Path | None:
    """Write the picture into a run's folder; None where there is none."""
    if proof.picture is None:
        return None
    run.pictures.mkdir(parents=True, exist_ok=True)
    path = run.pictures / "first_batch.jpg"
    path.write_bytes(proof.picture)
    return path
