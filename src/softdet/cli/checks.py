"""The first minute of `softdet train`: what is wrong with the data, and whether all that the run will do works."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path

from lightning_fabric import Fabric

from softdet import builders
from softdet.builders.smoke import Proof, prove
from softdet.cli.doctor import print_report
from softdet.cli.output import say
from softdet.cli.own_data import OwnData
from softdet.config import Config
from softdet.data.index_reading import read_class_names
from softdet.doctor.examine import examine
from softdet.doctor.findings import Finding, Report
from softdet.doctor.reach import Canvas
from softdet.errors import ConfigError, DataError, SoftdetError
from softdet.evaluation.run import RunFolder


def look_at_data(settings: Config, own: OwnData | None, fabric: Fabric) -> Report | None:
    """Let doctor look at a sample of the images and all boxes, and tell its warnings in a line each.

    Args:
        settings: decided.
        own: what the options named; the next command is made of it.
        fabric: launched; rank 0 looks for all.

    Returns:
        What it found, for the run's report; None on the other ranks.

    Raises:
        DataError: doctor has found errors.
    """
    failure: str | None = None
    report = None
    if fabric.is_global_zero:
        try:
            report = _examined(settings)
            failure = _tell(report, _next_command(settings, own))
        except SoftdetError as error:
            failure = str(error)
    if failure := fabric.broadcast(failure):
        raise DataError(failure)
    return report


def require_sources_elsewhere(settings: Config, own: OwnData | None, data: builders.Data, run: RunFolder) -> None:
    """Make sure that nothing that training reads lies in the folder that it is about to empty.

    Args:
        settings: decided.
        own: what the options named, from which the lists were made.
        data: the lists.
        run: the folder.

    Raises:
        ConfigError: labels, a list, an image or a file of weights does.
    """
    named = {} if own is None else own.sources
    is_inside = _inside(run.path, but=run.new_data)
    files: dict[str, list[Path]] = {
        **{f"--{name}": [Path(source)] for name, source in named.items() if source is not None},
        "model.model_path": [settings.model.model_path] if settings.model.model_path else [],
        "basenet.pretrained": [settings.basenet.pretrained] if isinstance(settings.basenet.pretrained, Path) else [],
    }
    for name, index in (
        ("train", data.train),
        ("valid", data.valid),
        ("unlabeled", data.unlabeled),
        ("test", data.test),
    ):
        files[f"data.{name}"] = [index.source, *(record.path for record in index.images)] if index else []
    for key, paths in files.items():
        inside = [path for path in paths if is_inside(path)]
        if inside and inside[0].exists():
            raise ConfigError(
                f"{key}: {inside[0]} lies in {run.path}, which would be emptied before the run starts. Name another "
                "folder with --out or model.exp_path, or move what is to be read elsewhere; an earlier run's lists are "
                "made anew from --labeled and its like."
            )


def _inside(folder: Path, *, but: Path) -> Callable[[Path], bool]:
    """Whether a path leads into a folder, as it is written or by links, and not into a part of it."""
    whole, part = {folder.absolute(), folder.resolve()}, {but.absolute(), but.resolve()}
    # The images of a list lie in few folders.
    resolved = cache(Path.resolve)

    def is_inside(path: Path) -> bool:
        ways = {path.absolute(), resolved(path.parent) / path.name}
        if path.is_symlink() or path.is_dir():
            ways.add(path.resolve())
        ends = {end for way in ways for end in (way, *way.parents)}
        return bool(ends & whole) and not ends & part

    return is_inside


def prove_aloud(settings: Config, data: builders.Data, fabric: Fabric) -> Proof:
    """See `prove`; rank 0 says so before and after."""
    if fabric.is_global_zero:
        say("checking that all this run will do works: a step of each kind, evaluation, saving (--no-smoke: don't) ...")
    proof = prove(settings, data, fabric)
    if fabric.is_global_zero:
        say(str(proof))
    return proof


def _examined(settings: Config) -> Report:
    data, model = settings.data, settings.model
    sizes = tuple(float(size) for size in model.anchor_sizes)
    canvas = Canvas(
        settings.params.image_size,
        settings.params.resize == "stretch",
        sizes,
        tuple(model.anchor_octaves),
        tuple(model.anchor_ratios),
    )
    return examine(
        data.train,
        data.unlabeled if settings.soft_teacher.enabled else None,
        data.valid,
        data.test,
        canvas=canvas,
        root=data.root,
        class_names=read_class_names(settings.params.classes) if settings.params.classes else None,
        quick=True,
    )


def _tell(report: Report, command: str) -> str | None:
    """Print what was found; why the run can't start, if it can't."""
    errors, warnings = report.of("error"), report.of("warning")
    if errors:
        print_report(report, ("error",))
        names = ", ".join(finding.code for finding in errors)
        return (
            f"the data has mistakes that would spoil the run ({names}; places and fixes above). Mend them, and look "
            f"again with `{command}`. --no-doctor trains with the data as it is."
        )
    for finding in warnings:
        say(f"warning {finding.code}: {_in_a_line(finding)}")
    if warnings:
        say(f"where, and what to do: {command}")
    return None


def _in_a_line(finding: Finding) -> str:
    first = finding.places[0]
    shown = f"{first.file} {first.detail}".strip()
    more = f" and {finding.count - 1:,} more" if finding.count > 1 else ""
    return f"{finding.message} ({shown}{more})"


def _next_command(settings: Config, own: OwnData | None) -> str:
    data, (height, width) = settings.data, settings.params.image_size
    if own is not None:
        named = own.sources
    else:
        unlabeled = data.unlabeled if settings.soft_teacher.enabled else None
        named = {"labeled": data.train, "unlabeled": unlabeled, "valid": data.valid, "test": data.test}
        named["root"] = data.root
    options = [f"--{name} {shlex.quote(str(value))}" for name, value in named.items() if value is not None]
    sizes = ",".join(f"{float(size):g}" for size in settings.model.anchor_sizes)
    return " ".join(["softdet doctor", *options, f"--image-size {height}x{width}", f"--anchor-sizes {sizes}"])
