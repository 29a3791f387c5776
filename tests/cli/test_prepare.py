"""`softdet prepare` as a person sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., int]
Output = pytest.CaptureFixture[str]


def test_a_labeled_set_and_a_folder_become_lists_and_a_table(
    softdet: Command, own_squares: Path, tmp_path: Path, capsys: Output
) -> None:
    (own_squares / "images" / "train_0.png").write_bytes(b"cut off")
    lists = tmp_path / "lists"
    arguments = ["--labeled", own_squares / "train.json", "--unlabeled", own_squares / "unlabeled", "--out", lists]
    assert softdet("prepare", *arguments) == 0
    said = capsys.readouterr().out
    assert "found: COCO (train.json)" in said
    assert "images that can't be read: 1 (train_0.png)" in said
    assert "for valid were set aside (seed 0)" in said
    for word in ("train", "valid", "unlabeled", "blue", "red"):
        assert word in said
    assert "no box" not in said
    assert (
        f"written to {lists}; next:\n  softdet train --labeled {lists}/train.json --valid {lists}/valid.json " in said
    )
    assert sorted(path.name for path in lists.iterdir()) == ["train.json", "unlabeled.json", "valid.json"]
    assert len(json.loads((lists / "unlabeled.json").read_text())["images"]) == 6


def test_without_unlabeled_images_the_next_command_is_the_control(
    softdet: Command, squares: Path, tmp_path: Path, capsys: Output
) -> None:
    assert softdet("prepare", "--labeled", squares / "train.json", "--out", tmp_path, "--valid-share", "0.5") == 0
    assert capsys.readouterr().out.endswith("valid.json --supervised\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--labeled", "{squares}"], "give both: --labeled, a labeled set, and --out"),
        (["--out", "{out}"], "give both"),
        (["--labeled", "{squares}", "--out", "{out}"], "Name one of them, such as"),
        (["--labeled", "gone", "--out", "{out}"], "there is no file or folder gone"),
        (["--labeled", "gone", "--out", "{out}", "split", "x.json"], "and `split` don't go together"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    arguments: list[str], said: str, softdet: Command, own_squares: Path, tmp_path: Path, capsys: Output
) -> None:
    # Two lists without a name that speaks of a split.
    for name in ("train", "valid"):
        (own_squares / f"{name}.json").rename(own_squares / f"my_{len(name)}_{name[::-1]}.json")
    (own_squares / "another.json").write_text((own_squares / "my_5_niart.json").read_text())
    out = tmp_path / "lists"
    assert softdet("prepare", *(each.format(squares=own_squares, out=out) for each in arguments)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert said in captured.err
    assert not out.exists()


def test_alone_it_shows_its_help(softdet: Command, capsys: Output) -> None:
    assert softdet("prepare") == 0
    assert "--labeled" in capsys.readouterr().out
