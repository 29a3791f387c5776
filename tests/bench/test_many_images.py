"""The three commands run over the drawn set, and each has its line."""

from __future__ import annotations

from pathlib import Path

import pytest

import many_images
from softdet.evaluation.run import RunFolder


def test_each_command_has_a_line_and_ends_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert many_images.main(["--images", "30", "--folder", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split(",")[0] for line in lines] == ["prepare", "doctor", "train"]
    assert len(list((tmp_path / "many").rglob("*.jpg"))) == 30
    assert RunFolder(tmp_path / "run").best.exists()


def test_a_command_that_fails_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lists").write_text("in the way", encoding="utf-8")
    assert many_images.main(["--images", "3", "--folder", str(tmp_path)]) != 0
    assert "lists" in capsys.readouterr().err
