"""Images that a run has trained on, or chose its weights by, are found by file and by content."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from softdet.builders.seen import describe_seen
from softdet.config import Config, save_config
from softdet.evaluation.run import RunFolder


@pytest.fixture
def run_with(tiny_config: Callable[..., Config], tmp_path: Path) -> Callable[..., RunFolder]:
    """A run folder that holds nothing but the set's config, with overrides."""

    def make(*overrides: str) -> RunFolder:
        run = RunFolder(tmp_path / "run")
        run.path.mkdir(exist_ok=True)
        save_config(tiny_config(*overrides), run.config)
        return run

    return make


def copies(truth: Path, folder: Path) -> Path:
    """The ground truth again, its images copied under other names."""
    content = json.loads(truth.read_text())
    folder.mkdir()
    for number, image in enumerate(content["images"]):
        shutil.copy(truth.parent / "images" / image["file_name"], folder / f"{number}.png")
        image["file_name"] = f"{number}.png"
    (folder / "truth.json").write_text(json.dumps(content))
    return folder / "truth.json"


def test_nothing_is_said_of_images_that_the_run_has_not_seen(run_with: Callable[..., RunFolder], squares: Path) -> None:
    # Validation images choose the weights that they judge: each run does that, so it is told of test images alone.
    assert describe_seen(run_with(), squares / "valid.json", None, "images") == []


def test_a_copy_under_another_name_was_seen(run_with: Callable[..., RunFolder], squares: Path, tmp_path: Path) -> None:
    run = run_with()
    trained_on = copies(squares / "train.json", tmp_path / "a")
    (sentence,) = describe_seen(run, trained_on, None, "test images", is_test=True)
    assert sentence == f"{run.path} was trained on 8 of the 8 test images, so its numbers are too good"
    chosen_by = copies(squares / "valid.json", tmp_path / "b")
    (sentence,) = describe_seen(run, chosen_by, None, "test images", is_test=True)
    assert "chose its best weights by 8 of the 8 test images" in sentence


def test_unlabeled_images_are_trained_on_unless_there_is_no_soft_teacher(
    run_with: Callable[..., RunFolder], squares: Path
) -> None:
    pool = f"data.unlabeled={squares / 'valid.json'}"
    (sentence,) = describe_seen(run_with(pool), squares / "valid.json", None, "images")
    assert "was trained on 8 of the 8 images" in sentence
    assert describe_seen(run_with(pool, "soft_teacher.enabled=False"), squares / "valid.json", None, "images") == []


def test_what_can_no_longer_be_read_is_no_error(
    run_with: Callable[..., RunFolder], own_squares: Path, squares: Path, tmp_path: Path
) -> None:
    gone = run_with(f"data.train={tmp_path / 'gone.json'}")
    assert describe_seen(gone, squares / "valid.json", None, "images") == []
    run = run_with(f"data.train={own_squares / 'train.json'}")
    for image in (own_squares / "images").glob("train_[0-5].png"):
        image.unlink()
    (sentence,) = describe_seen(run, own_squares / "train.json", None, "images")
    assert "was trained on 2 of the 2 images" in sentence, "only images that are there can be compared"
