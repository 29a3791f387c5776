"""Being asked to stop; with a run around it in test_resume."""

from __future__ import annotations

import pytest
import torch

from softdet.engine import stopping
from softdet.engine.stopping import StopRequest


def test_where_one_of_several_ranks_was_asked_all_stop_at_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_elsewhere = 0
    monkeypatch.setattr(stopping, "world_size", lambda: 2)
    monkeypatch.setattr(stopping, "sum_over_ranks", lambda own: own + asked_elsewhere)
    stop = StopRequest(torch.device("cpu"))
    assert not any(stop.is_due() for _ in range(20))
    asked_elsewhere = 1
    assert stop.is_due()
