"""The evidence: which runs are asked for, which rows count, means worked out by hand, and the tables."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from evidence.markdown import (
    ablation_table,
    accuracy_tables,
    changes_table,
    markdown_table,
    replace_between,
    update_markdown,
)
from evidence.plot import plot_gains
from evidence.results import (
    arms_served,
    collect,
    digest_of,
    gain,
    share,
    stale_rows,
    summarize,
    to_json,
)
from evidence.rows import COLUMNS, Row, append_row, find_row, read_rows
from evidence.table import Job, Table, config_digest, jobs_of, load_table, resolve
from softdet.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parent.parent
TABLE = """
seed: 10
tuning_fold: 1
report_folds: [2, 3]
every_run: {basenet.arch: test_resnet, basenet.pretrained: false, cuda.using: false, params.batch_size: 2,
            params.image_size: 64x64, params.log_every: 1, model.fpn_channels: 8, model.head_convs: 0}
every_tuned: {soft_teacher.pseudo_cls_th: 0.5, soft_teacher.ema_decay: 0.9}
sets:
  drawn: {labeled: "labeled.json", unlabeled: unlabeled, valid: valid.json,
          settings: {params.iterations: 150, soft_teacher.burn_in_steps: 40}}
groups:
  main:
    folds: [1, 2, 3]
    arms:
      supervised: {change: {soft_teacher.enabled: false}}
      soft_teacher_seed: {tuned: false, change: {soft_teacher.pseudo_cls_th: 0.9}}
      soft_teacher: {}
      all_labels: {change: {soft_teacher.enabled: false, data.train: train.json}}
  control:
    against: supervised
    folds: [1]
    arms: {supervised_long: {change: {soft_teacher.enabled: false}, times: {params.iterations: 2}}}
  ablation:
    folds: [2, 3]
    arms:
      threshold_0.5: {change: {soft_teacher.pseudo_cls_th: 0.5}}
      threshold_0.7: {change: {soft_teacher.pseudo_cls_th: 0.7}}
"""


def make_table(**changes: Any) -> Table:
    return Table.model_validate(yaml.safe_load(TABLE) | changes)


def make_row(table: Table, arm: str, fold: int, ap: float, **changes: Any) -> Row:
    job = Job("drawn", arm, fold, table.seed + fold - 1)
    digest = digest_of(table, job)
    row = Row(
        "drawn", arm, fold, job.seed, 150, ap, ap + 0.3, ap / 2, ap + 0.1, 0.25, None, 3.5, digest, "abc", "today"
    )
    return replace(row, **changes)


def full_rows(table: Table) -> list[Row]:
    """Means over folds 2 and 3: control .30, all labels .50, Soft Teacher .45 and with the seed's settings .25."""
    means = {"supervised": 0.30, "soft_teacher_seed": 0.25, "soft_teacher": 0.45, "all_labels": 0.50}
    rows = [make_row(table, arm, fold, ap + 0.02 * (fold - 2.5)) for arm, ap in means.items() for fold in (2, 3)]
    return [*rows, *(make_row(table, arm, 1, 0.9) for arm in means)]


# The table


def test_the_shipped_table_gives_runs_that_can_be_made() -> None:
    table = load_table(ROOT / "bench" / "accuracy.yaml")
    jobs = list(jobs_of(table))
    assert {job.set for job in jobs} == {"raccoon", "cards", "fod", "coco20", "bccd"}
    configs = {job: resolve(table, job) for job in jobs}
    control = configs[Job("fod", "supervised", 2, 3001)]
    assert control.data.train == Path("data/fod/labeled_seq_fold2.json")
    assert not control.soft_teacher.enabled
    assert configs[Job("fod", "all_labels", 2, 3001)].data.train == Path("data/fod/train.json")
    seeds = configs[Job("cards", "soft_teacher_seed", 3, 3002)].soft_teacher
    assert (seeds.pseudo_cls_th, seeds.unsup_loss_weight, seeds.ema_decay) == (0.9, 1.0, 0.99)


def test_arms_differ_only_where_they_say_so() -> None:
    table = make_table()
    config = {
        arm: resolve(table, Job("drawn", arm, 1, 10)) for arm in ("supervised", "soft_teacher", "supervised_long")
    }
    assert config["soft_teacher"].soft_teacher.burn_in_steps == 40
    assert config["supervised"].soft_teacher.ema_decay == config["soft_teacher"].soft_teacher.ema_decay == 0.9
    assert config["supervised"].optimizer == config["soft_teacher"].optimizer
    assert config["supervised_long"].params.iterations == 300
    assert config["supervised_long"].data == config["supervised"].data
    assert [job.seed for job in jobs_of(table) if job.arm == "supervised"] == [10, 11, 12]


def test_a_group_may_be_against_a_shorter_run_of_its_own() -> None:
    groups = yaml.safe_load(TABLE)["groups"]
    arms = {"short": {}, **groups["ablation"]["arms"]}
    groups["ablation"] |= {"against": "short", "times": {"params.iterations": 0.5}, "arms": arms}
    table = make_table(groups=groups)
    steps = {arm: resolve(table, Job("drawn", arm, 2, 11)).params.iterations for arm in ("soft_teacher", *arms)}
    assert steps == {"soft_teacher": 150, "short": 75, "threshold_0.5": 75, "threshold_0.7": 75}
    rows = [make_row(table, "short", fold, 0.30) for fold in (2, 3)]
    rows += [make_row(table, "threshold_0.7", fold, ap) for fold, ap in ((2, 0.28), (3, 0.30))]
    results = collect(table, [*full_rows(table), *rows])
    lines = ablation_table(results).splitlines()
    assert lines[2] == "| **none (short)** | 30.0, 30.0 | 30.0 |  |"
    assert lines[3:] == [
        "| threshold 0.5 (no change on drawn) | 30.0, 30.0 | 30.0 | +0.0 |",
        "| threshold 0.7 | 28.0, 30.0 | 29.0 | -1.0 |",
    ]
    assert to_json(results)["ablations"]["drawn"]["threshold_0.7"]["AP_gain"] == pytest.approx(-0.01)
    plot = plot_gains(results, "ablation")
    assert plot is not None
    assert plot.alt == "AP gained: threshold 0.7 on drawn -1.0"


def test_an_arm_may_run_on_folds_of_its_own() -> None:
    groups = yaml.safe_load(TABLE)["groups"]
    groups["control"]["arms"]["supervised_long"]["folds"] = [1, 2]
    table = make_table(groups=groups)
    assert [job.fold for job in jobs_of(table) if job.arm == "supervised_long"] == [1, 2]
    rows = [make_row(table, "supervised_long", fold, 0.30 + 0.01 * fold) for fold in (1, 2)]
    line = changes_table(collect(table, [*full_rows(table), *rows]), "control").splitlines()[-1]
    assert line.startswith("| drawn | supervised long (folds 1, 2) | 31.5 |"), line


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"every_tuned": {"params.scale": [1, 1]}}, "what the control has too goes under settings"),
        ({"every_run": {"params.epocs": 3}}, "Did you mean params.epoch?"),
        ({"sets": {"drawn": {"labeled": "a", "unlabeled": "b", "settings": {}}}}, "no params.iterations"),
        ({"neutral": {"soft_teacher.old": 1}}, "there are no such keys"),
        ({"seeed": 1}, "seeed"),
        ({"groups": {"main": {"folds": [1], "arms": {"a": {}}}, "search": {"folds": [1], "arms": {}}}}, "none of its"),
        ({"groups": {"main": {"folds": [1], "sets": ["none"], "arms": {"a": {}}}}}, "['none']"),
        (
            {"groups": {name: {"folds": [1], "arms": {"a": {}}} for name in ("main", "control")}},
            "several groups: ['a']",
        ),
    ],
)
def test_a_mistake_in_the_table_is_told(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "table.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(TABLE) | changes))
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_table(file)


# The digest


def test_the_digest_knows_what_is_learned_and_not_where_it_lies(tmp_path: Path) -> None:
    table, job = make_table(), Job("drawn", "soft_teacher", 1, 10)
    digest = digest_of(table, job)
    here = make_table(every_run=table.every_run | {"basenet.pretrained": True, "params.log_every": 7})
    there = resolve(here, job, tmp_path, tmp_path / "weights.safetensors", tmp_path / "run")
    assert there.basenet.pretrained == tmp_path / "weights.safetensors"
    assert config_digest(there) == digest_of(here, job) != digest
    for change in ({"optimizer.lr": 2e-4}, {"soft_teacher.erase": False}, {"params.flip": 0.0}):
        assert digest_of(make_table(every_run=table.every_run | change), job) != digest
    # What is a default anyway may as well be written down.
    assert digest_of(make_table(every_run=table.every_run | {"soft_teacher.erase": True}), job) == digest
    assert len({digest_of(table, each) for each in jobs_of(table)}) == 17 - 2


def test_the_control_is_told_apart_only_by_what_it_reads() -> None:
    table, job = make_table(), Job("drawn", "supervised", 2, 11)
    for change, is_read in (({"soft_teacher.pseudo_cls_th": 0.1}, False), ({"soft_teacher.ema_decay": 0.5}, True)):
        other = make_table(every_tuned=table.every_tuned | change)
        assert (digest_of(other, job) != digest_of(table, job)) is is_read


def test_a_neutral_key_counts_only_with_another_value() -> None:
    table, job = make_table(), Job("drawn", "soft_teacher", 1, 10)
    without, neutral = digest_of(table, job), make_table(neutral={"params.flip": 0.5})
    assert digest_of(neutral, job) != without
    flat = neutral.every_run | {"params.flip": 0.5}
    assert digest_of(neutral, job) == digest_of(make_table(neutral=neutral.neutral, every_run=flat), job)
    changed = neutral.every_run | {"params.flip": 0.0}
    assert digest_of(make_table(neutral=neutral.neutral, every_run=changed), job) == digest_of(
        make_table(every_run=changed), job
    )


# Rows


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    table, path = make_table(), tmp_path / "docs" / "results.csv"
    rows = [make_row(table, "supervised", 2, 0.25), make_row(table, "soft_teacher", 1, 0.5, seconds_semi=0.75)]
    assert read_rows(path) == []
    append_row(path, rows[0])
    path.write_text(path.read_text().rstrip("\n"))
    append_row(path, rows[1])
    assert read_rows(path) == rows
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("a,b,c", "line 3: 3 values where 15 belong"),
        ("<<<<<<< HEAD", "line 3: 1 values where 15 belong"),
        ("drawn,supervised,two,1,150,.3,.6,.2,.4,,,1,d,c,t", "line 3: fold is 'two'; it must be a whole number"),
        (
            "drawn,supervised,2,1,150,30,.6,.2,.4,,,1,d,c,t",
            "line 3: AP is '30'; it must be a finite number of at least 0",
        ),
        ("drawn,supervised,2,1,150,nan,.6,.2,.4,,,1,d,c,t", "line 3: AP is 'nan'"),
        ("drawn,supervised,2,1,150,.3,.6,.2,.4,,,,d,c,t", "line 3: wall_minutes is ''"),
        ("drawn,supervised,2,1,150,.3,.6,.2,.4,,,1,,c,t", "line 3: digest is ''"),
    ],
)
def test_a_malformed_line_is_named(bad: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    append_row(path, make_row(make_table(), "supervised", 2, 0.25))
    path.write_text(f"{path.read_text()}{bad}\n")
    with pytest.raises(DataError, match=re.escape(said)):
        read_rows(path)
    path.write_text("set,arm\n")
    with pytest.raises(DataError, match=f"its first line must be {','.join(COLUMNS)}"):
        read_rows(path)


def test_a_row_counts_while_its_config_is_the_tables_and_for_every_arm_that_has_it() -> None:
    table = make_table()
    rows = [make_row(table, "supervised", 2, 0.3), make_row(table, "soft_teacher", 2, 0.4)]
    tuned, control = (Job("drawn", arm, 2, 11) for arm in ("soft_teacher", "supervised"))
    assert arms_served(table, rows[1]) == ["soft_teacher", "threshold_0.5"]
    assert find_row(rows, tuned, digest_of(table, tuned)) is rows[1]
    assert find_row(rows, replace(tuned, seed=12), digest_of(table, tuned)) is None
    assert stale_rows(table, rows) == []

    retuned = make_table(every_tuned=table.every_tuned | {"soft_teacher.pseudo_cls_th": 0.6})
    assert find_row(rows, tuned, digest_of(retuned, tuned)) is None
    assert find_row(rows, control, digest_of(retuned, control)) is rows[0]
    # What was the tuned setting is a step of the ablation now, so it is not stale.
    assert arms_served(retuned, rows[1]) == ["threshold_0.5"]
    more_different = make_table(every_tuned=table.every_tuned | {"soft_teacher.erase": False})
    assert len(stale_rows(more_different, rows)) == 1
    assert f"config was {rows[1].digest}, the table now gives" in stale_rows(more_different, rows)[0]
    assert "no such run" in stale_rows(table, [replace(rows[0], arm="gone", digest="0")])[0]
    assert "no such run" in stale_rows(table, [replace(rows[0], set="gone")])[0]


# Results


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


def test_the_tables_show_the_numbers_in_percent() -> None:
    table = make_table()
    rows = [*full_rows(table), make_row(table, "threshold_0.7", 2, 0.40), make_row(table, "supervised_long", 1, 0.92)]
    results = collect(table, rows)
    text = accuracy_tables(results)
    assert "| drawn | Soft Teacher, tuned | 44.0 | 46.0 | 45.0 (1.4) | 75.0 | 55.0 | 90.0 |" in text
    assert "| drawn | +20.0 | -25% | 75% | 75% |" in text
    assert "| mean |  | **-25%** (drawn) | **75%** (drawn) | **75%** (drawn) |" in text
    assert "below its control" not in text
    lines = changes_table(results, "control").splitlines()
    assert lines[2:] == [
        "| drawn | **supervised control** | 90.0 | 120.0 |  |",
        "| drawn | supervised long | 92.0 | 122.0 | +2.0 |",
    ]
    assert changes_table(results, "search") == "Not run yet.", "the table has no such group"
    assert "| threshold 0.5 (no change on drawn) | 44.0, 46.0 | 45.0 | +0.0 |" in ablation_table(results)
    assert "| threshold 0.7 | 40.0, - | - | - |" in ablation_table(results)
    worse = collect(table, [replace(row, AP=0.2) if row.arm == "soft_teacher" else row for row in rows])
    assert "Tuned Soft Teacher is below its control on drawn." in accuracy_tables(worse)
    assert "Not run yet" not in accuracy_tables(results)
    assert "| drawn | Soft Teacher, tuned | -" not in accuracy_tables(collect(table, rows[:1]))
    assert accuracy_tables(collect(table, [])) == "Not run yet: anything on drawn."
    assert markdown_table(["a"], []) == ablation_table(collect(table, [])) == "Not run yet."


def test_the_plot_says_what_each_change_gains_and_leaves_out_what_has_not_run() -> None:
    table = make_table()
    rows = [make_row(table, "threshold_0.7", 2, 0.40), make_row(table, "threshold_0.7", 3, 0.44)]
    plot = plot_gains(collect(table, [*full_rows(table), *rows]), "ablation")
    assert plot is not None
    assert plot.alt == "AP gained: threshold 0.7 on drawn -3.0"
    assert "threshold 0.5" not in plot.svg, "it is the tuned setting itself"
    assert plot_gains(collect(table, rows), "ablation") is None, "nothing to compare with"
    assert plot_gains(collect(table, rows), "search") is None, "the table has no such group"


def test_only_what_stands_between_the_markers_changes() -> None:
    text = "before\n<!-- begin: a -->\nold\n<!-- end: a -->\nafter <!-- begin: b --><!-- end: b -->\n"
    once = replace_between(text, "a", "new")
    assert once == text.replace("\nold\n", "\n\nnew\n\n")
    assert replace_between(once, "a", "new") == once
    for broken in (text.replace("<!-- end: a -->", ""), text + text, "<!-- end: a --><!-- begin: a -->"):
        with pytest.raises(DataError, match="must stand in it once each"):
            replace_between(broken, "a", "new")


def test_the_committed_tables_are_those_of_the_committed_rows(tmp_path: Path) -> None:
    results = collect(load_table(ROOT / "bench" / "accuracy.yaml"), read_rows(ROOT / "docs" / "results.csv"))
    remedy = "run python bench/accuracy.py --report-only; after a new config key, see `neutral` in bench/README.md"
    assert json.loads((ROOT / "docs" / "results.json").read_text()) == to_json(results), remedy
    pages = [ROOT / "docs" / name for name in ("results.md", "method.md")]
    copies = [Path(shutil.copy(page, tmp_path)) for page in pages]
    update_markdown(tmp_path, results)
    for copy, page in zip(copies, pages, strict=True):
        assert copy.read_text() == page.read_text(), remedy
