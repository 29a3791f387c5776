"""The loop: what changes nothing, steps that must not happen, and files that can't be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from states import differences
from torch import Tensor
from trainers import numbers_of, trainer_in_its_folder
from two_processes import run_two_processes

from softdet.config import Config, load_config
from softdet.engine.checkpoint import load_checkpoint
from softdet.errors import DataError, RunError
from softdet.evaluation.run import RunFolder
from softdet.structures import AugmentedBatch, StepOutput


def test_the_number_of_loader_processes_changes_nothing(tiny_config: Callable[..., Config], tmp_path: Path) -> None:
    for num_workers in (0, 2):
        trainer = trainer_in_its_folder(
            tiny_config(
                f"model.exp_path={tmp_path / str(num_workers)}",
                f"params.data_worker={num_workers}",
                "params.iterations=4",
                "soft_teacher.enabled=False",
            )
        )
        assert trainer.fit()
    alone, with_workers = (load_checkpoint(RunFolder(tmp_path / name).checkpoint) for name in "02")
    assert differences(alone, with_workers) == []
    assert numbers_of(tmp_path / "0") == numbers_of(tmp_path / "2")


def test_another_seed_is_another_run_and_the_same_seed_the_same(
    tiny_config: Callable[..., Config], tmp_path: Path
) -> None:
    def students(name: str, seed: int) -> dict[str, Tensor]:
        trainer = trainer_in_its_folder(
            tiny_config(
                f"model.exp_path={tmp_path / name}",
                f"params.random_seed={seed}",
                "params.iterations=1",
                "soft_teacher.enabled=False",
            )
        )
        trainer.fit()
        return dict(trainer.student.module.state_dict())

    first = students("a", 1)
    assert differences(first, students("b", 1)) == []
    assert differences(first, students("c", 2)) != []


def test_micro_batches_give_the_step_of_the_whole_batch(tiny_config: Callable[..., Config], tmp_path: Path) -> None:
    students = []
    for accumulate in (1, 2):
        trainer = trainer_in_its_folder(
            tiny_config(
                f"model.exp_path={tmp_path / str(accumulate)}",
                f"params.accumulate={accumulate}",
                "params.iterations=1",
                "optimizer.which=SGD",
                "basenet.frozen_batchnorm=True",  # else each micro-batch has statistics of its own
                "soft_teacher.burn_in_steps=0",
            )
        )
        trainer.fit()
        students.append(trainer.student.module.state_dict())
    for name, value in students[0].items():
        torch.testing.assert_close(value, students[1][name], rtol=1e-4, atol=1e-6, msg=name)


def test_two_processes_train_and_test_as_one(squares: Path, tiny_run: Path, tmp_path: Path) -> None:
    overrides = [
        f"model.model_path={RunFolder(tiny_run).best}",  # so that the teacher sees something; BatchNorm is frozen
        "optimizer.which=SGD",
        "params.iterations=4",
        "params.evaluate_every=4",
        "params.log_every=1",
        "soft_teacher.burn_in_steps=2",
    ]
    alone = trainer_in_its_folder(
        load_config(squares / "tiny.yaml", [*overrides, f"model.exp_path={tmp_path / 'alone'}"])
    )
    alone.fit()

    command = ["train", "--config", str(squares / "tiny.yaml"), *overrides]
    first, second = run_two_processes(*command, f"model.exp_path={tmp_path / 'both'}")
    # The first one speaks for both.
    assert f"{RunFolder(tmp_path / 'both').best}: mAP" in first
    assert "mAP" not in second

    states = [load_checkpoint(RunFolder(tmp_path / name).checkpoint) for name in ("alone", "both")]
    for name, value in states[0]["student"].items():
        torch.testing.assert_close(states[1]["student"][name], value, rtol=1e-3, atol=1e-5, msg=name)
    assert states[0]["train"]["images_seen"] == states[1]["train"]["images_seen"] == 24
    for one, both in zip(numbers_of(tmp_path / "alone"), numbers_of(tmp_path / "both"), strict=True):
        assert one.keys() == both.keys()
        for name, value in one.items():
            if name != "health" and value:
                # The correlation of too few boxes is nan.
                assert float(both[name]) == pytest.approx(float(value), rel=2e-3, abs=1e-6, nan_ok=True), name


def test_gradients_are_clipped_together(tiny_config: Callable[..., Config], tmp_path: Path) -> None:
    for limit in (0.01, 0.0):
        trainer = trainer_in_its_folder(
            tiny_config(
                f"model.exp_path={tmp_path / str(limit)}",
                f"optimizer.clip_norm={limit}",
                "params.iterations=1",
                "soft_teacher.enabled=False",
            )
        )
        trainer.fit()
        gradients = [p.grad for p in trainer.student.module.parameters() if p.grad is not None]
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm().item()
        assert norm == pytest.approx(limit, rel=1e-3) if limit else norm > 0.1


def test_a_gradient_that_is_not_finite_is_skipped(
    tiny_config: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = trainer_in_its_folder(
        tiny_config(
            f"model.exp_path={tmp_path / 'run'}",
            "params.iterations=5",
            "params.log_every=1",
            "soft_teacher.enabled=False",
        )
    )
    step, students = trainer.method.step, []

    def overflow_at_2(batches: Sequence[AugmentedBatch]) -> Iterator[StepOutput]:
        students.append({name: p.detach().clone() for name, p in trainer.student.module.named_parameters()})
        for output in step(batches):
            yield replace(output, loss=output.loss * math.inf) if batches[0].step == 2 else output

    trainer.method.step = overflow_at_2  # type: ignore[method-assign]
    assert trainer.fit()
    # Each entry is the student before a step; the third step, of number 2, moved nothing.
    assert [differences(*pair) == [] for pair in pairwise(students)] == [False, False, True, False]
    assert "step 3: the gradients are not finite; the step is skipped" in capsys.readouterr().out
    assert [row["skipped_steps"] for row in numbers_of(tmp_path / "run")] == ["0", "0", "1", "1", "1"]
    assert all(torch.isfinite(value).all() for value in trainer.method.evaluation_model.state_dict().values())
    assert load_checkpoint(trainer.checkpoint)["train"]["skipped_steps"] == 1


def test_a_teacher_that_does_not_follow_is_said_in_other_words(
    tiny_config: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = trainer_in_its_folder(
        tiny_config(
            f"model.exp_path={tmp_path / 'run'}",
            "params.iterations=3",
            "soft_teacher.enabled=False",
            "basenet.frozen_batchnorm=False",
        )
    )
    follow = trainer.method.after_optimizer_step

    def poisoned_at_1() -> bool:
        if trainer.state.step == 1:
            trainer.student.module.state_dict()["backbone.body.conv1.1.running_var"].fill_(math.inf)
        return follow()

    trainer.method.after_optimizer_step = poisoned_at_1  # type: ignore[method-assign]
    assert trainer.fit()
    said = [line for line in capsys.readouterr().out.splitlines() if "skipped" in line]
    assert said == ["step 2: the student is not finite, and skipped by its teacher"]


def test_a_student_that_breaks_for_good_ends_the_run_and_the_teacher_stays_finite(
    tiny_config: Callable[..., Config], tmp_path: Path
) -> None:
    trainer = trainer_in_its_folder(
        tiny_config(f"model.exp_path={tmp_path / 'run'}", "params.iterations=40", "soft_teacher.enabled=False")
    )
    augment = trainer.augment

    def broken_from_2(batch: Any) -> AugmentedBatch:
        views = augment(batch)
        if batch.step >= 2:
            views.labeled.images.fill_(math.nan)
        return views

    trainer.augment = broken_from_2
    with pytest.raises(RunError, match=r"not finite for 25 steps in a row, up to step 27\..*optimizer\.lr"):
        trainer.fit()
    assert all(torch.isfinite(value).all() for value in trainer.method.evaluation_model.state_dict().values())


def config_of(folder: Path, *overrides: str) -> Config:
    return load_config(
        folder / "tiny.yaml", [f"model.exp_path={folder / 'run'}", "soft_teacher.enabled=False", *overrides]
    )


def test_an_unreadable_image_is_named_skipped_and_counted(
    own_squares: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_squares / "images" / "train_3.png").write_bytes(b"no picture")
    trainer = trainer_in_its_folder(config_of(own_squares, "params.iterations=2", "params.log_every=1"))
    assert trainer.fit()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped: ")]
    assert "train_3.png" in line
    assert numbers_of(own_squares / "run")[-1]["images_unreadable"] == "1"
    state = load_checkpoint(trainer.checkpoint)["train"]
    assert (state["images_seen"], state["images_unreadable"]) == (8, 1)


def test_more_than_one_unreadable_image_in_twenty_is_fatal(own_squares: Path) -> None:
    (own_squares / "images" / "train_3.png").unlink()
    trainer = trainer_in_its_folder(config_of(own_squares, "params.iterations=40"))
    with pytest.raises(DataError, match=r"4 of \d+ images served so far can't be read, more than 5%.*train_3\.png"):
        trainer.fit()


def test_what_is_due_is_done_and_the_last_step_does_everything(
    tiny_config: Callable[..., Config], tmp_path: Path
) -> None:
    trainer = trainer_in_its_folder(
        tiny_config(
            f"model.exp_path={tmp_path / 'run'}",
            "params.iterations=7",
            "params.log_every=2",
            "params.evaluate_every=3",
            "params.checkpoint_every=4",
            "soft_teacher.enabled=False",
        )
    )
    saved: list[int] = []
    save = trainer.save

    def note() -> None:
        saved.append(trainer.state.step)
        save()

    trainer.save = note  # type: ignore[method-assign]
    trainer.fit()
    rows = numbers_of(tmp_path / "run")
    assert [row["step"] for row in rows if row["loss"]] == ["2", "4", "6", "7"]
    assert [row["step"] for row in rows if row["valid_AP"]] == ["3", "6", "7"]
    assert saved == [4, 7]


def test_a_run_on_which_nothing_is_ever_found_has_a_result_all_the_same(
    tiny_config: Callable[..., Config], tmp_path: Path
) -> None:
    trainer = trainer_in_its_folder(
        tiny_config(f"model.exp_path={tmp_path / 'run'}", "params.iterations=1", "soft_teacher.enabled=False")
    )
    score = trainer.evaluator.score
    trainer.evaluator = replace(trainer.evaluator, score=replace(score, truth=score.truth | {"annotations": []}))  # type: ignore
    trainer.fit()
    assert trainer.state.best_ap == -1
    RunFolder(tmp_path / "run").require_result()
