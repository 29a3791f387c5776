"""Plots over the steps of a run: losses, AP, and how the pseudo-labels do."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter

from softdet.report.history import History, smoothed
from softdet.report.style import BLUE, GREEN, MUTED, ORANGE, PURPLE, RED, Plot, figure, finished, share

_LOSSES = (
    ("supervised_class", "labeled, class", BLUE, "-"),
    ("supervised_box", "labeled, box", BLUE, "--"),
    ("unsupervised_class", "unlabeled, class", ORANGE, "-"),
    ("unsupervised_box", "unlabeled, box", ORANGE, "--"),
)
_STATES = {"warming up": MUTED, "healthy": GREEN, "starving": ORANGE, "exploding": RED, "collapsed": PURPLE}
_WIDTH, _WIDE = 6.3, 8.6


def plot_losses(history: History) -> Plot | None:
    """Each loss, as logged (faint) and as a running average; None where nothing was logged."""
    shown = [row for row in _LOSSES if any(value > 0 for value in history.of(row[0]).values())]
    if not shown:
        return None
    with figure(_WIDTH, 3.6) as (made, [axes]):
        for name, label, colour, dash in shown:
            # Zeroes of steps without pseudo boxes have no place on a logarithmic axis.
            raw = {step: value for step, value in history.of(name).items() if value > 0}
            axes.plot(*_points(raw), color=colour, alpha=0.25, linewidth=0.8, linestyle=dash)
            axes.plot(*_points(smoothed(raw)), color=colour, linestyle=dash, label=label)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylabel("loss, unweighted")
        _over_steps(axes, history)
        _legend(axes, 2)
        last = {label: list(smoothed(history.of(name)).values())[-1:] for name, label, _, _ in shown}
        told = ", ".join(f"{label} {value[0]:.3g}" for label, value in last.items() if value)
        alt = f"Losses over the steps, on a logarithmic axis. At the end: {told}."
        return finished(made, "losses", "Losses", alt, "Faint: as logged. Bold: running averages.")


def plot_ap(
    history: History, control: History | None, result_step: int | None, *, is_control: bool = False
) -> Plot | None:
    """Validation AP of the teacher, the student and the control, in percent; None before the first evaluation.

    Args:
        history: of the run.
        control: of its supervised control.
        result_step: the step whose weights are the result, to mark.
        is_control: whether that is a step of the control.
    """
    own = "teacher" if history.unlabeled_from is not None else "averaged weights"
    curves = [
        (own, history.of("valid_AP"), BLUE, "-", "o"),
        ("student" if own == "teacher" else "weights themselves", history.of("valid_AP_student"), ORANGE, "--", "^"),
        ("supervised control", control.of("valid_AP") if control else {}, MUTED, ":", "s"),
    ]
    if not history.of("valid_AP"):
        return None
    with figure(_WIDTH, 3.4) as (made, [axes]):
        for label, values, colour, dash, marker in curves:
            if values:
                steps, heights = _points({step: 100 * value for step, value in values.items()})
                axes.plot(steps, heights, color=colour, linestyle=dash, marker=marker, markersize=4, label=label)
        winner, of_winner, colour, *_ = curves[2 if is_control else 0]
        if result_step in of_winner:
            height = 100 * of_winner[result_step]
            axes.plot(
                [result_step],
                [height],
                "o",
                markersize=11,
                color="none",
                markeredgecolor=colour,
                label="result",
                clip_on=False,
            )
        axes.set_ylabel("validation mAP")
        highest = max(value for _, values, *_ in curves for value in values.values())
        axes.set_ylim(0, max(1.0, 112 * highest))
        _mark_burn_in(axes, history)
        _over_steps(axes, history)
        _legend(axes, 4)
        told = "; ".join(
            f"{label}: {share(list(values.values())[-1])} at step {max(values)}, at best {share(max(values.values()))}"
            for label, values, *_ in curves
            if values
        )
        told = f"{told[:1].upper()}{told[1:]}."
        if result_step in of_winner:
            told += f" The result: {winner}, step {result_step}."
        return finished(made, "ap", "Validation mAP", f"Validation mAP over the steps. {told}", told)


def plot_health(history: History, density: float | None) -> Plot | None:
    """How many pseudo boxes there were, how often none, how far the student agrees, and the ratio of the losses.

    Args:
        history: of a run with unlabeled images; None is given back for another.
        density: boxes per labeled image, which pseudo boxes are measured against.
    """
    if history.unlabeled_from is None:
        return None
    has_agreement = bool(history.of("agreement"))
    with figure(_WIDE, 5.2, 3) as (made, (boxes, shares, ratio)):
        for axes in (boxes, shares, ratio):
            _paint_states(axes, history, named=axes is boxes)
        for name, label, colour, dash in (
            ("pseudo_candidates", "seen by the teacher", MUTED, ":"),
            ("pseudo_boxes", "kept for their class", BLUE, "-"),
            ("pseudo_boxes_regressed", "kept for their place", ORANGE, "--"),
        ):
            boxes.plot(*_points(smoothed(history.of(name))), color=colour, linestyle=dash, label=label)
        if density:
            boxes.axhline(density, color=GREEN, linewidth=1.2, linestyle=(0, (6, 3)), label="labeled images have")
        boxes.set_yscale("symlog", linthresh=0.1)
        boxes.set_ylim(bottom=0)
        boxes.yaxis.set_major_formatter("{x:g}")
        boxes.set_title("pseudo boxes an image")
        _beside(boxes)
        for name, label, colour, dash in (
            ("empty_images", "images without one", ORANGE, "-"),
            ("agreement", "student agrees", BLUE, "--"),
        ):
            if history.of(name):
                shares.plot(*_points(smoothed(history.of(name))), color=colour, linestyle=dash, label=label)
        shares.set_ylim(0, 1.02)
        shares.yaxis.set_major_formatter(PercentFormatter(1.0))
        shares.set_title("empty images" + (", agreement" if has_agreement else ""))
        _beside(shares)
        ratio.plot(*_points(smoothed(history.of("loss_ratio"))), color=PURPLE, label="unlabeled / labeled")
        ratio.axhline(1.0, color=MUTED, linewidth=0.8, linestyle=":")
        ratio.set_ylim(bottom=0)
        ratio.set_title("ratio of the losses")
        _beside(ratio)
        _over_steps(ratio, history)
        kept, empty = history.late_mean("pseudo_boxes"), history.late_mean("empty_images")
        told = f"{kept:.2g} pseudo boxes an image lately" + (f", labeled images have {density:.2g}" if density else "")
        spells = "; ".join(f"{state} from step {start}" for start, _, state in history.spells())
        told += f"; {empty:.0%} of the images without one." + (f" {spells}." if spells else "")
        return finished(made, "health", "Pseudo-label health", f"Health of the pseudo-labels. {told}", told)


def _paint_states(axes: Axes, history: History, *, named: bool) -> None:
    known: set[str] = set()
    for start, end, state in history.spells():
        # One entry a state in the legend.
        label = state if named and state not in known else None
        known.add(state)
        axes.axvspan(start, end, color=_STATES.get(state, MUTED), alpha=0.16, linewidth=0, label=label)


def _mark_burn_in(axes: Axes, history: History) -> None:
    first = history.unlabeled_from
    if first is not None and first > min(history.of("loss"), default=first):
        axes.axvspan(0, first, color=MUTED, alpha=0.1, linewidth=0)
        axes.annotate(
            "labeled images alone",
            (0, 0.03),
            xycoords=("data", "axes fraction"),
            fontsize=8,
            color=MUTED,
            xytext=(4, 0),
            textcoords="offset points",
        )


def _over_steps(axes: Axes, history: History) -> None:
    axes.set_xlim(0, max(1, history.last_step))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("step")


def _legend(axes: Axes, columns: int) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.08, 1.0),
        ncols=columns,
        borderaxespad=0.2,
        handlelength=1.9,
        columnspacing=1.0,
    )


def _beside(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.08), borderaxespad=0, handlelength=1.8, fontsize=8)


def _points(values: dict[int, float]) -> tuple[list[int], list[float]]:
    steps = sorted(step for step, value in values.items() if value - value == 0)
    return steps, [values[step] for step in steps]
