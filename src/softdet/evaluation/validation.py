"""The validation set: infer, score, and keep the result. Training and `softdet evaluate` both come through here."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from softdet.data.index import Index
from softdet.errors import SoftdetError
from softdet.evaluation.detector import DetectorCard, load_detector, save_detector
from softdet.evaluation.inference import detections_over
from softdet.evaluation.metrics import evaluate_detections, load_detections, load_truth, operating_threshold
from softdet.evaluation.run import RunFolder
from softdet.files import digest, write_json
from softdet.models.retinanet import RetinaNet


@dataclass(frozen=True, slots=True)
class Validator:
    """Evaluates a model in training and keeps `last` and `best`.

    Attributes:
        run: where to write.
        index: the validation images.
        truth: the same, as COCO's content.
        card: of the detectors that are written.
        device: where to compute.
        batch_size: images per forward pass.
        rank: of this process; rank 0 writes.
    """

    run: RunFolder
    index: Index
    truth: dict[str, Any]
    card: DetectorCard
    device: torch.device
    batch_size: int
    rank: int = 0

    def __call__(self, model: nn.Module, step: int, best_ap: float) -> dict[str, float]:
        """Evaluate, and write the detector.

        Args:
            model: in evaluation mode.
            step: optimizer steps behind it.
            best_ap: the highest AP so far; a higher one makes this the best.

        Returns:
            AP and AP50 for the metrics, the same on every rank.
        """
        assert isinstance(model, RetinaNet)
        detections = detections_over(
            model, self.card, self.index, device=self.device, batch_size=self.batch_size, rank=self.rank
        )
        metrics = evaluate_detections(self.truth, detections)
        if self.rank == 0:
            threshold = operating_threshold(self.truth, detections)
            card = replace(self.card, operating_threshold=threshold, step=step)
            save_detector(self.run.last, model, card)
            if metrics["AP"] > best_ap:
                save_detector(self.run.best, model, card)
                _keep(self.run, self.card.digests.get("valid"), detections, metrics)
        return {"valid_AP": metrics["AP"], "valid_AP50": metrics["AP50"]}


def evaluate_best(
    run: RunFolder, valid: Path, index: Index | None, *, device: torch.device, batch_size: int, rank: int = 0
) -> dict[str, Any]:
    """Score a run's result on its validation set, on all ranks together.

    Args:
        run: with a `best` detector.
        valid: the validation set's COCO JSON.
        index: the same, to infer anew; None scores the detections that were kept.
        device: where to infer.
        batch_size: images per forward pass.
        rank: of this process; rank 0 writes.

    Returns:
        See `metrics.evaluate_detections`; the same on every rank.
    """
    truth = load_truth(valid)
    if index is None:
        detections = load_detections(run.detections)
    else:
        detections = _detections_of(run.best, index, device, batch_size, rank)
    metrics = evaluate_detections(truth, detections)
    if rank == 0:
        _keep(run, digest(valid), detections, metrics)
    return metrics


def evaluate_test(
    run: RunFolder, test: Path, index: Index, *, device: torch.device, batch_size: int, rank: int = 0
) -> dict[str, Any]:
    """Score a run's result on its test images and keep the numbers; see `evaluate_best`."""
    metrics = evaluate_weights(run.best, test, index, device=device, batch_size=batch_size, rank=rank)
    if rank == 0:
        write_json(run.test_evaluation, metrics | {"weights": digest(run.best), "test": digest(test)})
    return metrics


def evaluate_weights(
    weights: Path, truth: Path, index: Index, *, device: torch.device, batch_size: int, rank: int = 0
) -> dict[str, Any]:
    """Score a detector's file on any images; see `evaluate_best`."""
    return evaluate_detections(load_truth(truth), _detections_of(weights, index, device, batch_size, rank))


def _detections_of(
    weights: Path, index: Index, device: torch.device, batch_size: int, rank: int
) -> list[dict[str, Any]]:
    detector = load_detector(weights)
    model = detector.model.to(device)
    return detections_over(model, detector.card, index, device=device, batch_size=batch_size, rank=rank)


def kept_detections_are_fresh(run: RunFolder, valid: Path) -> bool:
    """Whether `detections.json` is what the `best` of now detects in the validation set of now."""
    from_then = read_evaluation(run)
    if from_then is None or not (run.detections.is_file() and run.best.is_file()):
        return False
    now = {"weights": run.best, "detections": run.detections, "valid": valid}
    return valid.is_file() and all(from_then[name] == digest(path) for name, path in now.items())


def read_evaluation(run: RunFolder) -> dict[str, Any] | None:
    """The numbers that were kept, or None."""
    try:
        content: dict[str, Any] = json.loads(run.evaluation.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if {"weights", "detections", "valid"} <= content.keys() else None


def _keep(run: RunFolder, valid_digest: str | None, detections: list[dict[str, Any]], metrics: dict[str, Any]) -> None:
    write_json(run.detections, detections, indent=None)
    digests = {"weights": digest(run.best), "detections": digest(run.detections), "valid": valid_digest}
    write_json(run.evaluation, metrics | digests)


def evaluate_files(truth: Path, detections: Path) -> dict[str, Any]:
    """Score any COCO detections file.

    Raises:
        SoftdetError: one of the files can't be used.
    """
    found = load_detections(detections)
    try:
        return evaluate_detections(load_truth(truth), found)
    except SoftdetError as error:
        raise type(error)(f"{detections} against {truth}: {error}") from error
