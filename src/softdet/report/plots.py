"""Which plots a run gets, and where they are written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from softdet.files import whole_file
from softdet.report.curves import plot_ap, plot_health, plot_losses
from softdet.report.facts import RunFacts
from softdet.report.scores import (
    plot_calibration,
    plot_class_ap,
    plot_confusion,
    plot_errors,
    plot_labels,
    plot_operating_point,
    plot_precision_recall,
)
from softdet.report.style import Plot


def draw_plots(facts: RunFacts) -> list[Plot]:
    """Draw all plots that the facts are enough for."""
    density = facts.labeled.density if facts.labeled and facts.labeled.boxes_by_class else None
    scored = [(row["name"], row["AP"], row["num_boxes"]) for row in (facts.evaluation or {}).get("per_class") or []]
    arms = facts.arms_by_class()
    if arms:
        scored = [(name, after, number) for name, (_, after, number) in arms.items()]
    control_won = (facts.outcome or {}).get("winner") == "supervised"
    drawn = [
        plot_ap(facts.history, facts.control, facts.step, is_control=control_won),
        plot_losses(facts.history),
        plot_health(facts.history, density),
        plot_class_ap(scored, {name: before for name, (before, _, _) in arms.items()}),
        plot_labels(facts.labeled, facts.valid, facts.class_names),
    ]
    if facts.diagnosis is not None:
        drawn += [
            plot_precision_recall(facts.diagnosis, facts.class_names),
            plot_operating_point(facts.diagnosis, facts.operating_point or 0.0),
            plot_calibration(facts.diagnosis),
            plot_confusion(facts.diagnosis, facts.class_names),
            plot_errors(facts.diagnosis),
        ]
    return [plot for plot in drawn if plot is not None]


def write_plots(folder: Path, plots: Sequence[Plot]) -> None:
    """Write each as an SVG file under its name."""
    for plot in plots:
        with whole_file(folder / f"{plot.name}.svg") as draft:
            draft.write_text(plot.svg, encoding="utf-8")
