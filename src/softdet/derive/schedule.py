"""How long each phase takes, and what follows from that.

Semi-supervised learning starts when labeled images alone teach little more; before that, a teacher that lags behind
holds the student back (docs/decisions.md, "Real sets"). Measured, all with 8 labeled images a step: a burn-in of 600
steps for raccoon (15 images, one class), 1,000 for cards (30, six), 800 for fod (112, six); and 4,000 steps in all for
raccoon, 4,800 for cards, since 2,000 and 2,400 were too few for their controls.
"""

from __future__ import annotations

import math

_BURN_IN = 600
_BURN_IN_A_CLASS = 60
_MAX_BURN_IN_OF_CLASSES = 2000
_MAX_BURN_IN_LEFT_OUT = 5000
_PASSES = 40
# The semi-supervised steps: so many times the burn-in, and no fewer than served the smallest set.
_SEMI = 1.5
_MIN_SEMI = 3400
MAX_STEPS = 90_000
_BURN_IN_SHARE = 0.4


def burn_in_for(num_images: int, num_classes: int, batch_size: int) -> tuple[int, str]:
    """Steps on labeled images alone, and why."""
    for_classes = min(_BURN_IN + _BURN_IN_A_CLASS * (num_classes - 1), _MAX_BURN_IN_OF_CLASSES)
    for_images = _PASSES * num_images / batch_size
    most = round(_BURN_IN_SHARE * MAX_STEPS)
    if for_images > most:
        return most, f"two fifths of {MAX_STEPS:,} steps, the most that auto takes"
    if for_images > for_classes:
        return _round(for_images), f"{_PASSES} passes over {num_images:,} labeled images at {batch_size} a step"
    further = f", {_BURN_IN_A_CLASS} for each further of the {num_classes}" if num_classes > 1 else ""
    steps = _round(for_classes)
    return steps, (
        f"{_BURN_IN} for one class{further}; {steps * batch_size / num_images:,.0f} passes over the labeled images"
    )


def burn_in_of(num_steps: int) -> tuple[int, str]:
    """The burn-in of a run whose length was given."""
    return round(_BURN_IN_SHARE * num_steps), f"two fifths of the {num_steps:,} steps"


def burn_in_left_out(num_steps: int) -> int:
    """The burn-in of a run for which none was asked for."""
    return min(num_steps // 5, _MAX_BURN_IN_LEFT_OUT)


def steps_after(burn_in: int) -> tuple[int, str]:
    """Steps of the whole run, and why."""
    semi = max(_SEMI * burn_in, _MIN_SEMI)
    total = min(_round(burn_in + semi), max(MAX_STEPS, burn_in))
    return total, f"the burn-in and {total - burn_in:,} steps with unlabeled images"


def steps_of_epochs(epochs: int, num_images: int, batch_size: int) -> tuple[int, str]:
    """Steps of a run whose passes were given."""
    steps = math.ceil(epochs * num_images / batch_size)
    return steps, f"params.epoch: {epochs} passes over {num_images:,} labeled images at {batch_size} a step"


def ema_decay_for(num_steps: int) -> tuple[float, str]:
    """How slowly the teacher follows, and why: it remembers a twentieth of the run, within what is usual."""
    decay = round(min(max(1 - 20 / num_steps, 0.99), 0.9996), 4)
    return decay, f"a memory of {1 / (1 - decay):,.0f} of the {num_steps:,} steps"


def ramp_for(num_steps: int, burn_in: int) -> tuple[int, str]:
    """Over how many steps the unlabeled images gain their weight, and why."""
    semi = max(num_steps - burn_in, 0)
    ramp = min(max(100, round(0.05 * semi)), semi // 4)
    return ramp, f"of the {semi:,} steps with unlabeled images"


def evaluation_interval(num_steps: int) -> tuple[int, str]:
    """Steps between evaluations, and why."""
    every = min(max(100, math.ceil(num_steps / 10)), num_steps)
    times = math.ceil(num_steps / every)
    return every, "once a run" if times == 1 else f"{times} times a run"


def _round(steps: float) -> int:
    return max(100, math.ceil(steps / 100) * 100)
