"""Two detectors on the same images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from softdet.data.index_reading import load_labeled
from softdet.errors import RunError
from softdet.evaluation.detector import load_detector, save_detector
from softdet.evaluation.metrics import load_truth
from softdet.evaluation.run import RunFolder
from softdet.evaluation.run_comparison import Comparison, compare


def compared(before: Path, after: Path, squares: Path) -> Comparison:
    truth = squares / "valid.json"
    names = load_detector(after).card.class_names
    return compare(
        before, after, load_labeled(truth, names), load_truth(truth), device=torch.device("cpu"), batch_size=4
    )


def test_a_detector_has_no_gain_over_itself(tiny_run: Path, squares: Path) -> None:
    best = RunFolder(tiny_run).best
    result = compared(best, best, squares)
    assert result.before == result.after
    assert (result.gain.difference, result.gain.low, result.gain.high) == (0, 0, 0)


def test_a_detector_gains_over_one_that_sees_nothing(tiny_run: Path, squares: Path, tmp_path: Path) -> None:
    best = load_detector(RunFolder(tiny_run).best)
    blind = tmp_path / "blind.safetensors"
    save_detector(blind, best.model, replace(best.card, score_threshold=1.0))
    result = compared(blind, RunFolder(tiny_run).best, squares)
    assert result.before["AP"] == 0 < result.after["AP"]
    assert result.gain.low > 0
    assert result.gain.difference == pytest.approx(result.after["AP"])


def test_the_picture_has_a_row_for_the_truth_and_one_for_each(tiny_run: Path, squares: Path) -> None:
    best = RunFolder(tiny_run).best
    picture = compared(best, best, squares).picture
    side = picture.height // 3
    assert picture.width == 6 * side
    truth, before, after = (picture.crop((0, row * side, picture.width, (row + 1) * side)) for row in range(3))
    assert before.tobytes() == after.tobytes()
    assert truth.tobytes() != before.tobytes()


def test_other_classes_are_refused_with_both_lists(tiny_run: Path, squares: Path, tmp_path: Path) -> None:
    best = load_detector(RunFolder(tiny_run).best)
    other = tmp_path / "other.safetensors"
    save_detector(other, best.model, replace(best.card, class_names=("cat", "dog")))
    with pytest.raises(RunError, match=r"\['cat', 'dog'\]"):
        compared(other, RunFolder(tiny_run).best, squares)
