"""`softdet train`: one run, or two arms of one, to its honest end."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from lightning_fabric import Fabric

from softdet import builders
from softdet.builders.settings import Decided, config_of, with_values
from softdet.builders.smoke import keep_picture
from softdet.cli.checks import look_at_data, prove_aloud, require_sources_elsewhere
from softdet.cli.output import print_metrics, say
from softdet.cli.own_data import adopt, own_data, prepared
from softdet.cli.plan import check_hours, print_plan, settle_settings
from softdet.cli.report import draw_run
from softdet.config import Config, default_config, load_config, save_config
from softdet.data.density import labeled_density
from softdet.errors import ConfigError, RunError
from softdet.evaluation.detector import read_card
from softdet.evaluation.metrics import load_truth
from softdet.evaluation.outcome import describe_outcome, describe_run, settle
from softdet.evaluation.run import RunFolder
from softdet.evaluation.sole_writer import sole_writer
from softdet.evaluation.validation import evaluate_best, evaluate_test, evaluate_weights
from softdet.files import write_json

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
    labeled: Annotated[
        Path | None,
        typer.Option(help="Your labeled images: COCO JSON, YOLO (data.yaml or folder), Pascal VOC or CVAT."),
    ] = None,
    unlabeled: Annotated[
        str | None,
        typer.Option(help="Your unlabeled images: a folder, a pattern, a list file (.txt), a video, or a COCO JSON."),
    ] = None,
    valid: Annotated[
        Path | None,
        typer.Option(help="Labeled images to validate on; left out: the set's own, else a share is set aside."),
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Labeled images to report on; left out: the set's own if it has any.")
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="Where a share is set aside: images in whose path its first group is the same stay together."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder, as model.exp_path=OUT.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done and how long it would take, measured.")
    ] = False,
    max_hours: Annotated[
        float | None, typer.Option(help="Take fewer steps where the run would take longer, as measured.")
    ] = None,
    no_doctor: Annotated[
        bool, typer.Option("--no-doctor", help="Don't look for mistakes in images and labels before the start.")
    ] = False,
    no_smoke: Annotated[
        bool, typer.Option("--no-smoke", help="Don't try a step of each kind, evaluation and saving before the start.")
    ] = False,
) -> None:
    """Train, then test the best detector on the validation images."""
    own = own_data(labeled, unlabeled, valid, test, group_by, overrides or (), supervised=supervised)
    check_hours(max_hours)
    if resume is not None:
        if config or overrides or supervised or overwrite or own or out or dry_run or max_hours:
            raise ConfigError("--resume RUN goes on with the config that RUN was started with; give nothing beside it")
        _require_run(RunFolder(resume))
        settings = config_of(RunFolder(resume))
    elif config is not None or own is not None:
        changes = [*(overrides or []), *(["soft_teacher.enabled=false"] if supervised else [])]
        settings = load_config(config or default_config(), changes)
        settings = with_values(settings, {"model.exp_path": out} if out else {})
    else:
        raise ConfigError(
            "give --config FILE or --labeled IMAGES --unlabeled IMAGES to start a run, or --resume RUN to go on"
        )
    fabric = builders.make_fabric(settings)
    fabric.launch()
    run = RunFolder(settings.model.exp_path)
    if not dry_run:
        run.check(fabric, resume=resume is not None, overwrite=overwrite)
    with nullcontext() if dry_run else sole_writer(run, fabric):
        proof = findings = None
        with prepared(own, settings, fabric, overwrite=overwrite, keep=not dry_run) as settings:
            # Before anything of an earlier run is deleted.
            data = builders.load_data(settings)
            decided, measured = settle_settings(settings, data, fabric, max_hours=max_hours, measure=dry_run)
            settings = decided.config
            arms = builders.arms_of(settings, data, fabric.world_size)
            if not (resume or dry_run):
                require_sources_elsewhere(settings, data, run)
            if not (no_doctor or resume):
                findings = look_at_data(settings, own, fabric)
            if dry_run:
                if fabric.is_global_zero:
                    print_plan(decided, data, fabric, measured)
                return
            if not (no_smoke or resume):
                proof = prove_aloud(settings, data, fabric)
            run.claim(fabric, resume=resume is not None, overwrite=overwrite)
            if own is not None:
                settings = adopt(settings, fabric)
                data = builders.load_data(settings)
                arms = builders.arms_of(settings, data, fabric.world_size)
        if fabric.is_global_zero:
            # In this order: a config without the other is taken for a user's.
            run.write_environment(fabric.device)
            save_config(settings, run.config)
            if findings:
                write_json(run.doctor, findings.as_json())
            print_plan(Decided(settings, decided.settings), data, fabric, measured)
            if proof and (picture := keep_picture(proof, run)):
                say(f"the first batch as the student sees it: {picture}")
        *controls, semi = arms
        if all(_train_control(control, run, data, fabric) for control in controls) and _train_last(semi, data, fabric):
            finish(settings, data, fabric)
        elif fabric.is_global_zero:
            say(f"to go on: softdet train --resume {shlex.quote(str(run.path))}")


def _require_run(run: RunFolder) -> None:
    if not run.config.is_file():
        found = "holds no run, there is no config.yaml in it" if run.path.is_dir() else "is no folder"
        raise RunError(
            f"--resume {run.path}: it {found} (seen from {Path.cwd()}). Name the folder that the run was started with: "
            "its model.exp_path, or --out."
        )
    whole = RunFolder(run.path.parent)
    if run.path.absolute() == whole.control.path.absolute() and whole.config.is_file():
        raise RunError(f"--resume {run.path}: that is the control arm of a run. Go on with both: --resume {whole.path}")


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


def finish(settings: Config, data: builders.Data, fabric: Fabric) -> None:
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
