"""Means, shares and gains, worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from bench_tables import full_rows, make_row, make_table

from evidence.results import collect, gain, pooled_gain, share, spread_of_draws, summarize, to_json


def test_means_shares_and_gains_are_those_worked_out_by_hand() -> None:
    table = make_table()
    results = collect(table, full_rows(table))
    found = summarize(results, "drawn", "supervised")
    # .29 and .31: the sample's standard deviation is .02 / sqrt(2).
    assert found["AP_mean"] == pytest.approx(0.30)
    assert found["AP_std"] == pytest.approx(0.0141421, abs=1e-6)
    assert found["AP50_mean"] == pytest.approx(0.60)
    assert found["AP_agnostic_mean"] == pytest.approx(0.40)
    assert [(run["fold"], run["seed"], run["tuning"]) for run in found["runs"]] == [
        (1, 10, True),
        (2, 11, False),
        (3, 12, False),
    ]
    assert share(results, "drawn") == pytest.approx(0.75)
    assert share(results, "drawn", "soft_teacher_seed") == pytest.approx(-0.25)
    everything_found = [replace(row, AP50=0.9) if row.arm == "soft_teacher" else row for row in full_rows(table)]
    # The others find .60 and .80.
    assert share(collect(table, everything_found), "drawn", metric="AP50") == pytest.approx(1.5)

    rows = [*full_rows(table), make_row(table, "threshold_0.7", 2, 0.40), make_row(table, "supervised_long", 1, 0.92)]
    content = to_json(collect(table, rows))
    assert content["sets"]["drawn"]["share"] == content["share_mean"] == pytest.approx(0.75)
    assert content["sets"]["drawn"].keys() == {*table.groups["main"].arms, "share", "share_AP50"}
    changes = content["ablations"]["drawn"]
    # On fold 2 alone, where the tuned setting has .44; the mean waits for fold 3.
    assert changes["threshold_0.7"]["AP_gain"] == pytest.approx(-0.04)
    assert changes["threshold_0.7"]["AP_mean"] is None
    assert changes["threshold_0.5"]["AP_gain"] == 0
    assert content["control_checks"]["drawn"]["supervised_long"]["AP_gain"] == pytest.approx(0.02)
    json.dumps(content)


def test_a_run_that_was_made_again_counts_once_with_the_mean_of_all() -> None:
    table = make_table()
    again = make_row(table, "supervised", 2, 0.39, AP50=0.5, commit="def")
    results = collect(table, [*full_rows(table), again, make_row(table, "supervised", 2, 0.6, seed=99)])
    second, other_seed, third = [row for row in results.of("drawn", "supervised") if row.fold != 1]
    # .29 and .39; .59 and .50.
    assert (second.AP, second.AP50, second.commit) == (pytest.approx(0.34), pytest.approx(0.545), "def")
    assert (0.6, pytest.approx(0.31)) == (other_seed.AP, third.AP), "another seed is a run of its own"
    runs = summarize(results, "drawn", "supervised")["runs"]
    assert [(run["fold"], len(run["draws"])) for run in runs] == [(1, 1), (2, 2), (2, 1), (3, 1)]


def test_what_runs_that_were_made_again_spread_by() -> None:
    table = make_table()
    rows = full_rows(table)
    assert spread_of_draws(collect(table, rows)) is None
    # .29 and .39 of the control; .44, .50 and .41 of the tuned setting, which the ablation's threshold .5 is too.
    rows += [make_row(table, "supervised", 2, 0.39), make_row(table, "threshold_0.5", 2, 0.50)]
    rows += [make_row(table, "soft_teacher", 2, 0.41)]
    found = spread_of_draws(collect(table, rows))
    # Squares of .05 twice, and of .01, .05 and .04 about .45; one and two degrees of freedom.
    assert found == {"std": pytest.approx(((2 * 25 + 1 + 25 + 16) * 1e-4 / 3) ** 0.5), "runs": 2}


def test_one_gain_over_all_pairs_of_runs() -> None:
    table = make_table()
    gains = {2: 0.03, 3: -0.01}
    rows = [make_row(table, "supervised", fold, 0.3) for fold in gains]
    rows += [make_row(table, "soft_teacher", fold, 0.3 + gained) for fold, gained in gains.items()]
    rows += [make_row(table, "supervised", 1, 0.1), make_row(table, "soft_teacher", 1, 0.9)]
    # Without the tuning fold; .03 and -.01 lie .02 from their mean, sd .02 * sqrt(2), over sqrt(2) runs.
    expected = {"mean": 0.01, "standard_error": 0.02, "pairs": 2, "ahead": 1}
    assert pooled_gain(collect(table, rows)) == pytest.approx(expected)
    # A second seed of the control alone is no pair.
    more = [*rows, make_row(table, "supervised", 2, 0.0, seed=99)]
    assert pooled_gain(collect(table, more)) == pytest.approx(expected)
    assert pooled_gain(collect(table, rows[:3])) is None


@pytest.mark.parametrize("missing", [("supervised", 2), ("soft_teacher", 3), ("all_labels", 3)])
def test_there_is_no_share_of_unlike_runs(missing: tuple[str, int]) -> None:
    table = make_table()
    rows = [row for row in full_rows(table) if (row.arm, row.fold) != missing]
    results = collect(table, rows)
    assert share(results, "drawn") is None
    assert summarize(results, "drawn", missing[0])["AP_mean"] is None
    others = [arm for arm in ("supervised", "soft_teacher", "all_labels") if arm != missing[0]]
    assert gain(results.of("drawn", missing[0]), results.of("drawn", others[0])) is None
    assert gain(results.of("drawn", others[0]), results.of("drawn", others[1])) is not None
    level = [replace(row, AP=0.3) for row in full_rows(table)]
    assert share(collect(table, level), "drawn") is None
