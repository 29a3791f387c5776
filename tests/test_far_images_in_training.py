"""An uncurated pool in a run: the image that doesn't belong is named at the end of the burn-in and served no more."""

from __future__ import annotations

import csv
import io
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from trainers import trainer_in_its_folder

from softdet.config import load_config
from softdet.data.datasets import ImageDataset
from softdet.engine.checkpoint import load_checkpoint
from softdet.engine.trainer import Trainer
from softdet.evaluation.run import RunFolder
from softdet.structures import AugmentedBatch, TrainBatch

BURN_IN, NUM_STEPS = 3, 6
KEYS = [f"params.iterations={NUM_STEPS}", f"soft_teacher.burn_in_steps={BURN_IN}", "params.evaluate_every=6"]
KEYS += ["params.log_every=6", "params.evaluate_student=False"]


class Trained(NamedTuple):
    """A run that is over, the unlabeled images that it asked for, and what it printed."""

    run: RunFolder
    served: list[Tensor]
    stripes: Tensor
    out: str


@pytest.fixture(scope="module")
def unlabeled(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unlabeled squares, and a picture of black and white stripes."""
    folder = tmp_path_factory.mktemp("pool") / "unlabeled"
    shutil.copytree(squares / "unlabeled", folder)
    pixels = np.full((96, 96, 3), 255, np.uint8)
    pixels[:, ::4] = 0
    Image.fromarray(pixels).save(folder / "stripes.png")
    return folder


@pytest.fixture(scope="module")
def make(squares: Path, unlabeled: Path) -> Callable[..., Trainer]:
    """What `softdet train` makes of it: `make(folder, *overrides)`."""

    def make(folder: Path, *overrides: str) -> Trainer:
        places = [f"model.exp_path={folder}", f"data.unlabeled={unlabeled}"]
        config = load_config(squares / "tiny.yaml", [*places, *KEYS, *overrides])
        return trainer_in_its_folder(config)

    return make


def train(trainer: Trainer) -> Trained:
    served: list[Tensor] = []
    augment, out = trainer.augment, io.StringIO()

    def noting(batch: TrainBatch) -> AugmentedBatch:
        if batch.unlabeled is not None:
            served.extend(batch.unlabeled.images)
        return augment(batch)

    trainer.augment = noting
    with redirect_stdout(out):
        assert trainer.fit()
    images: ImageDataset = trainer.batches.args[1]  # type: ignore[attr-defined]
    (place,) = (place for place, record in enumerate(images.records) if record.path.name == "stripes.png")
    return Trained(RunFolder(trainer.checkpoint.parent), served, images[place].image, out.getvalue())


@pytest.fixture(scope="module")
def trained(make: Callable[..., Trainer], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """A run for each of the three settings."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        action: train(make(folder / action, f"soft_teacher.far_images={action}"))
        for action in ("keep", "flag", "leave_out")
    }


@pytest.mark.parametrize("action", ["keep", "flag", "leave_out"])
def test_the_image_that_does_not_belong_is_named_and_left_out_if_asked(
    trained: dict[str, Trained], action: str
) -> None:
    done = trained[action]
    assert len(done.served) == 4 * (NUM_STEPS - BURN_IN)
    assert any(torch.equal(image, done.stripes) for image in done.served) == (action != "leave_out")
    assert done.out.count("far images: 1 of 7 unlabeled images look") == (action != "keep")
    assert done.run.far_images.is_file() == (action != "keep")
    if action != "keep":
        with done.run.far_images.open(newline="") as file:
            (row,) = csv.DictReader(file)
        assert Path(row["file"]).name == "stripes.png"
        assert Path(row["nearest_labeled"]).name.startswith("train_")


def test_flagging_changes_nothing_of_the_run(trained: dict[str, Trained]) -> None:
    kept, flagged, left_out = (load_checkpoint(trained[action].run.checkpoint)["student"] for action in trained)
    assert all(torch.equal(flagged[name], tensor) for name, tensor in kept.items())
    assert not all(torch.equal(left_out[name], tensor) for name, tensor in kept.items())


@pytest.mark.parametrize("stop_after", [BURN_IN - 2, BURN_IN, BURN_IN + 2])
def test_a_resumed_run_keeps_the_decision(
    make: Callable[..., Trainer],
    trained: dict[str, Trained],
    softdet: Callable[..., int],
    tmp_path: Path,
    stop_after: int,
) -> None:
    cut = make(tmp_path / "cut", "soft_teacher.far_images=leave_out")
    set_learning_rate = cut.set_learning_rate

    def stop(step: int) -> None:
        if step == stop_after - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        set_learning_rate(step)

    cut.set_learning_rate = stop
    assert not cut.fit()
    run = RunFolder(tmp_path / "cut")
    assert (load_checkpoint(run.checkpoint)["pool"]["left_out"] is None) == (stop_after < BURN_IN)
    run.far_images.unlink(missing_ok=True)
    assert softdet("train", "--resume", run.path) == 0
    # Found out at the end of the burn-in, and not again.
    assert run.far_images.is_file() == (stop_after < BURN_IN)

    whole, resumed = (load_checkpoint(each.checkpoint) for each in (trained["leave_out"].run, run))
    assert whole["pool"] == resumed["pool"]
    assert len(whole["pool"]["left_out"]) == 1
    assert all(torch.equal(resumed["student"][name], tensor) for name, tensor in whole["student"].items())


def test_labeled_images_may_serve_as_unlabeled_ones(make: Callable[..., Trainer], tmp_path: Path) -> None:
    trainer: Any = make(tmp_path, "soft_teacher.labeled_too=True", "soft_teacher.burn_in_steps=0")
    labeled, pool = trainer.batches.args
    assert [record.path for record in pool.records[7:]] == [record.path for record in labeled.records]
    assert all(len(record.boxes) == len(record.ignored) == 0 for record in pool.records), (
        "nobody can read a label there"
    )
    batches = [batch.unlabeled for (batch,) in trainer.batches(range(15))]
    seen = {int(place) for batch in batches for place in find(batch.images, pool)}
    assert seen == set(range(15)), "15 steps of 4 are 4 passes over 7 + 8 images"
    assert trainer.pool.num_unlabeled == 7


def find(images: Tensor, pool: ImageDataset) -> list[int]:
    """The places of some images in a pool."""
    return [next(place for place in range(len(pool)) if torch.equal(pool[place].image, image)) for image in images]


def test_the_control_looks_at_no_pool(make: Callable[..., Trainer], tmp_path: Path) -> None:
    trainer = make(tmp_path, "soft_teacher.enabled=False", "soft_teacher.far_images=leave_out")
    assert trainer.pool is None
