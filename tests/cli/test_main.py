"""The command: help that reads well, mistakes that are told in a sentence, and what each subcommand leaves behind."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import softdet as package
from softdet.cli import main as cli
from softdet.config import keys, load_config
from softdet.evaluation.detector import read_card
from softdet.evaluation.run import RunFolder
from softdet.evaluation.validation import kept_detections_are_fresh

Command = Callable[..., int]
Output = pytest.CaptureFixture[str]


def all_commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from all_commands(child, (*path, name))


COMMANDS = list(all_commands(typer.main.get_command(cli.app)))


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> RunFolder:
    """A copy of the run at another place, to be changed at will."""
    return RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "copied")))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_says_what_a_command_and_each_option_is_for(
    path: tuple[str, ...], softdet: Command, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert softdet(*path, "--help") == 0
    captured = capsys.readouterr()
    assert "Usage:" in captured.out
    assert captured.err == ""
    command: Any = typer.main.get_command(cli.app)
    for name in path:
        command = command.commands[name]
    assert len(command.help) > 20
    for parameter in command.params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"{' '.join(path)} {parameter.name} has no help"


def test_the_commands_of_the_issue_are_there() -> None:
    names = {" ".join(path) for path in COMMANDS}
    assert {
        "train",
        "evaluate",
        "predict",
        "pseudo-label",
        "merge",
        "prepare coco",
        "prepare split",
        "convert torchvision",
    } <= names


def test_the_version_is_the_packages(softdet: Command, capsys: Output) -> None:
    assert softdet("--version") == 0
    assert capsys.readouterr().out == f"softdet {package.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train"], "give --config FILE"),
        (["train", "--config", "none.yaml"], "there is no config file none.yaml"),
        (["train", "--config", "{squares}/tiny.yaml", "params.epocs=3"], "Did you mean params.epoch?"),
        (["train", "--config", "{squares}/tiny.yaml", "soft_teacher.ema_decay=2"], "soft_teacher.ema_decay = 2"),
        (["train", "--config", "{squares}/tiny.yaml", "data.train=none.json"], "there is no file none.json"),
        (["train", "--config", "{squares}/tiny.yaml", "data.unlabeled=None"], "--supervised"),
        (["train", "--config", "{squares}/tiny.yaml", "model.exp_path={run}"], "--resume {run}"),
        (["train", "--config", "{squares}/tiny.yaml", "model.exp_path={squares}", "--overwrite"], "won't delete them"),
        (["train", "--resume", "{squares}"], "there is no config.yaml in it"),
        (["train", "--resume", "{run}", "--overwrite"], "give nothing beside it"),
        (["train", "--resume", "{run}", "params.epoch=3"], "give nothing beside it"),
        (["evaluate"], "give a run folder"),
        (["evaluate", "nowhere"], "there is no config file nowhere"),
        (["evaluate", "{squares}"], "holds no run: there is no metrics.csv in it"),
        (["evaluate", "{squares}/tiny.yaml"], "there is no weights/best.safetensors"),
        (["evaluate", "--truth", "{squares}/valid.json"], "--truth and --detections go together"),
        (["evaluate", "--truth", "{squares}/valid.json", "--detections", "none.json"], "no detections file none.json"),
        (["predict", "{run}", "none.jpg"], "there is no file or folder none.jpg"),
        (["predict", "nowhere", "{squares}/unlabeled"], "there is no weights file nowhere"),
        (["predict", "{squares}/tiny.yaml", "{squares}/unlabeled"], "is not a whole safetensors file"),
        (["prepare", "split", "none.json"], "there is no file none.json"),
        (["prepare", "coco", "--root", "nowhere"], "no official COCO annotation file was found"),
        (["explain", "optimizer.momentum"], "optimizer.momentum: there is no such key"),
        (["convert", "torchvision", "none.pth"], "there is no file none.pth"),
        (["compare", "{run}", "{run}", "--weights", "first"], "it is last or best"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_on_stderr_and_ends_with_2(
    arguments: list[str],
    said: str,
    softdet: Command,
    squares: Path,
    tiny_run: Path,
    capsys: Output,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert softdet(*(argument.format(squares=squares, run=tiny_run) for argument in arguments)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert said.format(run=tiny_run) in captured.err
    assert "Traceback" not in captured.err + captured.out
    assert "error" not in captured.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["train", "--confg=a"], ["trian"], ["prepare", "split", "a", "--percent", "x"]])
def test_a_wrong_option_is_told_too(arguments: list[str], softdet: Command, capsys: Output) -> None:
    assert softdet(*arguments) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert len(captured.err) > 20
    assert captured.out == ""


def test_a_mistake_in_the_data_costs_no_earlier_run(squares: Path, run: RunFolder, softdet: Command) -> None:
    before = run.best.read_bytes()
    arguments = ("--config", squares / "tiny.yaml", f"model.exp_path={run.path}", "--overwrite")
    assert softdet("train", *arguments, "data.train=none.json") == 2
    assert run.best.read_bytes() == before


def test_training_says_what_it_takes_and_leaves_what_it_promises(
    squares: Path, run: RunFolder, softdet: Command, capsys: Output
) -> None:
    arguments = ["params.iterations=3", "soft_teacher.burn_in_steps=2", "params.evaluate_every=3"]
    target = f"model.exp_path={run.path}"
    assert softdet("train", "--config", squares / "tiny.yaml", target, "--overwrite", *arguments) == 0
    out = capsys.readouterr().out
    assert "device: cpu" in out
    assert "labeled: 8 images, 16 boxes, 2 classes; validation: 8 images" in out
    assert "unlabeled: 6 images; 3 steps, of which 2 burn-in" in out
    assert f"{run.best}: mAP" in out
    for path in (run.config, run.environment, run.metrics, run.checkpoint, run.best, run.last, run.detections):
        assert path.is_file()
    assert kept_detections_are_fresh(run, squares / "valid.json")
    # The saved config, given again, is the same run.
    assert load_config(run.config) == load_config(squares / "tiny.yaml", [target, *arguments])


def test_the_control_is_one_word(squares: Path, tmp_path: Path, softdet: Command, capsys: Output) -> None:
    target = f"model.exp_path={tmp_path / 'run'}"
    assert softdet("train", "--config", squares / "tiny.yaml", "--supervised", target, "params.iterations=1") == 0
    assert "supervised control: 1 steps" in capsys.readouterr().out
    assert load_config(tmp_path / "run" / "config.yaml").soft_teacher.enabled is False
    assert "pseudo" not in (tmp_path / "run" / "metrics.csv").read_text()


def test_boxes_that_are_left_out_are_counted_aloud(own_squares: Path, softdet: Command, capsys: Output) -> None:
    listed = content(own_squares / "train.json")
    listed["annotations"][0]["bbox"][2] = 0
    (own_squares / "train.json").write_text(json.dumps(listed))
    arguments = [f"model.exp_path={own_squares / 'run'}", "params.iterations=1", "--supervised"]
    assert softdet("train", "--config", own_squares / "tiny.yaml", *arguments) == 0
    assert f"left out boxes of {own_squares / 'train.json'}: 1 no area" in capsys.readouterr().out


def test_a_synthetic_set_is_written_and_split(
    tmp_path: Path, softdet: Command, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    sizes = ["--labeled", "4", "--unlabeled", "3", "--valid", "2", "--side", "48"]
    assert softdet("prepare", "synthetic", "--out", tmp_path, *sizes) == 0
    assert "wrote 4 labeled, 3 unlabeled and 2 validation images" in capsys.readouterr().out
    assert softdet("prepare", "split", tmp_path / "train.json", "--percent", "50", "--fold", "2") == 0
    labeled, unlabeled = (content(tmp_path / f"train.2@50{end}.json")["images"] for end in ("", "-unlabeled"))
    assert len(labeled) + len(unlabeled) == 7
    assert "train.2@50.json" in capsys.readouterr().out


def test_every_key_is_explained(softdet: Command, capsys: Output) -> None:
    assert softdet("explain") == 0
    assert [line.split(" ")[0] for line in capsys.readouterr().out.splitlines()] == keys()
    assert softdet("explain", "cuda") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_runs_card_names_the_users_classes(tiny_run: Path) -> None:
    card = read_card(RunFolder(tiny_run).best)
    assert dict(zip(card.class_names, card.class_ids, strict=True)) == {"red": 17, "blue": 5}


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_what_the_terminal_cannot_write_stops_nothing(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    monkeypatch.setattr(cli, "app", lambda argv: print("größe \ud800"))
    cli.main([])
    sys.stdout.flush()
    assert written.getvalue().decode() == ("gr\\xf6\\xdfe" if encoding == "ascii" else "größe") + " \\ud800\n"
