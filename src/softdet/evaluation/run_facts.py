"""All that a run folder and its lists of images tell, for a report; what isn't there is named, with how to get it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from softdet.data.index import Index
from softdet.data.index_reading import load_labeled, load_unlabeled
from softdet.errors import RunError, SoftdetError
from softdet.evaluation.comparison import Gain, bootstrap_interval
from softdet.evaluation.detector import DetectorCard, read_card
from softdet.evaluation.diagnosis import diagnose
from softdet.evaluation.metrics import load_detections, load_truth
from softdet.evaluation.outcome import Outcome, describe_outcome, describe_run
from softdet.evaluation.run import RunFolder
from softdet.evaluation.validation import kept_detections_are_fresh, read_evaluation
from softdet.files import digest
from softdet.report.facts import Diagnosis, ImageSet, RunFacts
from softdet.report.history import read_history
from softdet.report.looks import read_looks

_Read = TypeVar("_Read")
# More images take minutes, and have a narrow interval anyway.
_MOST_RESAMPLED = 1000


@dataclass(frozen=True, slots=True)
class Sources:
    """What a run's config says of it, as plain values.

    Attributes:
        train: the labeled list.
        valid: the validation list.
        unlabeled: folder or list of the unlabeled images, if there are any.
        root: folder of the images.
        class_names: the classes that the config names; None for those of the labeled list.
        count_steps: from the number of labeled images to the planned steps and those of the burn-in.
        is_semi: whether unlabeled images are trained on.
        threshold: of pseudo-labels.
    """

    train: Path
    valid: Path
    unlabeled: Path | None
    root: Path | None
    class_names: tuple[str, ...] | None
    count_steps: Callable[[int], tuple[int, int]]
    is_semi: bool
    threshold: float | str


def require_run(run: RunFolder) -> None:
    """Make sure that a folder holds a run.

    Raises:
        RunError: it doesn't; a run further inside is named.
    """
    # A run that has just begun has these two, and no numbers yet.
    if run.metrics.is_file() or (run.config.is_file() and run.environment.is_file()):
        return
    if not run.path.exists():
        raise RunError(f"{run.path}: there is no such folder. Is the path right? A run's folder is its model.exp_path.")
    inside = sorted(path.parent for path in run.path.glob("*/config.yaml"))[:3] if run.path.is_dir() else []
    hint = f"Did you mean {' or '.join(map(str, inside))}?" if inside else "Has the run been started?"
    raise RunError(f"{run.path} holds no run: there is no {run.metrics.name} in it. {hint}")


def gather_facts(run: RunFolder, sources: Sources | None) -> RunFacts:
    """Read everything.

    Args:
        run: a run's folder, in any state.
        sources: from its config; None where that can't be read, which the caller says.
    """
    missing: list[str] = []

    def try_to(read: Callable[[], _Read], what: str) -> _Read | None:
        try:
            return read()
        except (SoftdetError, OSError) as error:
            missing.append(f"{what}: {error}")
            return None

    card = try_to(lambda: read_card(run.best), "the result") if run.best.is_file() else None
    if card is None and not run.best.is_file():
        missing.append(f"The result: there is no {run.best.name} before the first evaluation.")
    names = card.class_names if card else sources.class_names if sources else None
    labeled = valid = unlabeled = None
    if sources:
        labeled = try_to(lambda: load_labeled(sources.train, names, sources.root), "The labeled images")
        names = names or (labeled.class_names if labeled else None)
        valid = try_to(lambda: load_labeled(sources.valid, names, sources.root), "The validation images")
        if sources.is_semi and sources.unlabeled:
            pool = sources.unlabeled
            unlabeled = try_to(lambda: load_unlabeled(pool, sources.root), "The unlabeled images")
    evaluation = read_evaluation(run)
    diagnosis, interval = None, None
    if sources and card and valid:
        diagnosis, interval = try_to(lambda: _diagnose(run, sources.valid, valid, card, missing), "The detections") or (
            None,
            None,
        )
    steps = sources.count_steps(len(labeled)) if sources and labeled else None
    history = read_history(run.metrics)
    if not history.of("valid_AP"):
        missing.append("Scores: the run has not come to its first evaluation.")
    control = read_history(run.control.metrics)
    outcome = _read_json(run.outcome)
    return RunFacts(
        path=run.path,
        line=_line(run, outcome, steps[1] if steps and sources and sources.is_semi else None),
        class_names=names or (),
        is_semi=sources.is_semi if sources else history.unlabeled_from is not None,
        num_steps=steps[0] if steps else None,
        history=history,
        control=control if control.columns else None,
        outcome=outcome,
        evaluation=evaluation,
        test=_read_test(run, missing),
        interval=interval,
        operating_point=card.operating_threshold if card else None,
        step=card.step if card else None,
        diagnosis=diagnosis,
        labeled=_counted(labeled),
        valid=_counted(valid),
        unlabeled=ImageSet(str(unlabeled.source), len(unlabeled)) if unlabeled else None,
        threshold=sources.threshold if sources else None,
        looks=read_looks(run.gallery),
        gallery=run.thumbnails,
        doctor=_read_json(run.doctor),
        doctor_command=_doctor_command(run, sources) if sources else "",
        num_far=_count_far(run.far_images),
        config=run.config.read_text(encoding="utf-8", errors="replace") if run.config.is_file() else "",
        environment=_read_json(run.environment) or {},
        missing=tuple(missing),
    )


def _diagnose(
    run: RunFolder, valid: Path, index: Index, card: DetectorCard, missing: list[str]
) -> tuple[Diagnosis, tuple[float, float] | None] | None:
    if not kept_detections_are_fresh(run, valid):
        missing.append(
            f"Curves, errors and pictures of the validation images: {run.detections.name} isn't what weights/"
            f"{run.best.name} detects in {valid} of now. Make it anew: softdet evaluate {run.path} --rerun"
        )
        return None
    truth, detections = load_truth(valid), load_detections(run.detections)
    interval = None
    if len(index) <= _MOST_RESAMPLED:
        interval = bootstrap_interval(truth, detections)
    if interval and interval[0] < 0:
        interval = None
    return diagnose(truth, detections, index, card.operating_threshold), interval


def _counted(index: Index | None) -> ImageSet | None:
    if index is None:
        return None
    return ImageSet(str(index.source), len(index), tuple(index.boxes_by_class().tolist()))


def _line(run: RunFolder, outcome: dict[str, Any] | None, burn_in: int | None) -> str:
    if outcome is not None:
        try:
            gains = {
                name: Gain(**{key: gain[key] for key in Gain.__slots__ if key in gain})
                for name, gain in outcome["gains"].items()
            }
            line = describe_outcome(Outcome(outcome["winner"], gains, (), outcome.get("steps")))
        except (KeyError, TypeError):
            return ""
        # The reasons stand in the report on their own.
        return line.partition("; likely reasons")[0] + "."
    return describe_run(run.metrics, burn_in) + "." if read_history(run.metrics).of("valid_AP") else ""


def _read_test(run: RunFolder, missing: list[str]) -> dict[str, Any] | None:
    test = _read_json(run.test_evaluation)
    if test and run.best.is_file() and test.get("weights") != digest(run.best):
        missing.append(
            f"The score on the test images: {run.test_evaluation.name} is of an earlier {run.best.name}. Make it anew: "
            f"softdet evaluate {run.path} --split test"
        )
        return None
    return test


def _doctor_command(run: RunFolder, sources: Sources) -> str:
    unlabeled = f" --unlabeled {sources.unlabeled}" if sources.is_semi and sources.unlabeled else ""
    return f"softdet doctor --labeled {sources.train} --valid {sources.valid}{unlabeled} --json {run.doctor}"


def _count_far(path: Path) -> int:
    if not path.is_file():
        return 0
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return sum(1 for _ in csv.DictReader(file))


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
