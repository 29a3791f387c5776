"""What is looked at, in which order, and the line about it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from softdet.engine.evaluator import Evaluator


@pytest.fixture
def student() -> Any:
    return SimpleNamespace(module=nn.BatchNorm1d(2).train())


@pytest.mark.parametrize("draws", [False, True])
def test_the_student_is_looked_at_as_a_quiet_copy(student: Any, draws: bool) -> None:
    seen: list[Any] = []

    def probe(model: nn.Module) -> dict[str, float]:
        seen.append(model)
        model(torch.rand(4, 2))
        return {"valid_AP_student": 0.25}

    evaluator = Evaluator(
        lambda model, step, best: {"valid_AP": best + step},
        probe,
        lambda model, step: seen.append((model, step)),
    )
    before = student.module.running_mean.clone()
    metrics = evaluator.look(nn.Identity(), student, 3, 0.5, draws=draws)
    assert metrics == {"valid_AP": 3.5, "valid_AP_student": 0.25}
    assert seen == ([seen[0], (seen[0], 3)] if draws else [seen[0]])
    assert seen[0] is not student.module
    assert not seen[0].training
    assert student.module.training
    assert torch.equal(student.module.running_mean, before)


def test_without_more_to_look_at_there_is_the_score_alone(student: Any) -> None:
    evaluator = Evaluator(lambda *_: {"valid_AP": 0.5})
    assert evaluator.look(nn.Identity(), student, 1, 0.0, draws=True) == {"valid_AP": 0.5}
    evaluator.draw(student, 1)


@pytest.mark.parametrize(
    ("more", "step", "is_best", "line"),
    [
        ({}, 5, False, "step 5: valid mAP 41.2, AP50 80.0"),
        ({"valid_AP_student": 0.402}, 5, True, "step 5: valid mAP 41.2, AP50 80.0, student 40.2  best so far"),
        ({}, 10, False, "step 10: valid mAP 41.2 (control 39.9), AP50 80.0"),
    ],
)
def test_the_line_for_people(more: dict[str, float], step: int, is_best: bool, line: str) -> None:
    evaluator = Evaluator(lambda *_: {}, control_ap={10: 0.399})
    assert evaluator.describe({"valid_AP": 0.412, "valid_AP50": 0.8, **more}, step, is_best=is_best) == line
