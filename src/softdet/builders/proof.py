"""Proof, before a run's first hour is spent, that what it writes can be read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from softdet.data.index import Index
from softdet.engine.checkpoint import load_checkpoint
from softdet.engine.trainer import Trainer
from softdet.errors import RunError
from softdet.evaluation.detector import load_detector
from softdet.evaluation.inference import detections_over
from softdet.ops.distributed import alone

# Of scores, and the share of boxes, where two runs of one model may differ.
_TOLERANCE = 1e-3
_LOST = 0.05


def prove_checkpoint(trainer: Trainer) -> None:
    """Read the checkpoint that was written, compare it with the state, and load it; on rank 0 alone.

    Raises:
        RunError: what was read isn't what was written.
    """
    written = {"student": trainer.student.module.state_dict(), "method": trainer.method.state_dict()}
    read = load_checkpoint(trainer.checkpoint)
    if wrong := _differences(written, {key: read[key] for key in written}):
        raise RunError(
            f"a checkpoint that was read back isn't what was written: {len(wrong)} values differ, the first "
            f"{wrong[0]}. The disk or the memory of this machine can't be trusted."
        )
    trainer.resume()


def prove_detector(weights: Path, model: nn.Module, index: Index, *, device: torch.device, batch_size: int) -> None:
    """Read a detector's file, and see that it detects what the model detects that was written; on rank 0 alone.

    Args:
        weights: its file.
        model: in evaluation mode.
        index: some images.
        device: where to infer.
        batch_size: images per forward pass.

    Raises:
        RunError: the detections differ.
    """
    detector = load_detector(weights)
    # A fresh model is sure of nothing, and would agree with any other about that.
    card = replace(detector.card, score_threshold=0.0)
    with alone():
        found, again = (
            detections_over(each, card, index, device=device, batch_size=batch_size)
            for each in (model, detector.model.to(device))
        )
    if not _alike(found, again, exactly=device.type == "cpu"):
        raise RunError(
            f"a detector that was read back detects something else: {len(found)} boxes in {len(index)} images before, "
            f"{len(again)} after. Please report this, with `softdet --version` and the config."
        )


def _differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two nested states differ, to the bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [*one, *(key for key in other if key not in one)]
        return [line for key in keys for line in _differences(one.get(key), other.get(key), f"{place}.{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [line for number in range(len(one)) for line in _differences(one[number], other[number], place)]
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return [] if torch.equal(one.cpu(), other.cpu()) else [place.removeprefix(".")]
    # Not a number is not even itself.
    return [] if one == other or (one != one and other != other) else [place.removeprefix(".")]


def _alike(found: list[dict[str, Any]], again: list[dict[str, Any]], *, exactly: bool) -> bool:
    if exactly:
        return found == again
    # Elsewhere a model may differ from itself in the last digits, and which of equal scores come first with them.
    length = min(len(found), len(again))
    scores = [sorted((row["score"] for row in rows), reverse=True)[:length] for rows in (found, again)]
    return length >= (1 - _LOST) * len(found) and all(abs(a - b) < _TOLERANCE for a, b in zip(*scores, strict=True))
