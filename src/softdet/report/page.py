"""The report: one HTML file that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import softdet
from softdet.errors import DataError
from softdet.report.advice import advise
from softdet.report.chance import may_be_chance
from softdet.report.facts import Box, Judged, RunFacts
from softdet.report.looks import Look
from softdet.report.style import Plot, inline, share
from softdet.report.tags import place_tags
from softdet.report.thumbnails import Thumbnail, kept_thumbnail, thumbnail_of

_NUM_PICTURED = 6
_PICTURED_SIDE = 480
# More would make a file that mail refuses.
_MOST_WATCHED = 24
_MOST_LOOKS = 16


def render_page(facts: RunFacts, plots: Sequence[Plot]) -> str:
    """Write the page.

    Whatever comes from users, such as class names and paths, is escaped. The page may load nothing: its own policy
    forbids it.

    Args:
        facts: of the run.
        plots: the drawn ones; each has a place by its name, and those that aren't there are left out.
    """
    environment = Environment(
        loader=PackageLoader("softdet.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["share"] = share
    # The letters of a plot are escaped where it is drawn.
    drawn = {
        plot.name: {"title": plot.title, "alt": plot.alt, "caption": plot.caption, "svg": Markup(inline(plot))}
        for plot in plots
    }
    thumbnails: dict[str, Thumbnail] = {}
    worst, best = _extremes(facts.diagnosis.images if facts.diagnosis else ())
    return environment.get_template("report.html").render(
        version=softdet.__version__,
        facts=facts,
        name=facts.path.resolve().name,
        headline=_headline(facts),
        lede=_lede(facts),
        gain=_gain(facts),
        plots=drawn,
        advice=advise(facts),
        rows=_class_rows(facts),
        worst=[_pictured(image, f"w{place}", facts.class_names, thumbnails) for place, image in enumerate(worst)],
        best=[_pictured(image, f"b{place}", facts.class_names, thumbnails) for place, image in enumerate(best)],
        gallery=_gallery(facts, thumbnails),
        findings=_findings(facts.doctor),
        saw_a_sample=(facts.doctor or {}).get("is_sample") is True,
        thumbnails=thumbnails,
    )


def _headline(facts: RunFacts) -> str:
    gain = _gain(facts)
    if gain is not None:
        won = 100 * gain["difference"]
        if gain["winner"] == "supervised":
            return "No gain from the unlabeled images: the supervised model was kept"
        is_chance = may_be_chance(gain["low"], gain["high"], gain.get("num_images"))
        chance = ", which may be chance" if is_chance else ""
        return f"The unlabeled images brought {won:+.1f} mAP{chance}"
    curve = facts.history.of("valid_AP")
    if not facts.history.columns:
        return "Nothing was logged yet"
    if not facts.is_finished:
        reached = f", mAP {share(curve[max(curve)])} so far" if curve else ""
        return f"Unfinished: step {facts.history.last_step:,} of {facts.num_steps or 0:,}{reached}"
    if facts.evaluation is not None:
        return f"{'Soft Teacher' if facts.is_semi else 'Supervised'}: mAP {share(facts.evaluation['AP'])}"
    return "No evaluation was kept"


def _lede(facts: RunFacts) -> str:
    """What was learned and from what, and which of the run's detectors the result is."""
    parts = [facts.line]
    curve = facts.history.of("valid_AP")
    if facts.outcome is None and facts.evaluation and facts.step in curve and facts.step != max(curve):
        parts.append(
            f"The result is the detector of step {facts.step:,}, the best of {len(curve)} evaluations on the same "
            f"images ({share(curve[facts.step])}), and so looks a little better than it is."
        )
    names = ", ".join(facts.class_names[:6]) + (
        f" and {len(facts.class_names) - 6} more" * (len(facts.class_names) > 6)
    )
    if facts.labeled and facts.valid:
        learned = f"It finds {names}, learned from {_images(facts.labeled.num_images, 'labeled')}"
        learned += f" and {_images(facts.unlabeled.num_images, 'unlabeled')}" if facts.unlabeled else ""
        parts.append(f"{learned}, and judged on {_images(facts.valid.num_images, 'validation')}.")
    return " ".join(filter(None, parts))


def _images(count: int, kind: str) -> str:
    return f"{count:,} {kind} image" + ("" if count == 1 else "s")


def _gain(facts: RunFacts) -> dict[str, Any] | None:
    """The gain that is reported, with what's needed to draw its interval on a scale of percent."""
    outcome = facts.outcome or {}
    split = outcome.get("reported_on", "valid")
    gain = (outcome.get("gains") or {}).get(split)
    if not gain:
        return None
    ends = [100 * gain[name] for name in ("low", "high", "difference")]
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = 0.12 * (high - low) or 1.0
    low, high = low - margin, high + margin
    places = {name: 100 * (100 * gain[name] - low) / (high - low) for name in ("low", "high", "difference")}
    return gain | {"split": split, "winner": outcome.get("winner"), "places": places, "zero": -100 * low / (high - low)}


def _class_rows(facts: RunFacts) -> list[dict[str, Any]]:
    scored = {row["name"]: row for row in (facts.evaluation or {}).get("per_class") or []}
    gains = facts.gain_by_class()
    rows = []
    for label, name in enumerate(facts.class_names or tuple(scored)):
        row, points = scored.get(name, {}), (float("nan"), float("nan"))
        if facts.diagnosis is not None:
            points = tuple(facts.diagnosis.class_points[label].tolist())
        rows.append(
            {
                "name": name,
                "labeled": _count(facts.labeled, label),
                "valid": row.get("num_boxes", _count(facts.valid, label)),
                "AP": row.get("AP", -1.0),
                "AP50": row.get("AP50", -1.0),
                "precision": points[0],
                "recall": points[1],
                "gain": gains.get(name),
            }
        )
    return rows


def _count(images: Any, label: int) -> int | None:
    return images.boxes_by_class[label] if images and images.boxes_by_class else None


def _extremes(images: Sequence[Judged]) -> tuple[list[Judged], list[Judged]]:
    """The images with most wrong, and those with most right; none stands in both."""
    judged = [image for image in images if image.truth or image.found]
    worst = sorted(judged, key=lambda image: (image.f1, -sum(image.counts[1:])))
    worst = [image for image in worst if image.f1 < 1][:_NUM_PICTURED]
    rest = [image for image in judged if image not in worst and image.counts[0]]
    return worst, sorted(rest, key=lambda image: (-image.f1, -image.counts[0]))[:_NUM_PICTURED]


def _pictured(image: Judged, key: str, class_names: Sequence[str], thumbnails: dict[str, Thumbnail]) -> dict[str, Any]:
    right, wrong, missed = image.counts
    shown: dict[str, Any] = {
        "key": key,
        "name": image.name,
        "right": right,
        "wrong": wrong,
        "missed": missed,
        "failure": "",
    }
    try:
        small = thumbnails[key] = thumbnail_of(image.path, image.size, _PICTURED_SIDE)
    except DataError as error:
        return shown | {"failure": str(error)}
    letters = 0.05 * small.width
    for who, boxes in (("truth", image.truth), ("found", image.found)):
        shown[who] = _drawn_boxes(boxes, class_names, small, letters)
    return shown | {"width": small.width, "height": small.height, "letters": letters}


def _drawn_boxes(
    boxes: Sequence[Box], class_names: Sequence[str], small: Thumbnail, letters: float
) -> list[dict[str, Any]]:
    size = (small.width, small.height)
    corners = [tuple(side * part for side, part in zip((*size, *size), box.corners, strict=True)) for box in boxes]
    texts = [class_names[box.label] + ("" if box.score is None else f" {box.score:.2f}") for box in boxes]
    tags = place_tags([(each[0], each[1]) for each in corners], texts, letters, size)
    return [
        {
            "x": x0,
            "y": y0,
            "width": max(1.0, x1 - x0),
            "height": max(1.0, y1 - y0),
            "text": text,
            "tag": tag,
            "is_right": box.is_right,
        }
        for box, (x0, y0, x1, y1), text, tag in zip(boxes, corners, texts, tags, strict=True)
    ]


def _gallery(facts: RunFacts, thumbnails: dict[str, Thumbnail]) -> dict[str, Any] | None:
    """What the page's script draws the gallery from; None where there is none."""
    if not facts.looks or facts.gallery is None:
        return None
    looks = _spread(facts.looks, _MOST_LOOKS)
    last = looks[-1]
    images = []
    for place, watched in enumerate(last.images[:_MOST_WATCHED]):
        try:
            small = thumbnails[f"g{place}"] = kept_thumbnail(facts.gallery / watched.image)
        except OSError:
            continue
        images.append({"place": place, "name": watched.source, "width": small.width, "height": small.height})
    thresholds = last.thresholds or (0.5,)
    return {
        "classes": list(facts.class_names),
        "images": images,
        "num_watched": len(last.images),
        "density": facts.labeled.density if facts.labeled and facts.labeled.boxes_by_class else None,
        "threshold": round(sum(thresholds) / len(thresholds), 3),
        "class_targets": last.class_targets,
        "looks": [
            {
                "step": look.step,
                "images": [
                    {
                        who: [
                            [*(round(value, 4) for value in seen.corners), seen.label, round(seen.score, 3)]
                            + ([] if seen.fate is None else [seen.fate, seen.uncertainty])
                            for seen in getattr(watched, who)
                        ]
                        for who in ("teacher", "student")
                    }
                    for watched in look.images[:_MOST_WATCHED]
                ],
            }
            for look in looks
        ],
    }


def _spread(looks: Sequence[Look], most: int) -> list[Look]:
    """So many of them, evenly spread, with the first and the last."""
    if len(looks) <= most:
        return list(looks)
    return [looks[round(place * (len(looks) - 1) / (most - 1))] for place in range(most)]


def _findings(doctor: dict[str, Any] | None) -> list[dict[str, str]] | None:
    """Doctor's findings, read with care: another version may have written them."""
    if doctor is None:
        return None
    entries = doctor.get("findings")
    return [
        {key: str(entry.get(key, "")) for key in ("level", "code", "message", "fix", "count")}
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict)
    ]
