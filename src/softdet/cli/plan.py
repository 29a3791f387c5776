"""What `softdet train` is about to do, and how long that takes."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_fabric import Fabric
from rich.table import Column, Table

from softdet import builders
from softdet.builders.rehearsal import FEW_BURN_IN_STEPS, Measured, fit_hours, phases_of, rehearse
from softdet.builders.settings import Decided, decide, with_values
from softdet.cli.output import console, say
from softdet.config import Config
from softdet.derive.settings import RULES, Setting, short
from softdet.engine.progress import format_seconds
from softdet.errors import ConfigError


def settle_settings(
    settings: Config, data: builders.Data, fabric: Fabric, *, max_hours: float | None, measure: bool
) -> tuple[Decided, Measured | None]:
    """Derive what is left to `auto`, and make the schedule fit the hours.

    Args:
        settings: as written.
        data: from `load_data`.
        fabric: launched.
        max_hours: the longest that the run may take; None for as long as it takes.
        measure: measure it in any case.

    Returns:
        The decided settings; and what was measured, if it was.
    """
    decided = decide(settings, data, fabric)
    if max_hours is None and not measure:
        return decided, None
    if fabric.is_global_zero:
        say("measuring a few steps of each kind ...")
    measured = rehearse(decided.config, data, fabric)
    fitted = {} if max_hours is None else fit_hours(decided.config, data, measured, max_hours)
    if fitted:
        again = decide(with_values(settings, fitted), data, fabric)
        planned = {"params.iterations": builders.count_steps(decided.config, len(data.train))}
        planned["soft_teacher.burn_in_steps"] = builders.count_burn_in(decided.config, planned["params.iterations"])
        shorter = [
            Setting(key, value, f"{planned[key]:,} would take longer than --max-hours {max_hours:g}")
            for key, value in fitted.items()
        ]
        order = list(RULES)
        decided = Decided(again.config, tuple(sorted((*again.settings, *shorter), key=lambda s: order.index(s.key))))
    return decided, measured


def print_plan(decided: Decided, data: builders.Data, fabric: Fabric, measured: Measured | None) -> None:
    """Print what is trained on what, with which settings and why, and what it takes."""
    say(_data_lines(decided.config, data, fabric))
    if decided.settings:
        say(_settings_lines(decided.settings))
    if measured:
        _print_cost(decided.config, data, measured)


def check_hours(max_hours: float | None) -> None:
    """Refuse a time that is none.

    Raises:
        ConfigError: it is 0 or below.
    """
    if max_hours is not None and not max_hours > 0:
        raise ConfigError(f"--max-hours {max_hours:g}: write a number above 0, for example 2 or 0.5")


def _data_lines(settings: Config, data: builders.Data, fabric: Fabric) -> str:
    num_steps = builders.count_steps(settings, len(data.train))
    num_classes = len(data.train.class_names)
    lines = [
        f"device: {fabric.device.type}",
        f"labeled: {len(data.train)} images, {sum(len(r.labels) for r in data.train.images)} boxes, "
        f"{num_classes} class{'es' if num_classes > 1 else ''}; validation: {len(data.valid)} images"
        + (f"; test: {len(data.test)} images" if data.test else ""),
    ]
    if data.unlabeled is None:
        lines.append(f"supervised control: {num_steps} steps")
    else:
        burn_in = builders.count_burn_in(settings, num_steps)
        lines.append(f"unlabeled: {len(data.unlabeled)} images; {num_steps} steps, of which {burn_in} burn-in")
    if builders.has_control(settings):
        lines.append("two arms that share the burn-in: the supervised control first, then Soft Teacher")
    for index in (data.train, data.valid, data.test):
        if index and index.dropped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in index.dropped.items())
            lines.append(f"left out boxes of {index.source}: {reasons}")
    return "\n".join(lines)


def _settings_lines(settings: Sequence[Setting]) -> str:
    """A line for each, since a table would break its reasons into pieces where there are 80 columns."""
    shown = [(key, _shown(value), reason) for key, value, reason in settings]
    keys, values = (max(len(row[column]) for row in shown) for column in (0, 1))
    return "\n".join(f"{key:{keys}}  {value:{values}}  = {reason}" for key, value, reason in shown)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        if len(value) == 2 and all(isinstance(side, int) for side in value):
            return "x".join(map(str, value))
        return ", ".join(_shown(item) for item in value)
    return short(value) if isinstance(value, float) else str(value)


def _print_cost(settings: Config, data: builders.Data, measured: Measured) -> None:
    phases = phases_of(settings, data, measured)
    table = Table(
        "phase", *(Column(name, justify="right") for name in ("steps", "labeled images", "unlabeled", "each", "time"))
    )
    for phase in phases:
        name, *numbers = (phase.name, phase.steps, phase.labeled, phase.unlabeled)
        of_valid = name == "evaluation"
        shown = [f"{number:,}" if number else "" for number in numbers]
        each = phase.seconds / max(phase.steps, 1)
        table.add_row(
            f"{name} ({len(data.valid)} images)" if of_valid else name,
            shown[0],
            "" if of_valid else shown[1],
            shown[2],
            f"{each:.2f} s" if each < 10 else format_seconds(each),
            format_seconds(phase.seconds),
        )
    table.add_section()
    table.add_row("all", "", "", "", "", format_seconds(sum(phase.seconds for phase in phases)))
    console.print(table)
    say(f"memory: {measured.memory_gb:.1f} GB" + _of_pieces(measured))
    burn_in = phases[0].steps
    if settings.soft_teacher.enabled and burn_in < FEW_BURN_IN_STEPS:
        say(
            f"warning: {burn_in} steps of burn-in are few. Before the labeled images alone teach no more, unlabeled "
            "ones may hold the student back. Allow more hours, or don't count on a gain."
        )


def _of_pieces(measured: Measured) -> str:
    if measured.pieces == 1:
        return ""
    return f", in {measured.pieces} pieces a step: whole it didn't fit"
