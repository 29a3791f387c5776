"""A small table of runs, and rows of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml

from evidence.results import digest_of
from evidence.rows import Row
from evidence.table import Job, Table

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


def make_row(table: Table, arm: str, fold: int, ap: float, seed: int | None = None, **changes: Any) -> Row:
    job = Job("drawn", arm, fold, table.seed + fold - 1 if seed is None else seed)
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
