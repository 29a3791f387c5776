"""The numbers of a finished run, from its last weights and its `metrics.csv`."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from softdet import builders
from softdet.config import Config
from softdet.errors import RunError
from softdet.evaluation.detector import load_detector, read_card
from softdet.evaluation.inference import detections_over, device_for
from softdet.evaluation.metrics import class_agnostic_ap, evaluate_detections, load_truth
from softdet.evaluation.run import RunFolder

# A run's own evaluation and the one made here may round sums differently, on a GPU above all.
_TOLERANCE = 2e-3


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is measured of a run; see `rows.Row`."""

    AP: float
    AP50: float
    AP75: float
    AP_agnostic: float
    seconds_supervised: float | None
    seconds_semi: float | None


def num_steps(config: Config) -> int:
    """Optimizer steps of a run of the table, which always gives them."""
    assert config.params.iterations is not None
    return config.params.iterations


def is_finished(run: RunFolder, config: Config) -> bool:
    """Whether the last weights are those after the last step."""
    return run.last.is_file() and read_card(run.last).step == num_steps(config)


def measure(run: RunFolder, config: Config) -> Numbers:
    """Evaluate the last weights of a finished run, and read its speed.

    Args:
        run: finished.
        config: of the run.

    Raises:
        RunError: the run isn't finished, or its own last evaluation says another AP.
        SoftdetError: one of its files can't be used.
    """
    if not is_finished(run, config):
        raise RunError(f"{run.path} has not reached step {num_steps(config)}")
    rows = read_metrics(run.metrics)
    detector = load_detector(run.last)
    device = device_for(config.cuda.using)
    detections = detections_over(
        detector.model.to(device),
        detector.card,
        builders.load_valid(config, detector.card.class_names),
        device=device,
        batch_size=config.inference.batch_size,
    )
    truth = load_truth(config.data.valid)
    found = evaluate_detections(truth, detections)
    logged = last_ap(rows, run.metrics)
    if abs(found["AP"] - logged) > _TOLERANCE:
        raise RunError(
            f"{run.last} has AP {found['AP']:.4f}, but the last evaluation in {run.metrics} says {logged:.4f}. Have "
            "the validation images or the code changed since? Delete the run's folder, and it is made again."
        )
    supervised, semi = seconds_a_step(rows, config)
    return Numbers(
        AP=found["AP"],
        AP50=found["AP50"],
        AP75=found["AP75"],
        AP_agnostic=class_agnostic_ap(truth, detections)["AP"],
        seconds_supervised=supervised,
        seconds_semi=semi,
    )


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a `metrics.csv`.

    Raises:
        RunError: there is none.
    """
    if not path.is_file():
        raise RunError(f"there is no {path}. Is this a run folder?")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def last_ap(rows: Sequence[Mapping[str, str]], source: Path) -> float:
    """The AP of the last evaluation, in [0, 1]."""
    found = [row["valid_AP"] for row in rows if row.get("valid_AP")]
    if not found:
        raise RunError(f"{source} has no evaluation in it (no value under valid_AP)")
    return float(found[-1])


def seconds_a_step(rows: Sequence[Mapping[str, str]], config: Config) -> tuple[float | None, float | None]:
    """Seconds of a supervised and of a semi-supervised step, waiting for images included.

    Args:
        rows: of `metrics.csv`; those of evaluations alone have no speed.
        config: of the run.

    Returns:
        Of each kind the first quartile, since most runs share their machine with others; None where there is no such
        step among the rows.
    """
    burn_in = builders.count_burn_in(config, num_steps(config))
    labeled = config.params.batch_size
    both = labeled + round(labeled * config.soft_teacher.unlabeled_ratio)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for row in rows:
        if row.get("images_per_second"):
            semi = int(row["step"]) > burn_in
            seconds[semi].append((both if semi else labeled) / float(row["images_per_second"]))
    supervised, semi_supervised = (float(np.quantile(kind, 0.25)) if kind else None for kind in seconds.values())
    return supervised, semi_supervised
