"""A batch of augmented images, a teacher that is sure of some boxes in them, and the method around both."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from softdet.data.augment import Augmenter, Policy, project
from softdet.data.target_batch import TargetBatch
from softdet.models.criterion import assign, classification_loss, regression_loss
from softdet.models.retinanet import RetinaNet
from softdet.semi.labeling import Labeler
from softdet.semi.soft_teacher import SoftTeacher
from softdet.semi.teacher import Teacher
from softdet.semi.thresholds import ScoreThresholds, UncertaintyThreshold
from softdet.structures import (
    AugmentedBatch,
    DenseOutput,
    LabeledBatch,
    StepOutput,
    Targets,
    TrainBatch,
    UnlabeledBatch,
    View,
)

LABELER: dict[str, Any] = {
    "box_score_threshold": 0.3,
    "background": "soft",
    "doubtful_threshold": 0.06,
    "box_reliability": "cluster",
    "empty_image_weight": 0.0,
}
METHOD: dict[str, Any] = {
    "class_targets": "hard",
    "unsupervised_weight": 1.0,
    "burn_in_steps": 0,
    "ramp_steps": 0,
    "max_loss_ratio": None,
    "missing_labels": "background",
}


def draw_image(seed: int, count: int) -> tuple[Tensor, Targets]:
    """A noisy stored image of 64 x 64 with plain squares, and their boxes."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, 64, 64), generator=generator, dtype=torch.uint8)
    corners = torch.randint(0, 32, (count, 2), generator=generator)
    boxes = torch.cat([corners, corners + torch.randint(14, 32, (count, 1), generator=generator)], 1)
    for label, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        image[:, y1:y2, x1:x2] = 0
        image[label, y1:y2, x1:x2] = 255
    return image, Targets(boxes.float(), torch.arange(count), torch.zeros(0, 4))


def unlabeled_image(step: int, number: int) -> tuple[Tensor, Targets]:
    """Two squares in every other one, and nothing but noise in the rest; also what nobody tells the student."""
    return draw_image(1000 * step + 500 + number, 0 if number % 2 else 2)


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., AugmentedBatch]:
    """Draw and augment a batch, `make_batch(size, step, unlabeled=True)`; every third labeled image is empty."""
    augmenter = Augmenter(
        labeled=Policy(scale=(0.8, 1.2), colour=True),
        weak=Policy(scale=(0.8, 1.0)),
        strong=Policy(scale=(0.7, 1.2), translate=0.1, colour=True, erase=True),
        size=(64, 64),
        seed=3,
    )

    def make(size: int = 4, step: int = 0, *, unlabeled: bool = True) -> AugmentedBatch:
        images, targets = zip(*(draw_image(1000 * step + number, number % 3) for number in range(size)), strict=True)
        content, positions = torch.full((size, 2), 64), torch.arange(size)
        readable = torch.ones(size, dtype=torch.bool)
        labeled = LabeledBatch(torch.stack(images), content, positions, readable, (), targets)
        others = torch.stack([unlabeled_image(step, number)[0] for number in range(size)])
        rest = UnlabeledBatch(others, content, positions, readable) if unlabeled else None
        return augmenter(TrainBatch(step, labeled, rest))

    return make


@pytest.fixture(scope="session")
def batch(make_batch: Callable[..., AugmentedBatch]) -> AugmentedBatch:
    """Four labeled and four unlabeled images; the teacher is sure of boxes in every other one of these."""
    return make_batch(4)


def _rows(part: Any, chosen: slice | list[int]) -> Any:
    if isinstance(part, View):
        return View(part.images[chosen], part.matrices[chosen], part.clean[chosen])
    if isinstance(part, tuple):
        return part[chosen] if isinstance(chosen, slice) else tuple(part[number] for number in chosen)
    return None if part is None else part[chosen]


@pytest.fixture(scope="session")
def take() -> Callable[..., AugmentedBatch]:
    """Some images of a batch: `take(batch, labeled=rows, unlabeled=rows)`; rows are a slice or a list."""
    everything = slice(None)

    def choose(batch: AugmentedBatch, labeled: Any = everything, unlabeled: Any = everything) -> AugmentedBatch:
        of_labeled = {name: _rows(getattr(batch, name), labeled) for name in ("labeled", "targets", "labeled_readable")}
        rest = {
            name: _rows(getattr(batch, name), unlabeled) for name in ("weak", "strong", "unlabeled_readable", "margins")
        }
        return replace(batch, **of_labeled, **rest)

    return choose


@pytest.fixture(scope="session")
def trained_weights(
    make_model: Callable[..., RetinaNet], make_batch: Callable[..., AugmentedBatch]
) -> dict[str, Tensor]:
    """A model whose heads have learned the squares of the first unlabeled images; the rest of it is random."""
    model, weak = make_model(0).eval(), make_batch(8).weak
    truth = [unlabeled_image(0, number)[1] for number in range(8)]
    targets = project(TargetBatch.of(truth), weak.matrices, weak.size).split()
    assignment = assign(model.anchors_at(weak.size), targets, allow_low_quality=True)
    with torch.no_grad():
        levels = model._features(weak.images)
    optimizer = torch.optim.Adam([*model.class_head.parameters(), *model.box_head.parameters()], lr=0.02)
    weights, count = torch.ones(1, 1), assignment.positive.sum()
    for _ in range(80):
        output = DenseOutput(model.class_head(levels), model.box_head(levels), model.anchors_at(weak.size))
        loss = classification_loss(output, assignment, weights) + regression_loss(output, assignment, weights)
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    return model.state_dict()


@pytest.fixture(scope="session")
def make_teacher(make_model: Callable[..., RetinaNet], trained_weights: dict[str, Tensor]) -> Callable[..., Teacher]:
    """A teacher that knows the squares: `make_teacher(decay)`."""

    def make(decay: float = 0.9) -> Teacher:
        model = make_model()
        model.load_state_dict(trained_weights)
        return Teacher(model, decay)

    return make


@pytest.fixture(scope="session")
def make_method(
    make_model: Callable[..., RetinaNet], make_teacher: Callable[..., Teacher]
) -> Callable[..., SoftTeacher]:
    """Soft Teacher with a student of its own: `make_method(student, teacher, score_threshold=0.3, **options)`."""

    def make(
        student: nn.Module | None = None,
        teacher: Teacher | None = None,
        uncertainty: float | None = None,
        score_threshold: float | None = 0.3,
        **changes: Any,
    ) -> SoftTeacher:
        teacher = teacher or make_teacher()
        labeler = Labeler(
            teacher,
            score_thresholds=ScoreThresholds(score_threshold, (1.0, 1.0, 1.0)),
            uncertainty_threshold=UncertaintyThreshold(uncertainty),
            wants_beliefs=changes.get("class_targets") in ("soft", "dense"),
            **LABELER | {name: value for name, value in changes.items() if name not in METHOD},
        )
        options = METHOD | {name: value for name, value in changes.items() if name in METHOD}
        return SoftTeacher(student or make_model(1), teacher, labeler, **options)

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
