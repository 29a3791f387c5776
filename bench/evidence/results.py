"""From rows to results: means over the reported folds, the share of the gap that is closed, and what an arm gains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import Any, Literal

from evidence.rows import Row
from evidence.table import Group, Job, Table, arms_on, config_digest, resolve

CONTROL, TUNED, ALL_LABELS = "supervised", "soft_teacher", "all_labels"
_OF_A_RUN = ("fold", "seed", "AP", "AP50", "AP75", "AP_agnostic", "steps", "digest", "commit")


@dataclass(frozen=True, slots=True)
class Results:
    """The rows that the table asks for, by set and arm, each in the order of fold and seed.

    Attributes:
        table: what was to be run.
        rows: those that serve an arm; one row may serve several. Of a run that was made more than once, one that holds
            the means.
        draws: the AP of each run that one stands for, by set, arm, fold and seed; rounding alone is another draw on
            another machine, so none of them is more right than the others.
    """

    table: Table
    rows: dict[tuple[str, str], tuple[Row, ...]]
    draws: dict[tuple[str, str, int, int], tuple[float, ...]]

    def of(self, set_name: str, arm: str) -> tuple[Row, ...]:
        """All rows of an arm on a set, the tuning fold's among them."""
        return self.rows.get((set_name, arm), ())

    def reported(self, set_name: str, arm: str) -> tuple[Row, ...]:
        """Those of the folds that means are over; none as long as one of these folds has no run."""
        rows = tuple(row for row in self.of(set_name, arm) if row.fold in self.table.report_folds)
        return rows if {row.fold for row in rows} == set(self.table.report_folds) else ()


def collect(table: Table, rows: Sequence[Row]) -> Results:
    """Give each arm of the table the rows of its config; equal ones as their mean. See `stale_rows` for the others."""
    found: dict[tuple[str, str], dict[tuple[int, int], list[Row]]] = {}
    for row in rows:
        for arm in arms_served(table, row):
            found.setdefault((row.set, arm), {}).setdefault((row.fold, row.seed), []).append(row)
    return Results(
        table,
        {key: tuple(mean_of(runs[run]) for run in sorted(runs)) for key, runs in found.items()},
        {(*key, *run): tuple(row.AP for row in same) for key, runs in found.items() for run, same in runs.items()},
    )


def mean_of(rows: Sequence[Row]) -> Row:
    """The last of some rows with the mean of each AP."""
    return replace(
        rows[-1],
        AP=round(fmean(row.AP for row in rows), 6),
        AP50=round(fmean(row.AP50 for row in rows), 6),
        AP75=round(fmean(row.AP75 for row in rows), 6),
        AP_agnostic=round(fmean(row.AP_agnostic for row in rows), 6),
    )


def arms_served(table: Table, row: Row) -> list[str]:
    """The arms whose config on the row's set, fold and seed is the row's."""
    if row.set not in table.sets:
        return []
    arms = arms_on(table, row.set, row.fold)
    return [arm for arm in arms if digest_of(table, Job(row.set, arm, row.fold, row.seed)) == row.digest]


def stale_rows(table: Table, rows: Sequence[Row]) -> list[str]:
    """A line for each row that serves no arm of the table as it is now."""
    lines = []
    for row in rows:
        if not arms_served(table, row):
            known = row.set in table.sets and row.arm in arms_on(table, row.set, row.fold)
            now = f"the table now gives {digest_of(table, row.job)}" if known else "the table has no such run any more"
            lines.append(f"stale: {row.job}: its config was {row.digest}, {now}")
    return lines


def digest_of(table: Table, job: Job) -> str:
    """The digest of a run's config."""
    return config_digest(resolve(table, job), table.neutral)


def share(results: Results, set_name: str, arm: str = TUNED, metric: Literal["AP", "AP50"] = "AP") -> float | None:
    """How much of the gap between the control and all labels an arm closes: (arm - control) / (all - control).

    Of the means over the reported folds. At AP50 it tells how much more is found, whatever the boxes' precision. None
    unless all three arms have the same runs on these folds, and all labels are ahead of the control.
    """
    parts = [results.reported(set_name, name) for name in (CONTROL, arm, ALL_LABELS)]
    runs = {tuple((row.fold, row.seed) for row in part) for part in parts}
    if len(runs) > 1 or not parts[0]:
        return None
    control, semi, everything = (fmean(getattr(row, metric) for row in part) for part in parts)
    return (semi - control) / (everything - control) if everything > control else None


def gain(rows: Sequence[Row], before: Sequence[Row]) -> float | None:
    """The mean of `gains`; None where there are none."""
    return _mean(gains(rows, before))


def gains(rows: Sequence[Row], before: Sequence[Row]) -> list[float]:
    """The difference in AP, a pair of runs each; none where the two haven't the same folds and seeds."""
    if [(row.fold, row.seed) for row in rows] != [(row.fold, row.seed) for row in before]:
        return []
    return [row.AP - other.AP for row, other in zip(rows, before, strict=True)]


def pooled_gain(results: Results, arm: str = TUNED) -> dict[str, float] | None:
    """What an arm gains over the control over all sets and reported folds at once: one run says little, many say more.

    Returns:
        `mean` of the differences in AP between runs of the same set, fold and seed, `standard_error` of that mean, how
        many `pairs` there are and in how many the arm is `ahead`; None for fewer than two pairs.
    """
    differences = [
        row.AP - before.AP
        for name in results.table.sets
        for row in results.reported(name, arm)
        for before in results.reported(name, CONTROL)
        if (row.fold, row.seed) == (before.fold, before.seed)
    ]
    if len(differences) < 2:
        return None
    return {
        "mean": fmean(differences),
        "standard_error": stdev(differences) / math.sqrt(len(differences)),
        "pairs": len(differences),
        "ahead": sum(difference > 0 for difference in differences),
    }


def spread_of_draws(results: Results) -> dict[str, float] | None:
    """How far runs of one config, fold and seed that were made again lie apart: what is chance at least.

    Returns:
        `std`, of the sample, pooled over all of them: sqrt(sum (AP - mean of its draws)^2 / sum (draws - 1)), and how
        many such `runs` there are; None where none was made again.
    """
    # Two arms of one config share their runs.
    again = {(name, fold, seed, draws) for (name, _, fold, seed), draws in results.draws.items() if len(draws) > 1}
    if not again:
        return None
    squares = sum((draw - fmean(draws)) ** 2 for *_, draws in again for draw in draws)
    return {"std": math.sqrt(squares / sum(len(draws) - 1 for *_, draws in again)), "runs": len(again)}


def summarize(results: Results, set_name: str, arm: str) -> dict[str, Any]:
    """An arm on a set: means over the reported folds, and every run.

    Returns:
        AP_mean, AP_std (of the sample), AP50_mean, AP75_mean, AP_agnostic_mean, in [0, 1], None as long as one of these
        folds has no run; `runs`, with `tuning` true for those of the tuning fold, which are in none of the means, and
        `draws`, the AP of each run that one is the mean of.
    """
    rows = results.reported(set_name, arm)
    return {
        "AP_mean": _mean([row.AP for row in rows]),
        "AP_std": round(stdev(row.AP for row in rows), 6) if len(rows) > 1 else None,
        "AP50_mean": _mean([row.AP50 for row in rows]),
        "AP75_mean": _mean([row.AP75 for row in rows]),
        "AP_agnostic_mean": _mean([row.AP_agnostic for row in rows]),
        "runs": [
            {name: value for name, value in asdict(row).items() if name in _OF_A_RUN}
            | {
                "draws": list(results.draws[set_name, arm, row.fold, row.seed]),
                "tuning": row.fold == results.table.tuning_fold,
            }
            for row in results.of(set_name, arm)
        ],
    }


def to_json(results: Results) -> dict[str, Any]:
    """The content of `results.json`; sets and arms without a run are left out."""
    table = results.table
    sets: dict[str, Any] = {}
    for set_name in table.sets:
        arms = {
            arm: summarize(results, set_name, arm) for arm in table.groups["main"].arms if results.of(set_name, arm)
        }
        if arms:
            sets[set_name] = arms | {
                "share": _rounded(share(results, set_name)),
                "share_AP50": _rounded(share(results, set_name, metric="AP50")),
            }
    shares = {name: part["share"] for name, part in sets.items() if part["share"] is not None}
    return {
        "unit": "AP in [0, 1], last EMA weights, validation images",
        "report_folds": list(table.report_folds),
        "sets": sets,
        "share_mean": _mean(list(shares.values())),
        "share_mean_over": list(shares),
        "gain": {name: _rounded(value) for name, value in (pooled_gain(results) or {}).items()},
        "draws": {name: _rounded(value) for name, value in (spread_of_draws(results) or {}).items()},
        "ablations": _changes(results, "ablation"),
        "control_checks": _changes(results, "control"),
        "search": _changes(results, "search"),
    }


def _changes(results: Results, name: Group) -> dict[str, Any]:
    """Each arm of a group with what it gains over the arm that it changes, on the group's folds."""
    changes: dict[str, Any] = {}
    group = results.table.groups.get(name)
    if group is None:
        return changes
    for set_name, arm in results.rows:
        if arm in group.arms:
            gained = gain(results.of(set_name, arm), on_folds_of(results, set_name, group.against, arm))
            changes.setdefault(set_name, {})[arm] = summarize(results, set_name, arm) | {"AP_gain": _rounded(gained)}
    return changes


def on_folds_of(results: Results, set_name: str, arm: str, other: str) -> list[Row]:
    """The rows of an arm on the folds and seeds that another arm has."""
    there = {(row.fold, row.seed) for row in results.of(set_name, other)}
    return [row for row in results.of(set_name, arm) if (row.fold, row.seed) in there]


def _mean(values: Sequence[float]) -> float | None:
    return _rounded(fmean(values) if values else None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
