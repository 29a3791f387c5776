"""What a step asks of its device is counted as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import operations


def test_what_computes_and_what_is_waited_for_is_counted() -> None:
    values = torch.arange(6.0)
    with operations.Operations() as counted:
        doubled = (values * 2).view(2, 3)[0]  # one, and looks at it
        chosen = doubled[doubled > 1]  # two, and one wait
        chosen.sum().item()  # one, and one wait
        values[torch.tensor([0, 1])]  # by numbers: no wait
        chosen.tolist()  # a wait
    chosen.tolist()
    assert counted.launched.total() == 5
    assert counted.waits.total() == 3


def test_a_step_with_unlabeled_images_asks_more(squares: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert operations.main([str(squares / "tiny.yaml"), "--by-function", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    numbers = [[int(number.replace(",", "")) for number in re.findall(r"[\d,]+", line)] for line in lines[2:4]]
    (supervised, few_waits), (semi, more_waits) = numbers
    assert 200 < supervised < semi
    assert few_waits < more_waits < semi
    assert len(lines) == 4 + 6
    assert all(".py: " in line for line in lines[4:])
    assert not (squares / "never").exists()


def test_a_config_that_is_not_there_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert operations.main([str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err
