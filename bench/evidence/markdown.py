"""The results as tables in Markdown files, between markers that stay where a person has put them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from evidence.results import (
    ALL_LABELS,
    CONTROL,
    TUNED,
    Results,
    digest_of,
    gain,
    on_folds_of,
    pooled_gain,
    share,
    spread_of_draws,
)
from evidence.rows import Row
from evidence.table import Group, Job
from softdet.errors import DataError
from softdet.files import whole_file

# Below this a share of the gap is mostly noise.
_SMALL_GAP = 0.03
_NOTHING = "-"
_TITLES = {
    CONTROL: "supervised control",
    "soft_teacher_seed": "Soft Teacher, the original's settings",
    TUNED: "Soft Teacher, tuned",
    ALL_LABELS: "all labels",
}


def update_markdown(folder: Path, results: Results) -> None:
    """Write the tables of `results.md` and `method.md` anew between their markers.

    Raises:
        DataError: one of the files isn't there, or lacks a marker.
    """
    tables = {
        "results.md": {
            "accuracy": accuracy_tables(results),
            "control": changes_table(results, "control"),
            "search": changes_table(results, "search"),
        },
        "method.md": {"ablation": ablation_table(results)},
    }
    texts = {}
    for file, bodies in tables.items():
        path = folder / file
        if not path.is_file():
            raise DataError(f"there is no {path} to write the tables into")
        texts[path] = path.read_text(encoding="utf-8")
        for name, body in bodies.items():
            texts[path] = replace_between(texts[path], name, body, str(path))
    for path, text in texts.items():
        with whole_file(path) as draft:
            draft.write_text(text, encoding="utf-8")


def replace_between(text: str, name: str, body: str, source: str = "the text") -> str:
    """Put a body between `<!-- begin: NAME -->` and `<!-- end: NAME -->`; all else stays as it is.

    Raises:
        DataError: one of the markers is missing, stands twice or they are the wrong way round.
    """
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise DataError(f"{source}: {begin} and {end} must stand in it once each, in this order")
    head, rest = text.split(begin)
    return f"{head}{begin}\n\n{body}\n\n{end}{rest.split(end)[1]}"


def accuracy_tables(results: Results) -> str:
    """Every arm on every set that has runs, then the share of the gap."""
    folds = results.table.report_folds
    tuning = results.table.tuning_fold
    arms = list(results.table.groups["main"].arms)
    sets = [name for name in results.table.sets if any(results.of(name, arm) for arm in arms)]
    head = ["set", "arm", *(f"fold {fold}" for fold in folds), "mean (sd)", "AP50", "class-agnostic AP"]
    lines = [
        [
            name,
            title(arm),
            *(_of_fold(results, name, arm, fold) for fold in folds),
            _mean_and_sd(results.reported(name, arm)),
            _mean([row.AP50 for row in results.reported(name, arm)]),
            _mean([row.AP_agnostic for row in results.reported(name, arm)]),
            _of_fold(results, name, arm, tuning),
        ]
        for name in sets
        for arm in arms
        if results.of(name, arm)
    ]
    parts = [markdown_table([*head, f"fold {tuning} (tuned on)"], lines), _share_table(results, sets)] if sets else []
    missing = {title(arm): [name for name in sets if not results.of(name, arm)] for arm in arms}
    idle = [f"{arm} on {', '.join(names)}" for arm, names in missing.items() if names]
    idle += [f"anything on {name}" for name in results.table.sets if name not in sets]
    return "\n\n".join([*parts, *_not_run_yet(idle)])


def changes_table(results: Results, group_name: Group) -> str:
    """What the arms of a group make of the arm that they change, on the group's folds.

    Args:
        results: of all runs.
        group_name: a group of one change each; the table may lack it.
    """
    group = results.table.groups.get(group_name)
    if group is None:
        return markdown_table([], [])
    start = group.against
    lines = []
    for name in group.sets or results.table.sets:
        changed = []
        for arm in group.arms:
            rows, same_folds = results.of(name, arm), on_folds_of(results, name, start, arm)
            # On some sets an arm may be no change at all.
            if [row.digest for row in rows] != [row.digest for row in same_folds]:
                own = [row.fold for row in rows] if group.arms[arm].folds else []
                mark = f" (fold{'s' * (len(own) > 1)} {_listed(own)})" if own else ""
                there = f" (from {_mean([row.AP for row in same_folds])})" if own else ""
                compared = _signed(gain(rows, same_folds)) + there
                changed.append([name, title(arm) + mark, *_ap_and_ap50(rows), compared])
        if changed:
            before = [row for row in results.of(name, start) if row.fold in group.folds]
            lines += [[name, f"**{title(start)}**", *_ap_and_ap50(before), ""], *changed]
    folds = _listed(group.folds)
    return markdown_table(["set", "arm", f"AP (fold {folds} unless said)", "AP50", f"against {title(start)}"], lines)


def ablation_table(results: Results) -> str:
    """What one change each makes of the tuned setting."""
    group = results.table.groups["ablation"]
    start = group.against
    folds = _listed(group.folds)
    all_sets = group.sets or tuple(results.table.sets)
    sets = [name for name in all_sets if any(results.of(name, arm) for arm in group.arms)]
    if not sets:
        return markdown_table([], [])
    idle = []
    head = ["change", *(f"{name}: {what}" for name in sets for what in (f"fold {folds}", "mean", "gain"))]
    lines = [[f"**none ({title(start)})**", *(cell for name in sets for cell in _ablated(results, name, start, start))]]
    for arm in group.arms:
        if arm == start:
            continue
        if not any(results.of(name, arm) for name in sets):
            idle.append(title(arm))
            continue
        cells = [cell for name in sets for cell in _ablated(results, name, arm, start)]
        same = [name for name in sets if _is_no_change(results, name, arm, start)]
        mark = f" (no change on {', '.join(same)})" if same else ""
        lines.append([title(arm) + mark, *cells])
    idle += [f"anything on {name}" for name in all_sets if name not in sets]
    return "\n\n".join([markdown_table(head, lines), *_not_run_yet(idle)])


def title(arm: str) -> str:
    """An arm's name for people."""
    return _TITLES.get(arm, arm.replace("_", " "))


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; without lines, a sentence that says so."""
    if not lines:
        return "Not run yet."
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def _not_run_yet(what: Sequence[str]) -> list[str]:
    return [f"Not run yet: {'; '.join(what)}."] if what else []


def _share_table(results: Results, sets: Sequence[str]) -> str:
    arms = [arm for arm in results.table.groups["main"].arms if arm not in (CONTROL, ALL_LABELS)]
    shares = {arm: {name: share(results, name, arm) for name in sets} for arm in arms}
    found = {name: share(results, name, metric="AP50") for name in sets}
    lines, small, below = [], [], []
    for name in sets:
        ahead = gain(results.reported(name, ALL_LABELS), results.reported(name, CONTROL))
        gained = gain(results.reported(name, TUNED), results.reported(name, CONTROL))
        small += [name] if ahead is not None and ahead < _SMALL_GAP else []
        below += [name] if gained is not None and gained < 0 else []
        lines.append([name, _signed(ahead), *(_percent(shares[arm][name]) for arm in arms), _percent(found[name])])
    means = []
    for column in (*shares.values(), found):
        known = {name: value for name, value in column.items() if value is not None}
        means.append(f"**{_percent(fmean(known.values()))}** ({', '.join(known)})" if known else _NOTHING)
    table = markdown_table(
        [
            "set",
            "all labels - control",
            *(f"share closed by {title(arm)}" for arm in arms),
            f"of the gap in AP50 by {title(TUNED)}",
        ],
        [*lines, ["mean", "", *means]],
    )
    notes = [f"The gap is under 3 AP on {', '.join(small)}: its shares say little."] if small else []
    notes += [f"Tuned Soft Teacher is below its control on {', '.join(below)}."] if below else []
    if pooled := pooled_gain(results):
        notes.append(
            f"Tuned Soft Teacher against its control, over all pairs of runs of one set, fold and seed: "
            f"{_signed(pooled['mean'])} (standard error {100 * pooled['standard_error']:.1f}), ahead in "
            f"{pooled['ahead']} of {pooled['pairs']}."
        )
    if spread := spread_of_draws(results):
        notes.append(
            f"Runs of one config, fold and seed that were made again spread by "
            f"{100 * spread['std']:.1f} (standard deviation; {spread['runs']} such in all tables)."
        )
    return "\n\n".join([table, *notes])


def _ap_and_ap50(rows: Sequence[Row]) -> list[str]:
    return [_mean([row.AP for row in rows]), _mean([row.AP50 for row in rows])]


def _ablated(results: Results, name: str, arm: str, start: str) -> list[str]:
    folds = results.table.groups["ablation"].folds
    rows = results.reported(name, arm)
    gained = "" if arm == start else _signed(gain(rows, on_folds_of(results, name, start, arm)))
    return [", ".join(_of_fold(results, name, arm, fold) for fold in folds), _mean([row.AP for row in rows]), gained]


def _is_no_change(results: Results, name: str, arm: str, start: str) -> bool:
    table = results.table
    fold = table.groups["ablation"].folds[0]
    jobs = (Job(name, each, fold, table.seed) for each in (arm, start))
    return len({digest_of(table, job) for job in jobs}) == 1


def _of_fold(results: Results, name: str, arm: str, fold: int) -> str:
    """Seeds after a slash; how many runs it is the mean of, where it is of several."""
    cells = []
    for row in results.of(name, arm):
        if row.fold == fold:
            draws = len(results.draws[name, arm, row.fold, row.seed])
            cells.append(f"{100 * row.AP:.1f}" + (f" ({draws} runs)" if draws > 1 else ""))
    return " / ".join(cells) or _NOTHING


def _mean_and_sd(rows: Sequence[Row]) -> str:
    values = [row.AP for row in rows]
    return _mean(values) + (f" ({100 * stdev(values):.1f})" if len(values) > 1 else "")


def _mean(values: Sequence[float]) -> str:
    return f"{100 * fmean(values):.1f}" if values else _NOTHING


def _signed(value: float | None) -> str:
    # Adding 0 makes the zero of a small loss a plain one.
    return _NOTHING if value is None else f"{round(100 * value, 1) + 0:+.1f}"


def _percent(value: float | None) -> str:
    return _NOTHING if value is None else f"{100 * value:.0f}%"


def _listed(folds: Sequence[int]) -> str:
    return ", ".join(map(str, folds))
