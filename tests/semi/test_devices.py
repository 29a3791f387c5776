"""A step keeps to its device: what a GPU would refuse is refused where there is none, and the losses are the CPU's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from made_up_device import DEVICE, made_up_device
from torch import Tensor

from softdet.data.augment import Augmenter, Policy
from softdet.structures import LabeledBatch, StepOutput, Targets, TrainBatch, UnlabeledBatch

SETTINGS: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "the default's": {"class_targets": "dense", "box_reliability": "none", "mixup": True, "paste": 0.5},
    "all else": {"background": "ignore", "box_reliability": "anchors", "missing_labels": "ignore", "turn": 0.5},
}


def stored(number: int) -> TrainBatch:
    """Images with squares in them, every third labeled one without."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (number, 3, 64, 64), dtype=torch.uint8, generator=generator)
    images[:, :2, 10:40, 16:46] = 0
    box = torch.tensor([[16.0, 10, 46, 40]])
    targets = tuple(
        Targets(box[: n % 3], torch.zeros(min(n % 3, 1), dtype=torch.int64), box / 4) for n in range(number)
    )
    common = (torch.full((number, 2), 64), torch.arange(number), torch.ones(number, dtype=torch.bool))
    return TrainBatch(0, LabeledBatch(images, *common, (), targets), UnlabeledBatch(images.flip(0), *common))


def losses(method: Any, batch: TrainBatch, paste: float, turn: float) -> list[StepOutput]:
    labeled = Policy(scale=(0.8, 1.2), colour=True, mixup=0.5, paste=paste, quarter_turn=turn)
    weak, strong = Policy(scale=(0.8, 1.0)), Policy(scale=(0.7, 1.2), erase=True, colour=True, paste=paste)
    outputs = list(method.step(Augmenter(labeled, weak, strong, (64, 64), seed=3)(batch).split(2)))
    sum(output.loss for output in outputs).backward()
    return outputs


@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_keeps_to_its_device(name: str, make_method: Callable[..., Any]) -> None:
    settings = dict(SETTINGS[name])
    probabilities = settings.pop("paste", 0.0), settings.pop("turn", 0.0)
    expected = losses(make_method(**settings), stored(6), *probabilities)
    method = make_method(**settings)
    with made_up_device():
        method.student.to(DEVICE)
        method.teacher.model.to(DEVICE)
        found = losses(method, stored(6).to(DEVICE), *probabilities)
    for output, wanted in zip(found, expected, strict=True):
        values, wanted_values = (
            {name: float(value) for name, value in each.losses.items()} for each in (output, wanted)
        )
        assert values == pytest.approx(wanted_values, rel=1e-5)
        assert output.statistics == pytest.approx(wanted.statistics)
    assert sum(output.statistics["pseudo_boxes"] for output in found) > 0


def test_the_device_refuses_what_a_gpu_refuses() -> None:
    with made_up_device():
        there, here = torch.ones(3, device=DEVICE), torch.ones(3)
        assert (there + 1).tolist() == [2, 2, 2]
        assert (there + torch.tensor(1.0)).device == DEVICE
        assert there.cpu().device.type == "cpu"
        assert isinstance(there[there > 2], Tensor)
        assert (there[torch.tensor([1, 2])] + there[[0, 1]]).tolist() == [2, 2], "indices may be on the CPU"
        for wrong in (lambda: there + here, lambda: here[there > 0], lambda: torch.cat([there, here])):
            with pytest.raises(RuntimeError, match="tensors of two devices"):
                wrong()
