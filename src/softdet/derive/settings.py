"""What each `auto` becomes. A rule sees what was asked for or derived before it, so that one value fits the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from softdet.derive import fitting, schedule
from softdet.derive.facts import Facts

AUTO = "auto"

_CPU_BATCH = 8
_GPU_BATCHES = (32, 16, 8)
_PART_OF_IMAGES = 8
# Estimated for Res50 with 256 channels: what a step keeps for its backward pass is 1,200 bytes for each pixel of each
# image that the student sees (counted); losses, the teacher and workspace are half of that again.
_BYTES_A_PIXEL = 1800
_USABLE = 0.8
_POOL_FACTOR = 10

# Learning rates that served at 8 labeled images a step.
_RATE_SMALL = 5e-4
_RATE_RESNET = 1e-4
_RATE_SGD = 5e-3
_RATE_BATCH = 8


class Setting(NamedTuple):
    """A value that was derived."""

    key: str
    value: Any
    reason: str


_Known = Mapping[str, Any]
_Rule = Callable[[Facts, _Known], tuple[Any, str]]


def derive(asked: Mapping[str, Any], facts: Facts) -> list[Setting]:
    """Derive all that was left to `auto`.

    Args:
        asked: the value of each dotted key, `auto` where it is to be derived; `params.epoch` only if it decides the
            length.
        facts: of the data and the machine.

    Returns:
        The derived ones, in the order of the rules.

    Law: what was asked for stays, and the rest is fitted to it.
    """
    known = dict(asked)
    settings = []
    for key, rule in RULES.items():
        if known.get(key) == AUTO:
            known[key], reason = rule(facts, known)
            settings.append(Setting(key, known[key], reason))
    return settings


def short(number: float) -> str:
    """A number as people write it: 5e-4, .25 as 0.25."""
    if 0 < abs(number) < 0.01:
        digits, _, power = f"{number:.5e}".partition("e-")
        return f"{digits.rstrip('0').rstrip('.')}e-{int(power)}"
    return f"{number:.5g}"


def _arch(facts: Facts, known: _Known) -> tuple[str, str]:
    if facts.machine.has_gpu:
        return "Res50", "there is a GPU"
    return "mobilenetv2_100", "without a GPU a small backbone"


def _fpn_channels(facts: Facts, known: _Known) -> tuple[int, str]:
    return (256, "RetinaNet's own") if facts.machine.has_gpu else (96, "enough for a small backbone, without a GPU")


def _head_convs(facts: Facts, known: _Known) -> tuple[int, str]:
    return (4, "RetinaNet's own") if facts.machine.has_gpu else (2, "enough for a small backbone, without a GPU")


def _image_size(facts: Facts, known: _Known) -> tuple[tuple[int, int], str]:
    return fitting.fit_canvas(facts)


def _anchor_sizes(facts: Facts, known: _Known) -> tuple[tuple[float, ...], str]:
    octaves = known["model.anchor_octaves"]
    return fitting.fit_anchor_sizes(
        facts,
        known["params.image_size"],
        known["model.anchor_ratios"],
        known["params.resize"],
        fitting.OCTAVES if octaves == AUTO else octaves,
    )


def _anchor_octaves(facts: Facts, known: _Known) -> tuple[tuple[float, ...], str]:
    return fitting.fit_anchor_octaves(
        facts,
        known["params.image_size"],
        known["model.anchor_sizes"],
        known["model.anchor_ratios"],
        known["params.resize"],
    )


def _unlabeled_ratio(facts: Facts, known: _Known) -> tuple[float, str]:
    many = facts.num_unlabeled > _POOL_FACTOR * facts.num_labeled
    if many and facts.machine.has_gpu:
        return 2.0, f"{facts.num_unlabeled:,} unlabeled images for {facts.num_labeled:,} labeled ones"
    return 1.0, "as many unlabeled images as labeled ones" + (", without a GPU" if many else "")


def _batch_size(facts: Facts, known: _Known) -> tuple[int, str]:
    machine = facts.machine
    if machine.memory_gb == 0:
        return _CPU_BATCH, "without a GPU" if not machine.has_gpu else "the GPU's memory isn't known"
    # More of few images in a step would only repeat them.
    sensible = [size for size in _GPU_BATCHES if size * machine.num_devices <= facts.num_labeled / _PART_OF_IMAGES]
    # Where the labels are few, several GPUs share what one would take; in even numbers, for pairs to paste.
    fewest = 8 if sensible else max(2, 8 // machine.num_devices)
    each = next((size for size in sensible if _gigabytes(known, size) <= _USABLE * machine.memory_gb), fewest)
    reason = f"about {_gigabytes(known, each):.0f} of {machine.memory_gb:.0f} GB"
    if machine.num_devices > 1:
        reason = f"{machine.num_devices} GPUs with {each} each: {reason}"
    if each < _GPU_BATCHES[0]:
        reason += "; more don't fit" if sensible and each < sensible[0] else "; enough for so few labeled images"
    return each * machine.num_devices, reason


def _accumulate(facts: Facts, known: _Known) -> tuple[int, str]:
    machine, batch = facts.machine, known["params.batch_size"]
    pieces, each = 1, batch // machine.num_devices
    if machine.memory_gb:
        # Where labeled images are mixed with each other, pairs stay together.
        at_once = 2 if known.get("params.mixup") or known.get("params.paste") else 1
        while each % (2 * at_once * pieces) == 0 and _gigabytes(known, each / pieces) > _USABLE * machine.memory_gb:
            pieces *= 2
    if pieces == 1:
        return 1, "a step fits in one piece" if machine.memory_gb else "a step in one piece"
    return pieces, f"about {_gigabytes(known, each):.0f} GB in one piece, and {machine.memory_gb:.0f} are there"


def _lr(facts: Facts, known: _Known) -> tuple[float, str]:
    if known["optimizer.which"] == "SGD":
        base = _RATE_SGD
    else:
        base = _RATE_RESNET if str(known["basenet.arch"]).lower().startswith("res") else _RATE_SMALL
    batch = known["params.batch_size"]
    rate = base * batch / _RATE_BATCH
    return float(f"{rate:.2g}"), f"{short(base)} x {batch}/{_RATE_BATCH} labeled images a step"


def _lr_backbone(facts: Facts, known: _Known) -> tuple[float, str]:
    return known["optimizer.lr"], "as optimizer.lr"


def _burn_in_steps(facts: Facts, known: _Known) -> tuple[int, str]:
    steps = _given_steps(facts, known)
    if steps is not None:
        return schedule.burn_in_of(steps[0])
    return schedule.burn_in_for(facts.num_labeled, facts.num_classes, known["params.batch_size"])


def _iterations(facts: Facts, known: _Known) -> tuple[int, str]:
    burn_in = known["soft_teacher.burn_in_steps"]
    if burn_in is None:
        burn_in, _ = schedule.burn_in_for(facts.num_labeled, facts.num_classes, known["params.batch_size"])
    return _given_steps(facts, known) or schedule.steps_after(burn_in)


def _given_steps(facts: Facts, known: _Known) -> tuple[int, str] | None:
    if known["params.iterations"] not in (None, AUTO):
        return known["params.iterations"], ""
    if known.get("params.epoch") is not None:
        return schedule.steps_of_epochs(known["params.epoch"], facts.num_labeled, known["params.batch_size"])
    return None


def _steps(facts: Facts, known: _Known) -> int:
    steps = _given_steps(facts, known)
    assert steps is not None, "params.iterations has been derived, or the length is that of params.epoch"
    return steps[0]


def _burn_in(known: _Known, num_steps: int) -> int:
    asked = known["soft_teacher.burn_in_steps"]
    return schedule.burn_in_left_out(num_steps) if asked is None else asked


def _ema_decay(facts: Facts, known: _Known) -> tuple[float, str]:
    return schedule.ema_decay_for(_steps(facts, known))


def _ramp_steps(facts: Facts, known: _Known) -> tuple[int, str]:
    steps = _steps(facts, known)
    return schedule.ramp_for(steps, _burn_in(known, steps))


def _evaluate_every(facts: Facts, known: _Known) -> tuple[int, str]:
    return schedule.evaluation_interval(_steps(facts, known))


def _gigabytes(known: _Known, num_labeled: float) -> float:
    rows, columns = known["params.image_size"]
    # The student sees both kinds in one pass.
    images = num_labeled * (1 + known["soft_teacher.unlabeled_ratio"])
    return rows * columns * images * _BYTES_A_PIXEL / 1e9


RULES: dict[str, _Rule] = {
    "basenet.arch": _arch,
    "model.fpn_channels": _fpn_channels,
    "model.head_convs": _head_convs,
    "params.image_size": _image_size,
    "model.anchor_sizes": _anchor_sizes,
    "model.anchor_octaves": _anchor_octaves,
    "soft_teacher.unlabeled_ratio": _unlabeled_ratio,
    "params.batch_size": _batch_size,
    "params.accumulate": _accumulate,
    "optimizer.lr": _lr,
    "basenet.lr_backbone": _lr_backbone,
    "soft_teacher.burn_in_steps": _burn_in_steps,
    "params.iterations": _iterations,
    "soft_teacher.ema_decay": _ema_decay,
    "soft_teacher.ramp_steps": _ramp_steps,
    "params.evaluate_every": _evaluate_every,
}
