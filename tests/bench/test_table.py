"""Which runs are asked for, and what their digest knows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from bench_tables import TABLE, full_rows, make_row, make_table

from evidence.markdown import ablation_table, changes_table
from evidence.plot import plot_gains
from evidence.results import collect, digest_of, to_json
from evidence.table import Job, config_digest, jobs_of, load_table, resolve
from softdet.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent.parent


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
    # Another seed of the short run shows its spread; the others are held against the run with their own seed.
    more = ablation_table(collect(table, [*full_rows(table), *rows, make_row(table, "short", 2, 0.50, seed=99)]))
    assert "| **none (short)** | 30.0 / 50.0, 30.0 | 36.7 |  |" in more
    assert lines[4] in more.splitlines()


def test_an_arm_may_run_on_folds_of_its_own() -> None:
    groups = yaml.safe_load(TABLE)["groups"]
    groups["control"]["arms"]["supervised_long"]["folds"] = [1, 2]
    table = make_table(groups=groups)
    assert [job.fold for job in jobs_of(table) if job.arm == "supervised_long"] == [1, 2]
    rows = [make_row(table, "supervised_long", fold, 0.30 + 0.01 * fold) for fold in (1, 2)]
    line = changes_table(collect(table, [*full_rows(table), *rows]), "control").splitlines()[-1]
    assert line.startswith("| drawn | supervised long (folds 1, 2) | 31.5 |"), line


def test_an_arm_may_run_on_sets_of_its_own() -> None:
    shipped = yaml.safe_load(TABLE)
    sets = dict.fromkeys(("drawn", "other"), shipped["sets"]["drawn"])
    shipped["groups"]["ablation"]["arms"]["threshold_0.7"]["sets"] = ["other"]
    table = make_table(groups=shipped["groups"], sets=sets)
    jobs = [(job.set, job.fold) for job in jobs_of(table) if job.arm == "threshold_0.7"]
    assert jobs == [("other", 2), ("other", 3)]
    assert {job.set for job in jobs_of(table) if job.arm == "threshold_0.5"} == {"drawn", "other"}
    rows = [make_row(table, "threshold_0.7", fold, 0.4, set=name) for name in sets for fold in (2, 3)]
    assert [key for key in collect(table, rows).rows if key[1] == "threshold_0.7"] == [("other", "threshold_0.7")]


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
        ({"groups": {"main": {"folds": [1], "arms": {"a": {"sets": ["none"]}}}}}, "['none']"),
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
