"""`softdet predict`: every format, every kind of source, mistakes told in a sentence, and two processes as one."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from softdet.evaluation.run import RunFolder

Command = Callable[..., int]
Output = pytest.CaptureFixture[str]


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_run_or_a_file_predicts_the_same(
    tiny_run: Path, squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    found = []
    for place in (tiny_run, RunFolder(tiny_run).best):
        out = tmp_path / place.name
        assert softdet("predict", place, squares / "unlabeled", "--out", out, "--threshold", "0.1", "--cpu") == 0
        found.append(content(out / "detections.json"))
        said = capsys.readouterr().out
        assert "6 images, boxes with scores from 0.10" in said
        assert f"{len(found[-1])} boxes (" in said
        assert f"wrote {out / 'drawings'}/" in said
        assert len(list((out / "drawings").iterdir())) == 6
    assert found[0] == found[1] != []


def test_several_formats_at_once_hold_the_same_boxes(
    tiny_run: Path, squares: Path, tmp_path: Path, softdet: Command
) -> None:
    formats = ["--format", "csv", "--format", "yolo", "--format", "coco"]
    arguments = (tiny_run, squares / "unlabeled", "--out", tmp_path / "out", "--threshold", "0.1", "--no-drawings")
    assert softdet("predict", *arguments, *formats) == 0
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "classes.txt",
        "detections.csv",
        "detections.json",
        "labels",
        "summary.json",
    }
    entries = content(out / "detections.json")
    with (out / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["class"]) for row in rows] == [(each["file_name"], each["category"]) for each in entries]
    names = (out / "classes.txt").read_text().splitlines()
    for number in range(6):
        lines = (out / "labels" / f"unlabeled_{number}.txt").read_text().splitlines()
        own = [each for each in entries if each["image_id"] == number + 1]
        assert [names[int(line.split()[0])] for line in lines] == [each["category"] for each in own]
        assert [float(line.split()[5]) for line in lines] == pytest.approx([each["score"] for each in own], abs=1e-6)


def test_images_of_one_name_are_told_apart_and_listed(
    tiny_run: Path, squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(squares / "unlabeled" / "unlabeled_0.png", tmp_path / name)
    out = tmp_path / "out"
    assert softdet("predict", tiny_run, tmp_path / "a", tmp_path / "b", "--out", out, "--format", "yolo") == 0
    assert {path.stem for path in (out / "labels").iterdir()} == {"1", "2", "1_2"}
    assert content(out / "summary.json")["renamed"] == {"1_2.png": str(tmp_path / "b" / "1.png")}
    said = " ".join(capsys.readouterr().out.split())
    assert "images whose name another one has, endings aside: 1, such as" in said
    assert "called 1_2.png here" in said


def test_results_on_a_coco_json_can_be_scored(
    tiny_run: Path, squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    valid = squares / "valid.json"
    assert softdet("predict", tiny_run, valid, "--out", tmp_path / "out", "--threshold", "0.05", "--no-drawings") == 0
    files = ["--truth", valid, "--detections", tmp_path / "out" / "detections.json"]
    assert softdet("evaluate", *files, "--json", tmp_path / "numbers.json") == 0
    assert content(tmp_path / "numbers.json")["AP"] == content(RunFolder(tiny_run).evaluation)["AP"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.jpg"], "there is no file or folder none.jpg"),
        (["*.jpg"], "no file matches *.jpg"),
        (["{squares}/unlabeled", "--format", "xml"], "--format xml: it is coco, yolo or csv"),
        (["{squares}/unlabeled", "--out", "{squares}"], "softdet didn't write"),
        (["{squares}/unlabeled", "--out", "{squares}/tiny.yaml"], "is a file; a folder is needed"),
    ],
)
def test_a_mistake_is_told_and_leaves_nothing_behind(
    arguments: list[str],
    said: str,
    tiny_run: Path,
    squares: Path,
    softdet: Command,
    capsys: Output,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert softdet("predict", tiny_run, *(each.format(squares=squares) for each in arguments)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert said in captured.err
    assert list(tmp_path.iterdir()) == []


def test_too_many_broken_pictures_end_with_2_but_the_others_are_written(
    tiny_run: Path, squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    sources = [squares / "unlabeled", tmp_path / "broken.png"]
    assert softdet("predict", tiny_run, *sources, "--out", tmp_path / "out") == 2
    assert "1 of 7 images can't be read, more than 5%" in capsys.readouterr().err
    assert content(tmp_path / "out" / "summary.json")["images"] == 6
    assert len(list((tmp_path / "out" / "drawings").iterdir())) == 6


def test_nothing_found_names_the_knob(
    tiny_run: Path, squares: Path, tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    arguments = (squares / "unlabeled", "--out", tmp_path / "out", "--threshold", "1", "--no-drawings")
    assert softdet("predict", tiny_run, *arguments) == 0
    said = capsys.readouterr().out
    assert "0 boxes in 0 of 6 images" in said
    assert "--threshold 0.05" in said


def one_process(rank: int, port: int, arguments: list[str], out: Path) -> None:
    """What torchrun starts; two of them."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    from softdet.cli.main import main

    # Each process prints into a file of its own.
    with (out / f"said_{rank}").open("w") as file:
        os.dup2(file.fileno(), 1)
        try:
            main(arguments)
        except SystemExit as ended:
            if ended.code:
                raise


def test_two_processes_write_what_one_does(tiny_run: Path, squares: Path, tmp_path: Path, softdet: Command) -> None:
    formats = ["--format", "coco", "--format", "csv", "--batch-size", "1", "--threshold", "0.1", "--cpu"]
    arguments = ["predict", str(tiny_run), str(squares / "unlabeled"), *formats]
    assert softdet(*arguments, "--out", tmp_path / "one") == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [*arguments, "--out", str(tmp_path / "two")]
    torch.multiprocessing.spawn(one_process, args=(port, both, tmp_path), nprocs=2)
    for name in ("detections.json", "detections.csv", "summary.json"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert len(list((tmp_path / "two" / "drawings").iterdir())) == 6
    assert "shared by 2 processes" in (tmp_path / "said_0").read_text()
    assert (tmp_path / "said_1").read_text() == ""
