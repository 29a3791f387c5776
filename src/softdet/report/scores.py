"""Plots of what the detections on the validation images tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from softdet.report.facts import TIDE_WORDS, Diagnosis, ImageSet
from softdet.report.style import BLUE, CYCLE, GREEN, INK, MUTED, ORANGE, PAPER, RED, Plot, figure, finished, share

_MOST_ROWS, _MOST_LINES, _MOST_CELLS = 30, 6, 15
_WIDTH = 6.3


def plot_precision_recall(diagnosis: Diagnosis, class_names: Sequence[str]) -> Plot | None:
    """Precision over recall of each class at IoU .5, and their mean; of many classes only the mean stands out."""
    known = np.flatnonzero(np.isfinite(diagnosis.precision).all(1))
    if not len(known):
        return None
    with figure(_WIDTH, 3.8) as (made, [axes]):
        areas = diagnosis.precision[known].mean(1)
        named = known if len(known) <= _MOST_LINES else known[:0]
        for row in known[np.argsort(-areas, kind="stable")]:
            if row in named:
                axes.plot(
                    diagnosis.recall,
                    diagnosis.precision[row],
                    color=CYCLE[int(np.flatnonzero(named == row)[0])],
                    linewidth=1.3,
                    label=f"{class_names[row]}  {share(diagnosis.precision[row].mean())}",
                )
            else:
                axes.plot(diagnosis.recall, diagnosis.precision[row], color=MUTED, alpha=0.35, linewidth=0.7)
        if len(known) > 1:
            mean = diagnosis.precision[known].mean(0)
            axes.plot(diagnosis.recall, mean, color=INK, linewidth=2.6, label=f"mean  {share(mean.mean())}")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), title="AP50", alignment="left", borderaxespad=0)
        best, worst = known[areas.argmax()], known[areas.argmin()]
        alt = f"Precision over recall at IoU 0.5, {len(known)} classes, mean AP50 {share(areas.mean())}"
        alt += f"; highest {class_names[best]} {share(areas.max())}, lowest {class_names[worst]} {share(areas.min())}."
        return finished(made, "precision_recall", "Precision and recall", alt, "At IoU .5, on the validation images.")


def plot_operating_point(diagnosis: Diagnosis, threshold: float) -> Plot:
    """Precision, recall and F1 over the score threshold, with the stored one marked."""
    place = int(np.abs(diagnosis.thresholds - threshold).argmin())
    with figure(_WIDTH, 3.3) as (made, [axes]):
        named = (("precision", ORANGE, "--"), ("recall", GREEN, ":"), ("F1", BLUE, "-"))
        for (label, colour, dash), values in zip(named, diagnosis.macro, strict=True):
            axes.plot(diagnosis.thresholds, values, color=colour, linestyle=dash, label=label)
            axes.plot([threshold], [values[place]], "o", color=colour, markersize=5)
        axes.axvline(threshold, color=INK, linewidth=1)
        axes.annotate(
            f"stored: {threshold:.2f}", (threshold, 1.0), xytext=(5, -8), textcoords="offset points", color=INK
        )
        axes.set(xlim=(0, 1), ylim=(0, 1.04), xlabel="score threshold", ylabel="mean over classes")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
        precision, recall, f1 = diagnosis.macro[:, place]
        alt = f"At the stored threshold {threshold:.2f}: precision {share(precision)}, recall {share(recall)}, "
        alt += f"F1 {share(f1)}, means over the classes at IoU 0.5."
        return finished(made, "operating_point", "Operating point", alt, alt)


def plot_confusion(diagnosis: Diagnosis, class_names: Sequence[str]) -> Plot | None:
    """The confusion matrix at the operating point, each row in parts of its sum; None for one class."""
    num_classes = len(class_names)
    if num_classes < 2:
        return None
    counts = diagnosis.confusion
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [*class_names, "nothing"]
    side = min(7.2, 2.4 + 0.42 * len(names))
    with figure(side + 0.6, side) as (made, [axes]):
        axes.grid(visible=False)
        # See-through cells of one colour, so that they suit a dark page too.
        for row, column in np.argwhere(counts):
            axes.add_patch(Rectangle((column, row), 1, 1, color=BLUE, alpha=float(shares[row, column]), linewidth=0))
        axes.set(xlim=(0, len(names)), ylim=(len(names), 0))
        if len(names) <= _MOST_CELLS + 1:
            _write_counts(axes, counts, shares)
        spots = np.arange(len(names)) + 0.5
        shown = spots if len(names) <= 45 else spots[:0]
        axes.set_xticks(shown, names[: len(shown)], rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(shown, names[: len(shown)])
        axes.set(xlabel="detected", ylabel="true", aspect="equal")
        worst = diagnosis.confused(class_names, 3)
        told = "; ".join(f"{number} of {of} {true} taken for {seen}" for true, seen, number, of in worst)
        told = f"{told or 'No class is taken for another'}."
        alt = f"Confusion matrix at the operating point. {told}"
        return finished(made, "confusion", "Confusion matrix", alt, f"At the operating point. {told}")


def plot_errors(diagnosis: Diagnosis) -> Plot:
    """TIDE: how much AP50 each kind of error costs."""
    kinds = sorted(TIDE_WORDS, key=lambda kind: diagnosis.tide.get(kind, 0.0))
    values = [100 * diagnosis.tide.get(kind, 0.0) for kind in kinds]
    with figure(_WIDTH, 2.5) as (made, [axes]):
        _bars(axes, [TIDE_WORDS[kind] for kind in kinds], values, BLUE)
        axes.set_xlabel("AP50 points that would be won without them")
        told = ", ".join(
            f"{TIDE_WORDS[kind]} {value:.1f}" for kind, value in reversed(list(zip(kinds, values, strict=True)))
        )
        alt = f"AP50 points lost to each kind of error: {told}."
        return finished(made, "errors", "Kinds of errors", alt, "By TIDE; each kind mended by itself.")


def plot_calibration(diagnosis: Diagnosis) -> Plot | None:
    """How often a detection of a score is right; None without detections."""
    scores, shares, numbers = diagnosis.calibration.T
    if not len(scores):
        return None
    with figure(_WIDTH, 3.3) as (made, [axes]):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="as the score says")
        axes.plot(scores, shares, color=BLUE, linewidth=1.2, label="here")
        axes.scatter(scores, shares, s=12 + 90 * np.sqrt(numbers / numbers.max()), color=BLUE, zorder=3)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="score", ylabel="share that is right")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
        alt = (
            f"Share of right detections by their score; expected calibration error {diagnosis.calibration_error:.3f}. "
        )
        told = ", ".join(f"{score:.2f}: {right:.0%} of {number:.0f}" for score, right, number in diagnosis.calibration)
        error = f"Expected calibration error {diagnosis.calibration_error:.3f}; large dots stand for many detections."
        return finished(made, "calibration", "Calibration", alt + told, error)


def plot_class_ap(rows: Sequence[tuple[str, float, int]], control: dict[str, float]) -> Plot | None:
    """AP of each class, lowest last, with the number of its boxes; and what the control has, where there is one.

    Args:
        rows: name, AP, boxes; a negative AP is none.
        control: its AP by name; empty for none.
    """
    known = sorted((row for row in rows if row[1] >= 0), key=lambda row: row[1])
    if not known:
        return None
    shown = known if len(known) <= _MOST_ROWS else [*known[: _MOST_ROWS // 2], *known[-_MOST_ROWS // 2 :]]
    names = [f"{name}  (n = {number})" for name, _, number in shown]
    with figure(_WIDTH, 0.9 + 0.27 * len(shown)) as (made, [axes]):
        befores = [100 * control[name] if name in control else 0.0 for name, _, _ in shown]
        _bars(axes, names, [100 * ap for _, ap, _ in shown], BLUE, befores)
        for place, (name, before) in enumerate(zip((row[0] for row in shown), befores, strict=True)):
            if name in control:
                axes.plot([before, before], [place - 0.38, place + 0.38], color=RED, linewidth=2)
        axes.set_xlim(0, 100)
        left_out = "" if shown is known else f", the {_MOST_ROWS // 2} lowest and highest of {len(known)}"
        axes.set_xlabel(f"{'AP of Soft Teacher; the line: of the control' if control else 'AP'}{left_out}")
        told = ", ".join(
            f"{name} {share(ap)}"
            + (f", control {share(control[name])}" if name in control else "")
            + f", {number} boxes"
            for name, ap, number in reversed(shown)
        )
        return finished(made, "class_ap", "AP of each class", f"AP by class{left_out}: {told}.")


def plot_labels(labeled: ImageSet | None, valid: ImageSet | None, class_names: Sequence[str]) -> Plot | None:
    """How many boxes of each class are in the labeled and the validation images."""
    sets = [
        (name, each) for name, each in (("labeled", labeled), ("validation", valid)) if each and each.boxes_by_class
    ]
    if not sets:
        return None
    first = np.array(sets[0][1].boxes_by_class)
    order = np.argsort(first, kind="stable")[-_MOST_ROWS:]
    with figure(_WIDTH, 1.1 + (0.2 + 0.14 * len(sets)) * len(order)) as (made, [axes]):
        height = 0.8 / len(sets)
        for place, (name, each) in enumerate(sets):
            values = np.array(each.boxes_by_class)[order]
            spots = np.arange(len(order)) + 0.4 - height * (place + 0.5)
            axes.barh(spots, values, height, color=(BLUE, ORANGE)[place], label=f"{name}: {each.num_images:,} images")
            for spot, value in zip(spots, values, strict=True):
                axes.annotate(
                    f"{value:,}",
                    (value, spot),
                    xytext=(3, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=9,
                    color=MUTED,
                )
        axes.set_yticks(np.arange(len(order)), [class_names[row] for row in order])
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        left_out = (
            "" if len(order) == len(class_names) else f", the {_MOST_ROWS} most frequent of {len(class_names)} classes"
        )
        axes.set_xlabel("boxes" + left_out)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2)
        told = "; ".join(
            f"{name}: " + ", ".join(f"{class_names[row]} {(each.boxes_by_class or ())[row]}" for row in order[::-1])
            for name, each in sets
        )
        return finished(made, "labels", "Boxes by class", f"Boxes by class{left_out}. {told}.")


def _write_counts(axes: Axes, counts: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    for row, column in np.argwhere(counts):
        colour = PAPER if shares[row, column] > 0.5 else INK
        axes.annotate(
            f"{counts[row, column]}", (column + 0.5, row + 0.5), ha="center", va="center", fontsize=10, color=colour
        )


def _bars(
    axes: Axes, names: Sequence[str], values: Sequence[float], colour: str, beside: Sequence[float] | None = None
) -> None:
    """Bars with their values, written clear of whatever else is drawn up to `beside`."""
    axes.barh(range(len(names)), values, 0.66, color=colour)
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.1)
    for place, value in enumerate(values):
        axes.annotate(
            f"{value:.1f}",
            (value if beside is None else max(value, beside[place]), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9.5,
            color=MUTED,
        )
