"""The end of a run in one line: what it came to, and which arm's weights are kept where it had a control."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from softdet.data.density import LabeledDensity
from softdet.data.index import Index
from softdet.evaluation.comparison import Gain, paired_bootstrap
from softdet.evaluation.detector import load_detector, read_card
from softdet.evaluation.inference import detections_over
from softdet.evaluation.metrics import class_agnostic_ap, evaluate_detections
from softdet.evaluation.run import RunFolder
from softdet.files import whole_file, write_json
from softdet.report.chance import has_few_images, may_be_chance
from softdet.report.history import read_history
from softdet.semi.health import MAX_LOSS_RATIO

# Beyond these a number is named as a likely reason: in parts of the labeled density, and in AP.
_FEW, _MANY = 1 / 3, 2.0
_FALLEN_AP = 0.02


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run with a control came to.

    Attributes:
        winner: the arm with the higher AP on the validation images; of equals the supervised one.
        gains: of Soft Teacher over the control, both with their last weights: on `valid`, and on `test` where there is
            a test list.
        reasons: what was measured that may explain why Soft Teacher didn't win; empty where it did.
        steps: of the control and of Soft Teacher, where they differ: a run may be made shorter than its control.
    """

    winner: Literal["supervised", "soft_teacher"]
    gains: dict[str, Gain]
    reasons: tuple[str, ...]
    steps: tuple[int, int] | None = None


def settle(
    run: RunFolder,
    splits: Mapping[str, tuple[Index, dict[str, Any]]],
    density: LabeledDensity,
    burn_in: int,
    *,
    device: torch.device,
    batch_size: int,
    rank: int = 0,
) -> Outcome | None:
    """Compare the last weights of a run and of its control, and make the winner's the run's best.

    The last, not the best of each: an arm that is evaluated on the images it was chosen by looks better than it is.

    Args:
        run: with a finished control.
        splits: `valid`, which chooses, and perhaps `test`: the images and the same as COCO's content.
        density: of the labeled images.
        burn_in: its steps.
        device: where to infer.
        batch_size: images per forward pass.
        rank: of this process; all ranks infer, rank 0 compares and writes.

    Returns:
        The outcome on rank 0, None on the others.
    """
    found: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in splits}
    arms = (run.control.last, run.last)
    for weights in arms:
        detector = load_detector(weights)
        model = detector.model.to(device)
        for name, (index, _) in splits.items():
            found[name].append(
                detections_over(model, detector.card, index, device=device, batch_size=batch_size, rank=rank)
            )
    if rank != 0:
        return None
    steps = read_card(arms[0]).step, read_card(arms[1]).step
    unlike = steps if steps[0] != steps[1] else None
    gains = {name: paired_bootstrap(truth, *found[name]) for name, (_, truth) in splits.items()}
    if gains["valid"].difference > 0:
        outcome = Outcome("soft_teacher", gains, (), unlike)
    else:
        truth = splits["valid"][1]
        before, after = (class_agnostic_ap(truth, detections)["AP"] for detections in found["valid"])
        reasons = likely_reasons(run.metrics, burn_in, density, gains["valid"], after - before)
        outcome = Outcome("supervised", gains, reasons, unlike)
    winner = run if outcome.winner == "soft_teacher" else run.control
    with whole_file(run.best) as draft:
        shutil.copyfile(winner.last, draft)
    write_json(
        run.outcome,
        {
            "winner": outcome.winner,
            "weights": str(winner.last.relative_to(run.path)),
            "chosen_on": "valid",
            "reported_on": _reported(outcome),
            "gains": {name: asdict(gain) for name, gain in gains.items()},
            "reasons": list(outcome.reasons),
            "steps": outcome.steps,
            "per_class": _by_class(splits["valid"][1], *found["valid"]),
        },
    )
    return outcome


def _by_class(truth: dict[str, Any], before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each class's AP of both arms, -1 without a true box: more than the gain of all classes together tells."""
    rows = (evaluate_detections(truth, detections)["per_class"] for detections in (before, after))
    return [
        {"name": one["name"], "before": one["AP"], "after": other["AP"], "num_boxes": one["num_boxes"]}
        for one, other in zip(*rows, strict=True)
    ]


def likely_reasons(
    metrics: Path, burn_in: int, density: LabeledDensity, gain: Gain, agnostic_gain: float
) -> tuple[str, ...]:
    """Why the unlabeled images brought nothing, from what was measured: each with its numbers and what to change.

    Args:
        metrics: the run's metrics.csv.
        burn_in: its steps.
        density: of the labeled images.
        gain: on the validation images.
        agnostic_gain: the same with all classes as one.

    Returns:
        At least one.
    """
    history = read_history(metrics)
    pseudo_boxes, empty, ratio = map(history.late_mean, ("pseudo_boxes", "empty_images", "loss_ratio"))
    found = f"{pseudo_boxes:.2g} pseudo boxes an image where labeled images have {density.boxes:.2g}"
    reasons = []
    if pseudo_boxes < _FEW * density.boxes:
        reasons.append(f"only {found}: lower soft_teacher.pseudo_cls_th")
    elif pseudo_boxes > _MANY * density.boxes:
        reasons.append(f"{found}: raise soft_teacher.pseudo_cls_th")
    if 1 - empty < _FEW * density.filled:
        reasons.append(
            f"no pseudo box in {empty:.0%} of the unlabeled images where {1 - density.filled:.0%} of the labeled ones "
            "are empty: are they of the same kind?"
        )
    if ratio > MAX_LOSS_RATIO:
        reasons.append(
            f"the unlabeled images' losses were {ratio:.1f} times the labeled ones' after the burn-in: "
            "lower soft_teacher.unsup_loss_weight"
        )
    curve = {step: ap for step, ap in history.of("valid_AP").items() if step >= burn_in}
    peak = max(curve, key=curve.__getitem__, default=0)
    if peak and curve[peak] - gain.after > _FALLEN_AP:
        reasons.append(
            f"it stood at {100 * curve[peak]:.1f} after {peak} steps and fell: take fewer params.iterations or a lower "
            "soft_teacher.unsup_loss_weight"
        )
    if agnostic_gain > 0:
        reasons.append(
            f"it finds more than the control ({100 * agnostic_gain:+.1f} with all classes as one) and confuses the "
            "classes: label more of those that look alike"
        )
    if gain.high >= 0:
        reasons.append("the interval includes 0, so it may be chance: more validation images would tell")
    return tuple(reasons) or (f"none that was measured ({found}): the teacher may be wrong and sure of it",)


def describe_gain(gain: Gain) -> str:
    """The difference with its interval, in percent."""
    plural = "" if gain.num_images == 1 else "s"
    images = (
        f"only {gain.num_images} image{plural}: too few to trust it" if has_few_images(gain.num_images) else "images"
    )
    return (
        f"{100 * gain.difference:+.1f} mAP (95% interval {100 * gain.low:+.1f}..{100 * gain.high:+.1f}, "
        f"paired bootstrap over {images})"
    )


def describe_outcome(outcome: Outcome) -> str:
    """What a run with a control came to, in one line."""
    split = _reported(outcome)
    gain, chosen = outcome.gains[split], outcome.gains["valid"]
    on_test = split == "test"
    line = f"supervised {100 * gain.before:.1f} -> {100 * gain.after:.1f}{' on test' if on_test else ''}: "
    line += describe_gain(gain)
    if outcome.steps:
        line += f", of unlike lengths: {outcome.steps[0]:,} and {outcome.steps[1]:,} steps"
    if outcome.winner == "supervised":
        where = f" on valid ({100 * chosen.difference:+.1f})" if on_test else ""
        return f"{line}; no gain{where}: kept the supervised model; likely reasons: {'; '.join(outcome.reasons)}"
    if may_be_chance(gain.low, gain.high, gain.num_images):
        line += ", which may be chance"
    return line + (f"; Soft Teacher was chosen on valid ({100 * chosen.difference:+.1f})" if on_test else "")


def describe_run(metrics: Path, burn_in: int | None, test_ap: float | None = None) -> str:
    """What a run without a control came to, in one line.

    Args:
        metrics: its metrics.csv.
        burn_in: its steps; None for a supervised run.
        test_ap: of the last weights on the test images, if there are any.
    """
    curve = read_history(metrics).of("valid_AP")
    if not curve:
        return f"there is no evaluation in {metrics}"
    num_steps, last = max(curve.items())
    on_test = "" if test_ap is None else f"; on test {100 * test_ap:.1f}"
    if burn_in is None:
        line = f"supervised ({num_steps} steps) {100 * last:.1f}"
    elif burn_in >= num_steps:
        line = f"burn-in ({num_steps} steps) {100 * last:.1f}, and not one step of Soft Teacher"
    elif burn_in in curve:
        line = f"burn-in ({burn_in} steps) {100 * curve[burn_in]:.1f} -> Soft Teacher {100 * last:.1f}"
    else:
        line = f"Soft Teacher ({num_steps} steps) {100 * last:.1f}"
    return line + on_test


def _reported(outcome: Outcome) -> str:
    return "test" if "test" in outcome.gains else "valid"
