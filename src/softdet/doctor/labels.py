"""Classes: unknown ids, names that differ between the lists, classes that nobody labeled or that validation lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from softdet.doctor.findings import Finding, Place, found
from softdet.doctor.pools import Labels, Pool

# Fewer boxes make a class's AP a matter of chance.
_FEW = 5
_IMBALANCE = 20


def check_classes(pools: Sequence[Pool]) -> list[Finding]:
    """Check the classes of the labeled pools, each by itself and against each other.

    Args:
        pools: all of them; those without labels don't matter here.
    """
    labeled = [(pool, pool.labels) for pool in pools if pool.labels is not None]
    findings = [finding for pool, labels in labeled for finding in _unknown(pool, labels)]
    training = next(((pool, labels) for pool, labels in labeled if pool.name == "labeled"), None)
    if training is None:
        return findings
    pool, labels = training
    findings += _of_training(pool, labels)
    for other, other_labels in labeled:
        if other is not pool:
            findings += _against(labels, other, other_labels)
    return findings


def count_classes(labels: Labels) -> Counter[str]:
    """How many boxes each class has; ignored regions don't count, classes without a box do with 0."""
    counts = Counter(dict.fromkeys(labels.names.values(), 0))
    for category, is_ignored in zip(labels.category, labels.is_ignored.tolist(), strict=True):
        if not is_ignored and category in labels.names:
            counts[labels.names[category]] += 1
    return counts


def _unknown(pool: Pool, labels: Labels) -> list[Finding]:
    ignored = labels.is_ignored.tolist()
    bad = [n for n, category in enumerate(labels.category) if category not in labels.names and not ignored[n]]
    ids = sorted({str(labels.category[number]) for number in bad})
    return found(
        "error",
        "category-unknown",
        [Place(pool.pictures[labels.picture[n]].name, f"{labels.where[n]}: {labels.category[n]}") for n in bad],
        f"{pool.name}: boxes of the category ids {', '.join(ids[:5])}, where the list names {_listed(labels)}; "
        "training refuses the list (ids are often shifted by one when a file is converted)",
        "Export the file anew, or add the missing categories.",
    )


def _of_training(pool: Pool, labels: Labels) -> list[Finding]:
    counts = count_classes(labels)
    if not any(counts.values()):
        where = [Place(pool.source)]
        message = f"labeled: not one box in {len(pool.pictures)} images"
        return found("error", "no-boxes", where, message, "Was the right file named? Training needs labeled boxes.")
    without = [name for name, count in counts.items() if count == 0]
    findings = found(
        "warning",
        "class-without-labels",
        [Place(name) for name in without],
        f"labeled: classes without a single box among {len(counts)}; they can't be learned, nor pseudo-labeled",
        "Label a few images of each, or take the class out of the list.",
    )
    most, least = max(counts, key=lambda n: counts[n]), min((n for n in counts if counts[n]), key=lambda n: counts[n])
    if counts[most] >= _IMBALANCE * counts[least]:
        rows = [Place(name, _boxes(count)) for name, count in counts.most_common()]
        message = (
            f"labeled: {most} has {counts[most]} boxes, {least} {counts[least]}; rare classes learn slowly and are "
            "found last in unlabeled images"
        )
        findings += found("note", "class-imbalance", rows, message, "Label next what shows the rare classes.")
    return findings + _background(pool, labels)


def _background(pool: Pool, labels: Labels) -> list[Finding]:
    has_box = set(labels.picture.tolist())
    empty = [Place(picture.name) for number, picture in enumerate(pool.pictures) if number not in has_box]
    level = "warning" if 2 * len(empty) > len(pool.pictures) else "note"
    return found(
        "warning" if level == "warning" else "note",
        "images-without-boxes",
        empty,
        f"labeled: {len(empty)} of {len(pool.pictures)} images have no box and are learned as pure background",
        "Right where they show no object; else label them, or move them to the unlabeled images.",
    )


def _against(training: Labels, pool: Pool, labels: Labels) -> list[Finding]:
    own, other = count_classes(training), count_classes(labels)
    findings = _names_differ(own, pool, other) + _ids_differ(training, pool, labels)
    known = [name for name in own if own[name]]
    absent = [name for name in known if not other[name]]
    is_another_set = len(absent) == len(known)
    findings += found(
        "error" if is_another_set else "warning",
        f"class-not-in-{pool.name}",
        [Place(name, f"{own[name]} labeled boxes") for name in absent],
        f"{pool.name}: no box of {len(absent)} of {len(known)} classes that are trained; their AP can't be measured",
        f"Is it another set? Name the right one with --{pool.name}."
        if is_another_set
        else f"Put images of them into {pool.name}: softdet prepare splits by class.",
    )
    few = [name for name in known if 0 < other[name] < _FEW]
    return findings + found(
        "note",
        f"class-rare-in-{pool.name}",
        [Place(name, _boxes(other[name])) for name in few],
        f"{pool.name}: fewer than {_FEW} boxes of a class; its AP is a matter of chance",
        "Read the mean over all classes rather than theirs.",
    )


def _names_differ(own: Counter[str], pool: Pool, other: Counter[str]) -> list[Finding]:
    strange = [name for name in other if name not in own and other[name]]
    plain = {_plain(name): name for name in own}
    twins = [(name, plain[_plain(name)]) for name in strange if _plain(name) in plain]
    reason = f"; {twins[0][0]!r} and {twins[0][1]!r} are the same name spelled differently" if twins else ""
    return found(
        "error",
        "classes-differ",
        [Place(name, _boxes(other[name])) for name in strange],
        f"{pool.name}: classes that the labeled list doesn't know ({_short(list(own))}); training refuses the "
        f"list{reason}",
        "Use the same class names in all lists.",
    )


def _ids_differ(training: Labels, pool: Pool, labels: Labels) -> list[Finding]:
    crossed = [
        Place(f"id {number}", f"{training.names[number]} in labeled, {name} in {pool.name}")
        for number, name in labels.names.items()
        if training.has_ids and labels.has_ids and training.names.get(number, name) != name
    ]
    return found(
        "warning",
        "class-order-differs",
        crossed,
        f"{pool.name}: the same category id has another name than in labeled. Names count here, so nothing is lost if "
        "they are right; often one of the files was written with another order of classes; then its names are wrong",
        "Look at some boxes of each; export both files with one class list.",
    )


def _boxes(count: int) -> str:
    return f"{count} box" + ("" if count == 1 else "es")


def _plain(name: str) -> str:
    return name.strip().casefold().replace("-", " ").replace("_", " ")


def _listed(labels: Labels) -> str:
    return _short([f"{number} = {name}" for number, name in labels.names.items()]) or "none"


def _short(words: Sequence[str]) -> str:
    return ", ".join(words[:8]) + (f" and {len(words) - 8} more" if len(words) > 8 else "")
