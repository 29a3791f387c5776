"""`softdet report`: what a run came to, as one page to look at."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from softdet import builders
from softdet.builders.settings import config_of
from softdet.cli.output import require_ending, say
from softdet.config import Config
from softdet.data.index_reading import read_class_names
from softdet.errors import RunError, SoftdetError
from softdet.evaluation.run import RunFolder
from softdet.evaluation.run_facts import Sources, gather_facts, require_run
from softdet.files import whole_file
from softdet.report.facts import RunFacts


def report(
    run: Annotated[Path, typer.Argument(help="A run folder, finished or not.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The HTML file to write, and nothing else; left out: report.html, plots and pictures in RUN."
        ),
    ] = None,
) -> None:
    """Write one HTML file about a run: scores, curves, errors, pictures, pseudo-labels, and what to do next."""
    # Drawing takes a library that all other commands do without.
    from softdet.report.page import render_page
    from softdet.report.plots import draw_plots

    require_ending("--out", out, ".html", ".htm")
    folder = RunFolder(run)
    require_run(folder)
    facts = _facts_of(folder)
    plots = draw_plots(facts)
    if out is None:
        _write_files(folder, facts)
    path = out or folder.report
    try:
        with whole_file(path) as draft:
            draft.write_text(render_page(facts, plots), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise RunError(
            f"{path} can't be written ({error.strerror or error}). Choose another place with --out."
        ) from error
    for line in facts.missing:
        say(f"not in the report: {line}")
    say(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB): open it in a browser, or send it; it needs no network")


def draw_run(settings: Config) -> None:
    """Write a finished run's plots and pictures; where that fails, the run is none the worse."""
    run = RunFolder(settings.model.exp_path)
    try:
        _write_files(run, gather_facts(run, sources_of(settings)))
    except Exception as error:  # a run of hours must not end by a line that can't be drawn
        message = f"the plots of {run.path} couldn't be drawn ({type(error).__name__}: {error}); all else is there"
        warnings.warn(message, RuntimeWarning, stacklevel=2)


def sources_of(settings: Config) -> Sources:
    """What a report needs of a config."""
    return Sources(
        train=settings.data.train,
        valid=settings.data.valid,
        unlabeled=settings.data.unlabeled,
        root=settings.data.root,
        class_names=read_class_names(settings.params.classes) if settings.params.classes else None,
        count_steps=lambda num_images: (
            builders.count_steps(settings, num_images),
            builders.count_burn_in(settings, builders.count_steps(settings, num_images)),
        ),
        is_semi=settings.soft_teacher.enabled,
        threshold=settings.soft_teacher.pseudo_cls_th,
    )


def _facts_of(run: RunFolder) -> RunFacts:
    try:
        settings = config_of(run)
        return gather_facts(run, sources_of(settings))
    except SoftdetError as error:
        # An old run's config may have keys that are gone; its numbers can still be shown.
        facts = gather_facts(run, None)
        return replace(facts, missing=(f"The config, and with it the images: {error}", *facts.missing))


def _write_files(run: RunFolder, facts: RunFacts) -> None:
    from softdet.report.plots import draw_plots, write_plots
    from softdet.report.sheets import save_sheet, valid_sheet

    write_plots(run.plots, draw_plots(facts))
    sheet = valid_sheet(facts.diagnosis.images, facts.class_names) if facts.diagnosis else None
    if sheet is not None:
        save_sheet(run.pictures / "valid_predictions.jpg", sheet)
