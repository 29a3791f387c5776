"""What to do next, from the numbers of a run: each piece says what was seen and which knob it points to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from softdet.report.chance import has_few_images
from softdet.report.facts import TIDE_WORDS, RunFacts
from softdet.report.history import is_rising

# A share of the labeled density and AP, beyond which a number is worth a word; see `outcome`.
_FEW, _MANY, _FALLEN_AP, _RISING_AP = 1 / 3, 2.0, 0.02, 0.01
_FEW_BOXES = 10
_WIDE_INTERVAL = 0.1
_OFTEN = 0.25
_COSTLY = 0.05
_MOST_NAMED = 6
_CURES = {
    "starving": "lower soft_teacher.pseudo_cls_th, or give the teacher a longer soft_teacher.burn_in_steps",
    "exploding": "lower soft_teacher.unsup_loss_weight, cap its losses by soft_teacher.max_loss_ratio, or raise "
    "soft_teacher.pseudo_cls_th",
}


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to do.

    Attributes:
        weight: `first` comes before all else, `worth` may pay, `know` is only good to know.
        text: what was seen, and what to do.
        command: to type, where there is one.
    """

    weight: Literal["first", "worth", "know"]
    text: str
    command: str = ""


def advise(facts: RunFacts) -> list[Advice]:
    """All that the numbers say, the most urgent first."""
    found = [
        *_about_the_end(facts),
        *_about_doctor(facts),
        *_about_health(facts),
        *_about_the_gain(facts),
        *_about_the_curve(facts),
        *_about_classes(facts),
        *_about_errors(facts),
    ]
    order = ("first", "worth", "know")
    return sorted(found, key=lambda each: order.index(each.weight))


def _about_the_end(facts: RunFacts) -> Iterator[Advice]:
    if not facts.is_finished:
        yield Advice(
            "first",
            f"The run has stopped, or is still going on, at step {facts.history.last_step:,} of {facts.num_steps:,}. "
            "If it has stopped, it goes on exactly there:",
            f"softdet train --resume {facts.path}",
        )


def _about_doctor(facts: RunFacts) -> Iterator[Advice]:
    findings = (facts.doctor or {}).get("findings") or []
    errors = [each for each in findings if isinstance(each, dict) and each.get("level") == "error"]
    if errors:
        first = str(errors[0].get("message", ""))
        yield Advice(
            "first", f"Mend the data before anything else: doctor found {_counted(len(errors), 'error')}. {first}"
        )


def _about_health(facts: RunFacts) -> Iterator[Advice]:
    history, density = facts.history, facts.labeled.density if facts.labeled else 0.0
    state = history.health.get(max(history.health, default=0))
    if state == "collapsed":
        yield Advice(
            "first",
            "The run collapsed: the teacher lost what it knew. Lower soft_teacher.unsup_loss_weight or raise "
            "soft_teacher.ema_decay, and start anew.",
        )
    elif state in _CURES:
        yield Advice("worth", f"The pseudo-labels ended in the state “{state}”: {_CURES[state]}.")
    pseudo_boxes = history.late_mean("pseudo_boxes")
    # The reasons of an outcome say the same.
    if density and pseudo_boxes == pseudo_boxes and not (facts.outcome or {}).get("reasons"):
        now = f"now {facts.threshold}" if facts.threshold is not None else "see the gallery"
        seen = f"Lately {pseudo_boxes:.2g} pseudo boxes an image, where labeled images have {density:.2g}: "
        if pseudo_boxes < _FEW * density:
            yield Advice(
                "first",
                f"{seen}the student was hardly taught anything. Lower soft_teacher.pseudo_cls_th ({now}); the slider "
                "of the gallery shows which boxes another threshold would keep.",
            )
        elif pseudo_boxes > _MANY * density:
            yield Advice(
                "first",
                f"{seen}many of them must be wrong, unless the labels lack boxes. Raise soft_teacher.pseudo_cls_th "
                f"({now}) or lower soft_teacher.unsup_loss_weight.",
            )
    if facts.num_far:
        yield Advice(
            "worth",
            f"{_counted(facts.num_far, 'unlabeled image')} look unlike the labeled ones: look through far_images.csv, "
            "and take out what doesn't belong, or set soft_teacher.far_images=leave_out.",
        )


def _about_the_gain(facts: RunFacts) -> Iterator[Advice]:
    if facts.outcome is None:
        if facts.is_semi and facts.is_finished:
            yield Advice(
                "worth",
                "What the unlabeled images brought is unknown, since the run had no control. One more run tells:",
                f"softdet train --config {facts.path / 'config.yaml'} soft_teacher.control=true model.exp_path=ANOTHER",
            )
        return
    for name, gain in (facts.outcome.get("gains") or {}).items():
        low, high, difference = gain["low"], gain["high"], gain["difference"]
        images = facts.valid.num_images if facts.valid and name == "valid" else None
        if low <= 0 <= high:
            text = f"The gain's interval on {name} includes 0, so it may be chance: more images would tell."
            if images and abs(difference) > 0.002:
                # The half width of an interval shrinks with the root of the number of images.
                needed = math.ceil(images * ((high - low) / 2 / abs(difference)) ** 2 / 10) * 10
                text += f" A difference of this size needs about {needed:,} validation images; there are {images:,}."
            yield Advice("worth", text)
        elif has_few_images(gain.get("num_images")):
            yield Advice(
                "worth",
                f"The gain on {name} is drawn from {_counted(gain['num_images'], 'image')}, too few to trust its "
                "interval: label more of them.",
            )
    for reason in facts.outcome.get("reasons") or []:
        if str(reason).startswith("the interval includes 0"):
            continue  # said above, with how many images it takes
        yield Advice("worth", f"Soft Teacher didn't win; likely: {reason}.")


def _about_the_curve(facts: RunFacts) -> Iterator[Advice]:
    curve = facts.history.of("valid_AP")
    if not curve or not facts.is_finished:
        return
    peak, last = max(curve, key=curve.__getitem__), max(curve)
    if curve[peak] - curve[last] > _FALLEN_AP:
        weaker = ", or a lower soft_teacher.unsup_loss_weight" if facts.is_semi else ""
        yield Advice(
            "worth",
            f"mAP stood at {100 * curve[peak]:.1f} after {peak:,} steps and fell to {100 * curve[last]:.1f}: fewer "
            f"params.iterations, optimizer.schedule=cosine{weaker}.",
        )
    elif is_rising(curve, _RISING_AP):
        yield Advice("worth", f"mAP was still rising at step {last:,}: more params.iterations may bring more.")
    if facts.interval and facts.valid and facts.interval[1] - facts.interval[0] > _WIDE_INTERVAL:
        low, high = (100 * end for end in facts.interval)
        yield Advice(
            "know",
            f"{facts.valid.num_images:,} validation images tell the mAP no better than {low:.0f} to {high:.0f} (95%): "
            "differences of a few points between runs are chance. More validation images would sharpen it.",
        )


def _about_classes(facts: RunFacts) -> Iterator[Advice]:
    names = facts.class_names
    if facts.labeled and facts.labeled.boxes_by_class:
        few = [
            f"{name} ({number})"
            for name, number in zip(names, facts.labeled.boxes_by_class, strict=True)
            if number < _FEW_BOXES
        ]
        if few:
            yield Advice(
                "worth",
                f"Fewer than {_FEW_BOXES} labeled boxes to learn from: {_named(few)}. Label more of them.",
            )
    if facts.valid and facts.valid.boxes_by_class:
        few = [
            f"{name} ({number})"
            for name, number in zip(names, facts.valid.boxes_by_class, strict=True)
            if number < _FEW_BOXES
        ]
        if few:
            yield Advice("know", f"Fewer than {_FEW_BOXES} validation boxes, so their AP says little: {_named(few)}.")


def _about_errors(facts: RunFacts) -> Iterator[Advice]:
    diagnosis = facts.diagnosis
    if diagnosis is None:
        return
    for true, seen, number, of in diagnosis.confused(facts.class_names, 2):
        if number >= 3 and number >= _OFTEN * of:
            yield Advice(
                "worth",
                f"{number} of {of} boxes of {true} were taken for {seen}: label more images that show the difference, "
                "or look with a larger params.image_size.",
            )
    costs = {kind: diagnosis.tide.get(kind, 0.0) for kind in TIDE_WORDS}
    kind = max(costs, key=costs.__getitem__)
    cures = {
        "Loc": "check that the labels' boxes are tight and alike",
        "Both": "check that the labels' boxes are tight and alike",
        "Bkg": "add images that show such background and no object; an empty image in the list is a label too",
        "Miss": "label more of the missed kind; where they are small, enlarge params.image_size",
        "Dupe": "train with a lower inference.nms_th",
    }
    if costs[kind] > _COSTLY and kind in cures:
        yield Advice(
            "worth",
            f"The costliest error is “{TIDE_WORDS[kind]}” ({100 * costs[kind]:.1f} AP50 points): {cures[kind]}.",
        )
    if diagnosis.suspects:
        yield Advice(
            "know",
            f"In {_counted(len(diagnosis.suspects), 'place')} the detector surely sees something else than the "
            "validation label says; where it is right, the label is wrong. They are listed under Errors.",
        )


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
