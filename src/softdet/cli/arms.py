"""The arms of a run, to its honest end."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import NamedTuple

import torch
from lightning_fabric import Fabric

from softdet import builders
from softdet.cli.output import print_metrics, say
from softdet.cli.report import draw_run
from softdet.config import Config, save_config
from softdet.data.density import labeled_density
from softdet.errors import RunError
from softdet.evaluation.detector import read_card
from softdet.evaluation.metrics import load_truth
from softdet.evaluation.outcome import describe_outcome, describe_run, settle
from softdet.evaluation.run import RunFolder
from softdet.evaluation.validation import evaluate_best, evaluate_test, evaluate_weights


class _Place(NamedTuple):
    """Where all ranks infer together."""

    device: torch.device
    batch_size: int
    rank: int


def train_arms(settings: Config, data: builders.Data, fabric: Fabric) -> None:
    """Train what is left of a run, and say what it came to, or how to go on.

    Args:
        settings: of the run.
        data: from `builders.load_data`.
        fabric: launched; all ranks take part.

    Raises:
        ConfigError: an arm can't be trained.
        RunError: the run's folder lacks something, or its numbers aren't finite.
    """
    run = RunFolder(settings.model.exp_path)
    *controls, semi = builders.arms_of(settings, data, fabric.world_size)
    if all(_train_control(control, run, data, fabric) for control in controls) and _train_last(semi, data, fabric):
        _finish(settings, data, fabric)
    elif fabric.is_global_zero:
        say(f"to go on: softdet train --resume {shlex.quote(str(run.path))}")


def _train_control(config: Config, run: RunFolder, data: builders.Data, fabric: Fabric) -> bool:
    """Train the control arm of a run, or what is left of it; False where it was asked to stop before its end."""
    own = run.control
    is_behind = not own.last.is_file() or read_card(own.last).step < builders.count_steps(config, len(data.train))
    has_begun = _has_begun(run, fabric)
    if has_begun and not fabric.broadcast(is_behind):
        # Soft Teacher starts where the control has ended.
        return True
    # One that had ended goes on too where the run was made longer: arms of unlike length say nothing.
    resume = _has_begun(own, fabric)
    labeled = replace(data, unlabeled=None)
    trainer = builders.make_trainer(config, fabric, labeled, resume=resume, keep_burn_in=not has_begun)
    if fabric.is_global_zero:
        save_config(config, own.config)
        own.write_environment(fabric.device)
        say(f"first the supervised control, with a time left of its own: {own.path}")
    if not trainer.fit():
        return False
    if fabric.is_global_zero:
        draw_run(config)
        start = "from where it stopped" if has_begun else "from the end of the burn-in"
        say(f"{describe_run(own.metrics, None)}; now Soft Teacher, {start}: {run.path}")
    return True


def _train_last(config: Config, data: builders.Data, fabric: Fabric) -> bool:
    """Train the run itself, after its control if there is one; False where it was asked to stop before its end."""
    run = RunFolder(config.model.exp_path)
    resume = _has_begun(run, fabric)
    if builders.has_control(config) and not resume and not run.control.burn_in.is_file():
        raise RunError(
            f"{run.control.burn_in} isn't there, the state at the end of the burn-in from which Soft Teacher starts. "
            f"Was {run.control.path} resumed on its own? Start {run.path} anew with --overwrite."
        )
    trainer = builders.make_trainer(config, fabric, data, resume=resume)
    if fabric.is_global_zero:
        # By now the run has a state of its own.
        run.control.burn_in.unlink(missing_ok=True)
    return trainer.fit()


def _has_begun(run: RunFolder, fabric: Fabric) -> bool:
    # Rank 0 looks for all: a file may be written while the others look.
    return bool(fabric.broadcast(run.checkpoint.is_file()))


def _finish(settings: Config, data: builders.Data, fabric: Fabric) -> None:
    """Say what a run came to: the numbers of its best detector, and one line at the end.

    All ranks take part, each in its share of the images; rank 0 says it.
    """
    run = RunFolder(settings.model.exp_path)
    place = _Place(fabric.device, settings.inference.batch_size, fabric.global_rank)
    # First, since it decides which detector is the best.
    line = _outcome(settings, data, place)
    fabric.barrier()
    metrics = evaluate_best(run, settings.data.valid, data.valid, **place._asdict())
    if fabric.is_global_zero:
        print_metrics(metrics, f"{run.best}")
    if settings.data.test and data.test:
        metrics = evaluate_test(run, settings.data.test, data.test, **place._asdict())
        if fabric.is_global_zero:
            print_metrics(metrics, f"{run.best} on test")
    if fabric.is_global_zero:
        draw_run(settings)
        say(f"curves and pictures are drawn; all of it on one page: softdet report {run.path}")
        say(line)


def _outcome(settings: Config, data: builders.Data, place: _Place) -> str:
    """The last line of a run; on the ranks above 0, which write no metrics, it is empty."""
    run = RunFolder(settings.model.exp_path)
    num_steps = builders.count_steps(settings, len(data.train))
    burn_in = builders.count_burn_in(settings, num_steps)
    if not builders.has_control(settings):
        test_ap = None
        if settings.data.test and data.test:
            test_ap = evaluate_weights(run.last, settings.data.test, data.test, **place._asdict())["AP"]
        if place.rank != 0:
            return ""
        return describe_run(run.metrics, burn_in if settings.soft_teacher.enabled else None, test_ap)
    splits = {"valid": (data.valid, load_truth(settings.data.valid))}
    if settings.data.test and data.test:
        splits["test"] = (data.test, load_truth(settings.data.test))
    outcome = settle(run, splits, labeled_density(data.train), burn_in, **place._asdict())
    return describe_outcome(outcome) if outcome else ""
