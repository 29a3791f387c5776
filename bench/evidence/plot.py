"""What one change each gains, as a picture."""

from __future__ import annotations

from statistics import fmean

from evidence.markdown import title
from evidence.results import Results, gains, on_folds_of
from evidence.table import Group
from softdet.report.style import CYCLE, INK, Plot, figure, finished


def plot_gains(results: Results, group_name: Group) -> Plot | None:
    """Draw how far each arm of a group is from the arm that it changes: each fold a point, their mean a bar.

    Args:
        results: of all runs.
        group_name: a group of one change each.

    Returns:
        None where no arm of the group has run.
    """
    group = results.table.groups.get(group_name)
    if group is None:
        return None
    start = group.against
    gained_by = {
        (arm, name): gained
        for arm in group.arms
        for name in group.sets or results.table.sets
        if (gained := _gains(results, name, arm, start))
    }
    if not gained_by:
        return None
    arms = [arm for arm in group.arms if any(arm == shown for shown, _ in gained_by)]
    sets = [name for name in results.table.sets if any(name == shown for _, shown in gained_by)]
    height = 0.8 / len(sets)
    with figure(7.5, 1.2 + 0.22 * len(arms) * max(1.4, len(sets))) as (made, (axes,)):
        for number, (name, colour) in enumerate(zip(sets, CYCLE, strict=False)):
            for row, arm in enumerate(arms):
                if found := gained_by.get((arm, name)):
                    place = row + (number - (len(sets) - 1) / 2) * height
                    axes.barh(place, fmean(found), height * 0.85, color=colour, alpha=0.55)
                    axes.scatter(found, [place] * len(found), s=14, color=colour, zorder=3)
            axes.barh(0, 0, color=colour, alpha=0.55, label=name)
        axes.axvline(0, color=INK, linewidth=0.9)
        axes.set_yticks(range(len(arms)), [title(arm) for arm in arms])
        axes.set_ylim(len(arms) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"AP against {title(start)}; bars: mean, points: folds")
        axes.legend(loc="best")
        words = "; ".join(f"{title(arm)} on {name} {fmean(found):+.1f}" for (arm, name), found in gained_by.items())
        return finished(made, f"gains_{group_name}", "What one change each gains", f"AP gained: {words}")


def _gains(results: Results, set_name: str, arm: str, start: str) -> list[float]:
    """In percent, a fold each; none where the arm is that which it changes."""
    rows, before = results.of(set_name, arm), on_folds_of(results, set_name, start, arm)
    if [row.digest for row in rows] == [row.digest for row in before]:
        return []
    return [100 * gained for gained in gains(rows, before)]
