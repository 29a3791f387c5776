"""`softdet suggest`: a table with reasons, a list that pseudo-label takes, and words for what can't be done."""

from __future__ import annotations

import csv
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from softdet.data.index import load_unlabeled
from softdet.engine.run import RunFolder

Command = Callable[..., int]
Output = pytest.CaptureFixture[str]


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> RunFolder:
    """A copy of the run, to be written to."""
    return RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run")))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_images_of_the_run_are_suggested_each_with_a_reason(
    run: RunFolder, squares: Path, softdet: Command, capsys: Output
) -> None:
    assert softdet("suggest", run.path, "-n", 4) == 0
    said = capsys.readouterr().out.splitlines()
    table = rows(run.suggestions)
    assert [row["place"] for row in table] == ["1", "2", "3", "4"]
    files = [Path(row["file"]) for row in table]
    assert len(set(files)) == 4
    assert set(files) < {record.path.absolute() for record in load_unlabeled(squares / "unlabeled").images}
    assert run.suggestions.with_suffix(".txt").read_text().splitlines() == [row["file"] for row in table]
    for place, row in enumerate(table, 1):
        assert f"{place:3d}  {Path(row['file']).name}: {row['reason']}" in said
        assert row["reason"].endswith("from the nearest image known")
    assert any("4 of 6 images" in line for line in said)


def test_the_next_command_works_as_it_is_printed(
    run: RunFolder, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    assert softdet("suggest", run.path, "-n", 2, "--out", tmp_path / "next.csv") == 0
    assert not run.suggestions.exists()
    command = shlex.split(capsys.readouterr().out.splitlines()[-1].partition(": ")[2])
    assert command[:2] == ["softdet", "pseudo-label"]
    command[command.index("LABELS")] = str(tmp_path / "labels")
    assert softdet(*command[1:]) == 0
    assert len(list((tmp_path / "labels" / "images").iterdir())) == 2


def test_the_images_may_be_others_and_unreadable_ones_are_left_out(
    run: RunFolder, squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    shutil.copy(next((squares / "unlabeled").iterdir()), pool / "good.png")
    (pool / "broken.png").write_bytes(b"no picture")
    assert softdet("suggest", run.path, "--unlabeled", pool) == 0
    assert "left out: 1 images that can't be read" in capsys.readouterr().out
    assert [Path(row["file"]).name for row in rows(run.suggestions)] == ["good.png"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "list.txt"], "--out list.txt: the file to write ends in .csv"),
        (["--unlabeled", "nowhere"], "nowhere"),
        (["-n", "0"], "-n"),
    ],
)
def test_what_cannot_be_done_is_said(
    options: list[str], said: str, run: RunFolder, softdet: Command, capsys: Output
) -> None:
    assert softdet("suggest", run.path, *options) == 2
    assert said in capsys.readouterr().err
    assert not run.suggestions.exists()


def test_a_run_without_unlabeled_images_needs_some_named(run: RunFolder, softdet: Command, capsys: Output) -> None:
    text = run.config.read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("  unlabeled:")]
    run.config.write_text(text.replace(line, "  unlabeled: null").replace("enabled: true", "enabled: false"))
    assert softdet("suggest", run.path) == 2
    assert "--unlabeled" in capsys.readouterr().err
