"""A batch of augmented images, a teacher that is sure of some boxes in them, and the method around both."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from softdet.data.augment import Augmenter, Policy
from softdet.models.retinanet import RetinaNet
from softdet.semi.soft_teacher import SoftTeacher
from softdet.semi.teacher import Teacher
from softdet.semi.thresholds import UncertaintyThreshold
from softdet.structures import AugmentedBatch, LabeledBatch, StepOutput, Targets, TrainBatch, UnlabeledBatch, View

OPTIONS: dict[str, Any] = {
    "score_threshold": 0.9,
    "box_score_threshold": 0.9,
    "background": "soft",
    "doubtful_threshold": 0.3,
    "box_reliability": "cluster",
    "unsupervised_weight": 1.0,
    "burn_in_steps": 0,
    "ramp_steps": 0,
    "empty_image_weight": 0.0,
}


def squares(generator: torch.Generator, count: int) -> tuple[Tensor, Targets]:
    """A noisy stored image of 80 x 80 with plain squares, and their boxes."""
    image = torch.randint(0, 256, (3, 80, 80), generator=generator, dtype=torch.uint8)
    corners = torch.randint(0, 40, (count, 2), generator=generator)
    boxes = torch.cat([corners, corners + torch.randint(14, 40, (count, 1), generator=generator)], 1)
    for number, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        image[:, y1:y2, x1:x2] = 90 * number
    return image, Targets(boxes.float(), torch.arange(count) % 3, torch.zeros(0, 4))


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., AugmentedBatch]:
    """Draw and augment a batch: `make_batch(size, step, unlabeled=True)`; every third labeled image is empty."""
    augmenter = Augmenter(
        labeled=Policy(scale=(0.8, 1.2), colour=True),
        weak=Policy(scale=(0.8, 1.0)),
        strong=Policy(scale=(0.7, 1.2), translate=0.1, colour=True, erase=True),
        size=(64, 64),
        seed=3,
    )

    def make(size: int = 4, step: int = 0, *, unlabeled: bool = True) -> AugmentedBatch:
        generator = torch.Generator().manual_seed(step)
        images, targets = zip(*(squares(generator, number % 3) for number in range(2 * size)), strict=True)
        content, positions = torch.full((size, 2), 80), torch.arange(size)
        readable = torch.ones(size, dtype=torch.bool)
        labeled = LabeledBatch(torch.stack(images[:size]), content, positions, readable, (), targets[:size])
        rest = UnlabeledBatch(torch.stack(images[size:]), content, positions, readable) if unlabeled else None
        return augmenter(TrainBatch(step, labeled, rest))

    return make


def _rows(part: Any, chosen: slice | list[int]) -> Any:
    if isinstance(part, View):
        return View(part.images[chosen], part.matrices[chosen], None if part.clean is None else part.clean[chosen])
    if isinstance(part, tuple):
        return part[chosen] if isinstance(chosen, slice) else tuple(part[number] for number in chosen)
    return None if part is None else part[chosen]


@pytest.fixture(scope="session")
def take() -> Callable[..., AugmentedBatch]:
    """Some images of a batch: `take(batch, labeled=rows, unlabeled=rows)`; rows are a slice or a list."""
    everything = slice(None)

    def choose(batch: AugmentedBatch, labeled: Any = everything, unlabeled: Any = everything) -> AugmentedBatch:
        of_labeled = {name: _rows(getattr(batch, name), labeled) for name in ("labeled", "targets", "labeled_readable")}
        rest = {name: _rows(getattr(batch, name), unlabeled) for name in ("weak", "strong", "unlabeled_readable")}
        return replace(batch, **of_labeled, **rest)

    return choose


@pytest.fixture(scope="session")
def cut(take: Callable[..., AugmentedBatch]) -> Callable[[AugmentedBatch, int], list[AugmentedBatch]]:
    """A batch in equal parts."""

    def parts(batch: AugmentedBatch, count: int) -> list[AugmentedBatch]:
        size = len(batch.targets) // count
        slices = [slice(start, start + size) for start in range(0, size * count, size)]
        return [take(batch, rows, rows) for rows in slices]

    return parts


@pytest.fixture(scope="session")
def make_teacher(make_model: Callable[..., RetinaNet]) -> Callable[..., Teacher]:
    """An untrained teacher whose outputs are wide enough to be sure of some boxes in every image."""

    def make(decay: float = 0.9, bias: float = -2.0, **changes: Any) -> Teacher:
        model = make_model(0, **changes)
        # The anchors of a cell agree about the class, or else every box would stand alone.
        weight = torch.randn(1, 3, *model.class_head.output.weight.shape[1:]) * 0.6
        noise = torch.randn(9, *weight.shape[1:]) * 0.05
        model.class_head.output.weight.data.copy_((weight + noise).flatten(0, 1))
        nn.init.normal_(model.box_head.output.weight, std=0.02)
        nn.init.constant_(model.class_head.output.bias, bias)
        return Teacher(model, decay)

    return make


@pytest.fixture(scope="session")
def make_method(
    make_model: Callable[..., RetinaNet], make_teacher: Callable[..., Teacher]
) -> Callable[..., SoftTeacher]:
    """Soft Teacher with a student of its own: `make_method(student, teacher, uncertainty=None, **options)`."""

    def make(
        student: nn.Module | None = None,
        teacher: Teacher | None = None,
        uncertainty: float | None = None,
        **changes: Any,
    ) -> SoftTeacher:
        threshold = UncertaintyThreshold(uncertainty)
        options = OPTIONS | {"uncertainty_threshold": threshold} | changes
        return SoftTeacher(student or make_model(1), teacher or make_teacher(), **options)

    return make


@pytest.fixture(scope="session")
def backward() -> Callable[..., tuple[dict[str, Tensor], list[StepOutput]]]:
    """One step's gradients by name, and its outputs."""

    def run(method: Any, batches: Iterable[AugmentedBatch]) -> tuple[dict[str, Tensor], list[StepOutput]]:
        method.student.zero_grad()
        outputs = []
        for output in method.step(list(batches)):
            output.loss.backward()
            outputs.append(output)
        grads = {name: parameter.grad.clone() for name, parameter in method.student.named_parameters()}
        return grads, outputs

    return run
