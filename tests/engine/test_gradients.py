"""Out of memory: smaller micro-batches, the same gradients; said once, decided by all ranks together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from trainers import trainer_of

from softdet.config import Config
from softdet.engine import gradients as module
from softdet.engine.checkpoint import load_checkpoint
from softdet.engine.trainer import Trainer
from softdet.errors import RunError
from softdet.evaluation.run import RunFolder
from softdet.structures import AugmentedBatch, StepOutput

Output = pytest.CaptureFixture[str]


class Greedy:
    """A method that has memory for so many images of each kind at once."""

    def __init__(self, method: Any, room: int) -> None:
        self.method = method
        self.room = room
        self.asked: list[list[int]] = []

    def step(self, batches: Sequence[AugmentedBatch]) -> Iterator[StepOutput]:
        self.asked.append([len(batch.targets) for batch in batches])
        for output, batch in zip(self.method.step(batches), batches, strict=True):
            if len(batch.targets) > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
            yield output

    def __getattr__(self, name: str) -> Any:
        return getattr(self.method, name)


@pytest.fixture
def trainer(tiny_config: Callable[..., Config], tiny_run: Path, tmp_path: Path) -> Trainer:
    """Of a run whose teacher sees something, and labels from the first step."""
    changes = ("soft_teacher.burn_in_steps=0", "soft_teacher.pseudo_cls_th=0.01", "params.iterations=4")
    # The statistics of a free BatchNorm would be those of the smaller micro-batch.
    changes += (
        "params.mixup=0.5",
        "params.paste=0.5",
        "basenet.frozen_batchnorm=True",
        f"model.model_path={RunFolder(tiny_run).best}",
    )
    return trainer_of(tiny_config(f"model.exp_path={tmp_path / 'run'}", *changes, "params.evaluate_every=4"))


def gradients_of(trainer: Trainer, pieces: int, said: list[str]) -> tuple[list[Tensor], dict[str, float], int]:
    batches = next(iter(trainer.batches(range(1))))
    numbers, pieces = trainer.gradients.of(trainer.method, trainer.augment, batches, pieces, 0, said.append)
    found = [p.grad.clone() for p in trainer.student.parameters() if p.grad is not None]
    return found, numbers, pieces


def test_a_step_that_does_not_fit_is_cut_and_gives_the_same_gradients(trainer: Trainer) -> None:
    said: list[str] = []
    before = trainer.method.state_dict()["labeler"]["uncertainty_threshold"]["recent"]
    whole, numbers, pieces = gradients_of(trainer, 1, said)
    assert pieces == 1
    assert said == []
    # What the teacher has seen counts once, however often the step was tried.
    seen_once = trainer.method.state_dict()["labeler"]["uncertainty_threshold"]["recent"]
    trainer.method.labeler.uncertainty_threshold.recent = before  # type: ignore[attr-defined]

    greedy = trainer.method = Greedy(trainer.method, room=1)
    cut, numbers_cut, pieces = gradients_of(trainer, 1, said)
    assert greedy.asked == [[4], [2, 2], [1, 1, 1, 1]]
    assert pieces == 4
    assert len(said) == 2
    assert said[0] == (
        "step 1: out of memory with 4 labeled and unlabeled images at once; from here on they come in pieces of 2, "
        "and the step as a whole stays what it was"
    )
    torch.testing.assert_close(cut, whole, rtol=1e-3, atol=1e-6)
    assert numbers_cut == pytest.approx(numbers, rel=1e-3, abs=1e-5)
    seen = greedy.state_dict()["labeler"]["uncertainty_threshold"]["recent"]
    assert len(seen) == len(seen_once) > 0


def test_labeled_images_are_mixed_and_pasted_on_however_they_are_cut(
    tiny_config: Callable[..., Config], tmp_path: Path
) -> None:
    trainer = trainer_of(tiny_config(f"model.exp_path={tmp_path / 'run'}", "params.paste=1"))
    (batch,) = next(iter(trainer.batches(range(1))))
    whole = trainer.augment(batch)
    assert sum(map(len, whole.targets)) > sum(map(len, batch.labeled.targets))
    for pieces in (1, 2, 3, 4):
        parts = trainer.gradients._views(trainer.augment, [batch], pieces)
        assert len(parts) == pieces
        assert torch.equal(torch.cat([part.labeled.images for part in parts]), whole.labeled.images)
        shown = [targets.boxes for part in parts for targets in part.targets]
        assert all(torch.equal(one, other.boxes) for one, other in zip(shown, whole.targets, strict=True))


def test_pieces_that_cannot_be_halved_are_cut_to_single_images(trainer: Trainer) -> None:
    (batch,) = next(iter(trainer.batches(range(1))))
    said: list[str] = []
    assert batch.most_pieces == 4
    assert trainer.gradients._smaller([batch], 3, said.append) == 4
    assert said == [
        "step 1: out of memory with 2 labeled and unlabeled images at once; from here on they come in pieces of 1, "
        "and the step as a whole stays what it was"
    ]


def test_pieces_are_equal_where_they_can_be(tiny_config: Callable[..., Config], tmp_path: Path) -> None:
    keys = ("params.batch_size=6", "soft_teacher.unlabeled_ratio=2", "soft_teacher.burn_in_steps=0")
    trainer = trainer_of(tiny_config(f"model.exp_path={tmp_path / 'run'}", *keys))
    batches = next(iter(trainer.batches(range(1))))
    assert [trainer.gradients._smaller(batches, pieces, lambda _: None) for pieces in (1, 2, 3, 4)] == [2, 6, 6, 6]


def test_the_burn_in_may_have_been_cut_further_than_a_step_with_few_unlabeled_images_can_be(
    tiny_config: Callable[..., Config], tmp_path: Path
) -> None:
    keys = ("soft_teacher.burn_in_steps=0", "soft_teacher.unlabeled_ratio=0.5")
    trainer = trainer_of(tiny_config(f"model.exp_path={tmp_path / 'run'}", *keys))
    assert gradients_of(trainer, 4, [])[2] == 2


def test_statistics_of_unequal_pieces_are_means_over_the_images(
    tiny_config: Callable[..., Config], tiny_run: Path, tmp_path: Path
) -> None:
    keys = ("soft_teacher.burn_in_steps=0", "soft_teacher.pseudo_cls_th=0.01", "soft_teacher.unlabeled_ratio=0.75")
    start = ("basenet.frozen_batchnorm=True", f"model.model_path={RunFolder(tiny_run).best}")
    trainer = trainer_of(tiny_config(f"model.exp_path={tmp_path / 'run'}", *keys, *start))
    (_, whole, _), (_, cut, _) = gradients_of(trainer, 1, []), gradients_of(trainer, 2, [])
    for name in ("pseudo_boxes", "pseudo_candidates", "empty_images", "anchors_taught"):
        assert cut[name] == pytest.approx(whole[name], rel=1e-5)
    assert whole["pseudo_boxes"] > 0


def test_the_trial_has_the_precision_of_the_step(trainer: Trainer, two_ranks: list[int]) -> None:
    seen: list[bool] = []

    class Curious(Greedy):
        def step(self, batches: Sequence[AugmentedBatch]) -> Iterator[StepOutput]:
            seen.append(torch.is_autocast_enabled("cpu"))
            yield from super().step(batches)

    trainer.gradients.trial = Curious(trainer.method, room=4)
    trainer.gradients.fabric.autocast = lambda: torch.autocast("cpu", torch.bfloat16)  # type: ignore[method-assign]
    gradients_of(trainer, 1, [])
    assert seen == [True]


def test_a_free_batchnorm_sees_a_step_once_tried_or_not(
    tiny_config: Callable[..., Config], tmp_path: Path, two_ranks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def statistics(name: str, ranks: int) -> list[Tensor]:
        monkeypatch.setattr(module, "world_size", lambda: ranks)
        trainer = trainer_of(tiny_config(f"model.exp_path={tmp_path / name}", "basenet.frozen_batchnorm=False"))
        trainer.gradients.trial = trial = Greedy(trainer.method, room=4)
        before = [buffer.clone() for buffer in trainer.student.buffers()]
        gradients_of(trainer, 1, [])
        assert len(trial.asked) == (ranks > 1)
        after = [*trainer.student.buffers()]
        assert not all(map(torch.equal, before, after))
        return after

    alone, tried = statistics("alone", 1), statistics("tried", 2)
    assert all(map(torch.equal, alone, tried))


def test_it_stays_cut_and_is_in_the_checkpoint(trainer: Trainer, capsys: Output) -> None:
    greedy = trainer.method = Greedy(trainer.method, room=2)
    assert trainer.fit()
    assert greedy.asked == [[4], *[[2, 2]] * 4]
    assert capsys.readouterr().out.count("out of memory") == 1
    assert load_checkpoint(trainer.checkpoint)["train"]["pieces"] == 2


def test_one_image_that_does_not_fit_is_an_error_with_a_way_out(trainer: Trainer) -> None:
    trainer.method = Greedy(trainer.method, room=0)
    with pytest.raises(RunError, match=r"step 1: out of memory with 1 labeled and unlabeled image at once.*image_size"):
        gradients_of(trainer, 1, [])


def test_a_batch_is_cut_as_far_as_its_rarer_kind(tiny_config: Callable[..., Config], tmp_path: Path) -> None:
    changes = ("soft_teacher.burn_in_steps=0", "soft_teacher.unlabeled_ratio=0.75")
    trainer = trainer_of(tiny_config(f"model.exp_path={tmp_path / 'run'}", *changes))
    (batch,) = next(iter(trainer.batches(range(1))))
    assert batch.most_pieces == 3
    whole = trainer.augment(batch)
    parts = whole.split(3)
    assert [len(part.labeled.images) for part in parts] == [1, 1, 2]
    assert [len(part.strong.images) for part in parts if part.strong] == [1, 1, 1]
    assert [targets for part in parts for targets in part.targets] == list(whole.targets)
    assert [margins for part in parts for margins in part.margins] == list(whole.margins)
    assert torch.equal(torch.cat([part.weak.matrices for part in parts if part.weak]), whole.weak.matrices)  # type: ignore[union-attr]


@pytest.fixture
def two_ranks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two ranks, of which the other one says what stands in the list, in turn; an empty list means that it fits."""
    failures: list[int] = []

    def sum_with_the_other(values: Tensor) -> Tensor:
        if values.shape == (1,):
            return values + (failures.pop(0) if failures else 0)
        return 2 * values

    monkeypatch.setattr(module, "world_size", lambda: 2)
    monkeypatch.setattr(module, "sum_over_ranks", sum_with_the_other)
    return failures


def test_all_ranks_cut_where_one_must(trainer: Trainer, two_ranks: list[int]) -> None:
    method = trainer.method
    trainer.gradients.trial = trial = Greedy(method, room=4)
    two_ranks.append(1)
    said: list[str] = []
    _, _, pieces = gradients_of(trainer, 1, said)
    # It fits here, and is cut all the same, since the other rank's didn't.
    assert trial.asked == [[4], [2, 2]]
    assert pieces == 2
    assert len(said) == 1
    # The next step of the kind isn't tried again.
    gradients_of(trainer, pieces, said)
    assert len(trial.asked) == 2
    trial.room = 1
    trainer.method = Greedy(method, room=1)
    with pytest.raises(RunError, match="out of memory on rank 0, after steps of the same kind had fitted"):
        gradients_of(trainer, pieces, said)
