"""The model card: what a detector finds, how well, from what it learned, and how to use its file; Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import softdet
from softdet.deploy.export_files import OPSET
from softdet.deploy.model_facts import Brought, Counts, Labeled, Scores, Training
from softdet.deploy.model_usage import describe_usage
from softdet.evaluation.detector import DetectorCard
from softdet.evaluation.outcome import describe_gain


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """All that a card tells; None and empty for what isn't known.

    Attributes:
        title: a name for the model.
        card: the detector's own.
        file: the exported file's name.
        megabytes: its size.
        with_nms: whether it gives detections.
        num_parameters: of the model.
        weights: SHA-256 of the detector's file.
        training: how it came about.
        scores: how good it is.
        brought: what the unlabeled images brought.
    """

    title: str
    card: DetectorCard
    file: str
    megabytes: float
    with_nms: bool
    num_parameters: int
    weights: str
    training: Training | None = None
    scores: Scores | None = None
    brought: Brought | None = None


def model_card(facts: ModelFacts) -> str:
    """Write a card."""
    sections = {
        f"# {facts.title}": _summary(facts),
        "## What it detects": _classes(facts.card),
        "## How good it is": _scores(facts),
        "## What it learned from": _training(facts),
        "## How to use it": describe_usage(
            facts.card, facts.file, facts.megabytes, facts.num_parameters, with_nms=facts.with_nms
        ),
        "## Limits": _limits(facts),
        "## Versions and licence": _origin(facts),
    }
    return "\n\n".join(f"{heading}\n\n{text}" for heading, text in sections.items()) + "\n"


def _summary(facts: ModelFacts) -> str:
    names = facts.card.class_names
    shown = names if len(names) <= 8 else (*names[:7], f"{len(names) - 7} more classes")
    listed = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    text = f"Finds {listed} in pictures: a box, a class and a score for each."
    if facts.scores is not None:
        metrics = facts.scores.metrics
        text += f" mAP {_percent(metrics['AP'])}, AP50 {_percent(metrics['AP50'])} on {metrics['num_images']} images"
        text += f" that it wasn't trained on. Show boxes with a score of at least {_threshold(facts.card)}."
    return text


def _classes(card: DetectorCard) -> str:
    rows = zip(range(len(card.class_names)), card.class_names, card.class_ids, strict=True)
    return _table(("label", "class", "category id in the labels"), rows)


def _scores(facts: ModelFacts) -> str:
    scores, card = facts.scores, facts.card
    if scores is None:
        return (
            "Not known: this card was written from the weights alone, or the run's numbers are of other weights. "
            "`softdet evaluate RUN`, then `softdet export RUN` puts them here."
        )
    metrics = scores.metrics
    interval = ""
    if scores.interval is not None:
        low, high = map(_percent, scores.interval)
        interval = f" (95% interval {low} to {high}: what other images of this kind may give)"
    lines = [
        f"In percent, on {metrics['num_images']} validation images with {metrics['num_boxes']} boxes "
        f"(`{scores.name}`): **mAP {_percent(metrics['AP'])}**{interval}, AP50 {_percent(metrics['AP50'])}, "
        f"AP75 {_percent(metrics['AP75'])}. The run's best weights were chosen by these images, so others may give a "
        "little less.",
        _class_table(metrics["per_class"], scores.counts),
    ]
    if scores.counts is not None:
        lines.append(_at_threshold(scores.counts.values(), card))
    if scores.test is not None:
        test = scores.test
        lines.append(
            f"On {test['num_images']} test images, which decided nothing: mAP {_percent(test['AP'])}, "
            f"AP50 {_percent(test['AP50'])}, AP75 {_percent(test['AP75'])}."
        )
    if facts.brought is not None:
        lines.append(_brought(facts.brought))
    return "\n\n".join(lines)


def _class_table(per_class: Sequence[dict[str, Any]], counts: dict[int | str, Counts] | None) -> str:
    heads = ["class", "boxes", "AP", "AP50"]
    rows = [[row["name"], row["num_boxes"], _percent(row["AP"]), _percent(row["AP50"])] for row in per_class]
    if counts is not None:
        heads += ["precision", "recall"]
        for row, entry in zip(rows, per_class, strict=True):
            own = counts[entry["id"]]
            row += [_percent(own.precision), _percent(own.recall)]
    return _table(heads, rows)


def _at_threshold(counts: Iterable[Counts], card: DetectorCard) -> str:
    known = list(counts)
    total = Counts(*(sum(values) for values in zip(*((c.right, c.shown, c.boxes) for c in known), strict=True)))
    return (
        f"Precision and recall are those at the **operating threshold {_threshold(card)}**, where the mean F1 of the "
        f"classes is highest: {total.right} of the {total.shown} boxes shown are right ({_percent(total.precision)}%), "
        f"and {total.right} of the {total.boxes} objects are found ({_percent(total.recall)}%). A box is right if it "
        "overlaps its object by half (IoU .5) and names its class. A higher threshold shows fewer wrong boxes, a lower "
        "one misses fewer objects."
    )


def _brought(brought: Brought) -> str:
    gain = brought.gain
    line = (
        f"What the unlabeled images brought, against the same training without them ({brought.split} images, last "
        f"weights of both): mAP {_percent(gain.before)} -> {_percent(gain.after)}, {describe_gain(gain)}."
    )
    if brought.winner == "supervised":
        line += " So this is the model of the labeled images alone."
    return line


def _training(facts: ModelFacts) -> str:
    training, card = facts.training, facts.card
    if training is None:
        return f"Not known: this card was written from the weights alone. {card.step:,} steps are behind them."
    lines = [f"- How: {training.method}; these weights are of step {card.step:,}.", f"- Start: {training.start}."]
    if training.labeled is None:
        lines.append("- Labeled images: their list is gone or has changed since, so they can't be counted any more.")
    else:
        own = training.labeled
        boxes = ", ".join(f"{name} {count:,}" for name, count in own.boxes.items())
        total = sum(own.boxes.values())
        lines.append(f"- Labeled: {own.num_images:,} images with {total:,} boxes (`{own.name}`): {boxes}.")
    if training.unlabeled is not None:
        lines.append(f"- Unlabeled: {training.unlabeled[0]:,} images (`{training.unlabeled[1]}`).")
    return "\n".join(lines)


def _limits(facts: ModelFacts) -> str:
    rows, columns = facts.card.image_size
    lines = ["- It knows these classes alone; anything else is background to it, or taken for one of them."]
    labeled = facts.training.labeled if facts.training is not None else None
    lines.append(
        f"- It sees every picture at {rows} x {columns} pixels, large ones made small. {_sides(labeled)}".strip()
    )
    if facts.scores is not None:
        rated = [row for row in facts.scores.metrics["per_class"] if row["AP"] >= 0]
        silent = [row["name"] for row in facts.scores.metrics["per_class"] if row["AP"] < 0]
        if len(rated) > 1:
            worst = min(rated, key=lambda row: row["AP"])
            lines.append(
                f"- It's weakest at {worst['name']}: AP {_percent(worst['AP'])}, from {worst['num_boxes']} boxes."
            )
        if silent:
            lines.append(f"- How good it is at {', '.join(silent)} isn't known: the validation images show none.")
    lines.append(
        "- All numbers are of images like those it learned from. Other cameras, light, places or seasons may do worse; "
        "label a few of your own and evaluate."
    )
    lines.append("- A score orders boxes; it is no probability.")
    return "\n".join(lines)


def _sides(labeled: Labeled | None) -> str:
    if labeled is None or not any(labeled.boxes.values()):
        return ""
    low, high = labeled.sides
    return (
        f"There, nine in ten of the objects it learned from have a side (the root of the area) of {low:.0f} to "
        f"{high:.0f} pixels; much smaller ones it has hardly seen."
    )


def _origin(facts: ModelFacts) -> str:
    card = facts.card
    written = f"torch {torch.__version__}" + (f", opset {OPSET}" if facts.file.endswith(".onnx") else "")
    lines = [f"- Exported by softdet {softdet.__version__} ({written})."]
    if facts.training is not None and facts.training.environment:
        known = facts.training.environment
        versions = ", ".join(f"{name} {known[name]}" for name in ("softdet", "torch", "python") if name in known)
        lines.append(f"- Trained with {versions} on {known.get('device', 'an unknown device')}.")
    digests = {"weights": facts.weights, **card.digests}
    lines.append("- SHA-256: " + ", ".join(f"{name} `{value[:12]}`" for name, value in digests.items() if value) + ".")
    lines.append(f"- Backbone: `{card.architecture['arch']}` of timm.")
    lines.append(
        "- Licence: softdet is Apache-2.0 and claims nothing of what is trained with it. The licences of the images "
        "and of the weights that training started from may bind this model: look there before you pass it on."
    )
    return "\n".join(lines)


def _threshold(card: DetectorCard) -> str:
    return f"{card.operating_threshold:.2f}"


def _percent(value: float | None) -> str:
    """In percent; a dash for what isn't known, which COCO writes as -1."""
    return "-" if value is None or value < 0 else f"{100 * value:.1f}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
