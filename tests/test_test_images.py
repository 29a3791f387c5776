"""A test list: valid chooses, test reports, and no image of it is in another list."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from softdet import builders
from softdet.config import Config
from softdet.errors import DataError
from softdet.evaluation.detector import load_detector, save_detector
from softdet.evaluation.run import RunFolder
from softdet.evaluation.run_facts import gather_facts

Command = Callable[..., int]
Output = pytest.CaptureFixture[str]


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def with_test(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that cut the validation list into one to choose by and one to report on."""
    folder = tmp_path_factory.mktemp("lists")
    for name, kept in (("valid", slice(5)), ("test", slice(5, None))):
        listed = content(squares / "valid.json")
        listed["images"] = listed["images"][kept]
        ids = {image["id"] for image in listed["images"]}
        listed["annotations"] = [each for each in listed["annotations"] if each["image_id"] in ids]
        (folder / f"{name}.json").write_text(json.dumps(listed))
    return [f"data.{name}={folder / name}.json" for name in ("valid", "test")] + [f"data.root={squares / 'images'}"]


def test_valid_chooses_and_test_reports(
    squares: Path, with_test: list[str], tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    run = RunFolder(tmp_path / "run")
    control = ["soft_teacher.control=True", f"model.exp_path={run.path}"]
    assert softdet("train", "--config", squares / "tiny.yaml", *control, *with_test) == 0
    out = capsys.readouterr().out.splitlines()
    assert any("validation: 5 images; test: 3 images" in line for line in out)
    outcome = content(run.outcome)
    assert (outcome["chosen_on"], outcome["reported_on"]) == ("valid", "test")
    assert outcome["winner"] == ("soft_teacher" if outcome["gains"]["valid"]["difference"] > 0 else "supervised")
    on_test = outcome["gains"]["test"]
    assert out[-1].startswith(f"supervised {100 * on_test['before']:.1f} -> {100 * on_test['after']:.1f} on test: ")
    kept = content(run.test_evaluation)
    assert kept["num_images"] == 3
    assert kept["AP"] == on_test["after" if outcome["winner"] == "soft_teacher" else "before"]
    assert content(run.evaluation)["num_images"] == 5

    run.test_evaluation.unlink()
    assert softdet("evaluate", run.path, "--split", "test", "--json", tmp_path / "numbers.json") == 0
    assert f"{run.best} on test: mAP {100 * kept['AP']:.1f}" in capsys.readouterr().out
    assert content(run.test_evaluation) == kept
    assert content(tmp_path / "numbers.json").items() <= kept.items()
    assert content(run.evaluation)["num_images"] == 5


def test_without_a_control_the_last_weights_are_reported_on_test(
    squares: Path, with_test: list[str], tmp_path: Path, softdet: Command, capsys: Output
) -> None:
    run = RunFolder(tmp_path / "run")
    command = ["train", "--config", squares / "tiny.yaml", "--supervised", "params.iterations=2", *with_test]
    assert softdet(*command, f"model.exp_path={run.path}") == 0
    out = capsys.readouterr().out
    assert "; on test " in out.splitlines()[-1]
    assert f"{run.best} on test: mAP" in out
    assert gather_facts(run, None).test == content(run.test_evaluation)
    # Its weights are other ones by now, as in a run that was made longer and is under way.
    detector = load_detector(run.best)
    save_detector(run.best, detector.model, replace(detector.card, step=99))
    facts = gather_facts(run, None)
    assert facts.test is None
    assert any("test.json is of an earlier best.safetensors" in each for each in facts.missing)


def test_a_test_list_that_is_missing_or_wrong_is_named(tiny_run: Path, softdet: Command, capsys: Output) -> None:
    assert softdet("evaluate", tiny_run, "--split", "test") == 2
    assert "data.test is missing" in capsys.readouterr().err
    assert softdet("evaluate", tiny_run, "--split", "train") == 2
    assert "it is valid or test" in capsys.readouterr().err


def test_a_test_image_is_in_no_other_list(
    tiny_config: Callable[..., Config], squares: Path, with_test: list[str], tmp_path: Path
) -> None:
    overlapping = {
        "data.train": [f"data.test={squares / 'train.json'}"],
        "data.valid": [with_test[1], with_test[2]],
        "data.unlabeled": [*with_test, f"data.unlabeled={with_test[1].removeprefix('data.test=')}"],
    }
    for key, overrides in overlapping.items():
        with pytest.raises(DataError, match=rf"\d images of {key} .*are also in data\.test"):
            builders.load_data(tiny_config(*overrides))
    # Without Soft Teacher the unlabeled list isn't read.
    config = tiny_config(*overlapping["data.unlabeled"], "soft_teacher.enabled=False")
    test = builders.load_data(config).test
    assert test is not None
    assert len(test) == 3

    listed = content(squares / "valid.json")
    (tmp_path / "empty.json").write_text(json.dumps(listed | {"annotations": []}))
    root = f"data.root={squares / 'images'}"
    with pytest.raises(DataError, match=r"data\.test .*not one box to score against"):
        builders.load_data(tiny_config(f"data.test={tmp_path / 'empty.json'}", root))
    with pytest.raises(DataError, match=r"data\.valid .*not one box to score against"):
        builders.load_data(tiny_config(f"data.valid={tmp_path / 'empty.json'}", root, "soft_teacher.control=True"))
