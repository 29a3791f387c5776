"""`softdet train`: one run, or two arms of one, to its honest end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from lightning_fabric import Fabric

from softdet import build
from softdet.cli_output import print_metrics, say
from softdet.config import Config, load_config, save_config
from softdet.engine.metrics import load_truth
from softdet.engine.outcome import describe_outcome, describe_run, settle
from softdet.engine.run import RunFolder
from softdet.engine.validation import evaluate_best, evaluate_test, evaluate_weights
from softdet.errors import ConfigError, RunError
from softdet.semi.health import labeled_density

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Change keys of the config.")
]


class _Place(NamedTuple):
    """Where all ranks infer together."""

    device: torch.device
    batch_size: int
    rank: int


def train(
    overrides: Overrides = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file, such as configs/coco.yaml.")] = None,
    supervised: Annotated[
        bool, typer.Option("--supervised", help="The control: labeled images alone, everything else the same.")
    ] = False,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder, exactly where it stopped.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the run that is in exp_path.")] = False,
) -> None:
    """Train, then test the best detector on the validation images."""
    if resume is not None:
        if config or overrides or supervised or overwrite:
            raise ConfigError("--resume RUN goes on with the config that RUN was started with; give nothing beside it")
        settings = load_config(RunFolder(resume).config, [f"model.exp_path={resume.absolute()}"])
    elif config is not None:
        settings = load_config(config, [*(overrides or []), *(["soft_teacher.enabled=false"] if supervised else [])])
    else:
        raise ConfigError("give --config FILE to start a run, or --resume RUN to go on with one")
    fabric = build.make_fabric(settings)
    fabric.launch()
    run = RunFolder(settings.model.exp_path)
    # Before anything of an earlier run is deleted.
    data = build.load_data(settings)
    arms = build.arms_of(settings, data, fabric.world_size)
    run.claim(fabric, resume=resume is not None, overwrite=overwrite)
    if fabric.is_global_zero:
        save_config(settings, run.config)
        run.write_environment(fabric.device)
        say(_plan(settings, data, fabric.device.type))
    *controls, semi = arms
    if all(_train_control(control, run, data, fabric) for control in controls) and _train_last(semi, data, fabric):
        finish(settings, data, fabric)


def _train_control(config: Config, run: RunFolder, data: build.Data, fabric: Fabric) -> bool:
    """Train the control arm of a run, or what is left of it; False where it was asked to stop before its end."""
    own = run.control
    if _has_begun(run, fabric):
        # Soft Teacher starts where the control has ended.
        return True
    resume = _has_begun(own, fabric)
    trainer = build.make_trainer(config, fabric, replace(data, unlabeled=None), resume=resume, keep_burn_in=True)
    if fabric.is_global_zero:
        save_config(config, own.config)
        own.write_environment(fabric.device)
        say(f"first the supervised control: {own.path}")
    if not trainer.fit():
        return False
    if fabric.is_global_zero:
        say(f"{describe_run(own.metrics, None)}; now Soft Teacher, from the end of the burn-in: {run.path}")
    return True


def _train_last(config: Config, data: build.Data, fabric: Fabric) -> bool:
    """Train the run itself, after its control if there is one; False where it was asked to stop before its end."""
    run = RunFolder(config.model.exp_path)
    resume = _has_begun(run, fabric)
    if build.has_control(config) and not resume and not run.control.burn_in.is_file():
        raise RunError(
            f"{run.control.burn_in} isn't there, the state at the end of the burn-in from which Soft Teacher starts. "
            f"Was {run.control.path} resumed on its own? Start {run.path} anew with --overwrite."
        )
    trainer = build.make_trainer(config, fabric, data, resume=resume)
    if fabric.is_global_zero:
        # By now the run has a state of its own.
        run.control.burn_in.unlink(missing_ok=True)
    return trainer.fit()


def _has_begun(run: RunFolder, fabric: Fabric) -> bool:
    # Rank 0 looks for all: a file may be written while the others look.
    return bool(fabric.broadcast(run.checkpoint.is_file()))


def finish(settings: Config, data: build.Data, fabric: Fabric) -> None:
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
        say(line)


def _outcome(settings: Config, data: build.Data, place: _Place) -> str:
    """The last line of a run; on the ranks above 0, which write no metrics, it is empty."""
    run = RunFolder(settings.model.exp_path)
    num_steps = build.count_steps(settings, len(data.train))
    burn_in = build.count_burn_in(settings, num_steps)
    if not build.has_control(settings):
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


def _plan(settings: Config, data: build.Data, device: str) -> str:
    num_steps = build.count_steps(settings, len(data.train))
    lines = [
        f"device: {device}",
        f"labeled: {len(data.train)} images, {sum(len(r.labels) for r in data.train.images)} boxes, "
        f"{len(data.train.class_names)} classes; validation: {len(data.valid)} images"
        + (f"; test: {len(data.test)} images" if data.test else ""),
    ]
    if data.unlabeled is None:
        lines.append(f"supervised control: {num_steps} steps")
    else:
        burn_in = build.count_burn_in(settings, num_steps)
        lines.append(f"unlabeled: {len(data.unlabeled)} images; {num_steps} steps, of which {burn_in} burn-in")
    if build.has_control(settings):
        lines.append("two arms that share the burn-in: the supervised control first, then Soft Teacher")
    for index in (data.train, data.valid, data.test):
        if index and index.dropped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in index.dropped.items())
            lines.append(f"left out boxes of {index.source}: {reasons}")
    return "\n".join(lines)
