"""`softdet train`: what is to be trained, and what must be right before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from lightning_fabric import Fabric

from softdet import builders
from softdet.builders.settings import Decided, config_of, with_values
from softdet.builders.smoke import keep_picture
from softdet.cli.arms import train_arms
from softdet.cli.checks import look_at_data, prove_aloud, require_sources_elsewhere
from softdet.cli.output import say
from softdet.cli.own_data import OwnData, adopt, own_data, prepared
from softdet.cli.plan import check_hours, print_plan, settle_settings
from softdet.config import Config, default_config, load_config, save_config
from softdet.errors import ConfigError, RunError
from softdet.evaluation.run import RunFolder
from softdet.evaluation.sole_writer import sole_writer
from softdet.files import write_json

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Change keys of the config.")
]


class _Options(NamedTuple):
    """What the command was asked beside what to train."""

    resume: bool
    overwrite: bool
    max_hours: float | None
    doctor: bool
    smoke: bool


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
    options = _Options(resume is not None, overwrite, max_hours, doctor=not no_doctor, smoke=not no_smoke)
    if dry_run:
        _plan(own, settings, fabric, options)
        return
    run = RunFolder(settings.model.exp_path)
    run.check(fabric, resume=options.resume, overwrite=overwrite)
    with sole_writer(run, fabric):
        settings, data = _start(own, settings, fabric, options)
        train_arms(settings, data, fabric)


def _plan(own: OwnData | None, settings: Config, fabric: Fabric, options: _Options) -> None:
    """Say what a run would do, and leave nothing behind."""
    with prepared(own, settings, fabric, overwrite=options.overwrite, keep=False) as settings:
        data = builders.load_data(settings)
        decided, measured = settle_settings(settings, data, fabric, max_hours=options.max_hours, measure=True)
        builders.arms_of(decided.config, data, fabric.world_size)
        if options.doctor:
            look_at_data(decided.config, own, fabric)
        if fabric.is_global_zero:
            print_plan(decided, data, fabric, measured)


def _start(own: OwnData | None, settings: Config, fabric: Fabric, options: _Options) -> tuple[Config, builders.Data]:
    """Make the run folder and what belongs to it, once nothing is left that would stop the run at its start."""
    run = RunFolder(settings.model.exp_path)
    proof = findings = None
    with prepared(own, settings, fabric, overwrite=options.overwrite, keep=True) as settings:
        # Before anything of an earlier run is deleted.
        data = builders.load_data(settings)
        decided, measured = settle_settings(settings, data, fabric, max_hours=options.max_hours, measure=False)
        settings = decided.config
        builders.arms_of(settings, data, fabric.world_size)
        # A run that goes on has had these before its first step.
        if not options.resume:
            require_sources_elsewhere(settings, own, data, run)
            if options.doctor:
                findings = look_at_data(settings, own, fabric)
            if options.smoke:
                proof = prove_aloud(settings, data, fabric)
        run.claim(fabric, resume=options.resume, overwrite=options.overwrite)
        if own is not None:
            settings = adopt(settings, fabric)
            data = builders.load_data(settings)
    if fabric.is_global_zero:
        # In this order: a config without the other is taken for a user's.
        run.write_environment(fabric.device)
        save_config(settings, run.config)
        if findings:
            write_json(run.doctor, findings.as_json())
        print_plan(Decided(settings, decided.settings), data, fabric, measured)
        if proof and (picture := keep_picture(proof, run)):
            say(f"the first batch as the student sees it: {picture}")
    return settings, data


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
