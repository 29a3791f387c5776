"""A row of the speed table is measured on steps of both kinds, with the config that was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

import speed


def test_a_row_says_what_was_measured(squares: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["params.image_size=64x96", "params.batch_size=2", "soft_teacher.unlabeled_ratio=2"]
    assert speed.main([str(squares / "tiny.yaml"), "--steps", "3", "--warm-up", "1", "--head", *overrides]) == 0
    head, line, row = capsys.readouterr().out.strip().splitlines()
    titles, cells = ([cell.strip() for cell in text.strip("|").split("|")] for text in (head, row))
    assert line.count("|") == row.count("|")
    of = dict(zip(titles, cells, strict=True))
    assert (of["canvas"], of["labeled + unlabeled"], of["precision"]) == ("64x96", "2 + 4", "32-true")
    supervised, semi = (float(of[f"{kind} step"].split(" ms")[0]) for kind in ("supervised", "semi"))
    assert min(supervised, semi) > 0
    rates = [float(rate) for rate in of["images/s"].split(", ")]
    assert rates == pytest.approx([2000 / supervised, 6000 / semi], rel=0.1, abs=1)
    assert not (squares / "never").exists()


def test_a_config_that_is_not_there_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert speed.main([str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err
