"""Soft Teacher (arXiv 2106.09018) on a single-stage detector: one training step, as the algorithm box says it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from softdet.models.criterion import BoxLoss, regression_loss
from softdet.semi.class_targets import ClassTargets, unsupervised_class_loss
from softdet.semi.labeling import Labeler, Lesson
from softdet.semi.losses import assign_labeled, detached, normalisers, sum_of, supervised_losses
from softdet.semi.missing_labels import with_missing_ignored
from softdet.semi.teacher import Teacher
from softdet.structures import AugmentedBatch, StepOutput


class SoftTeacher:
    """An EMA teacher labels the unlabeled images for its student.

    Args:
        student: the model that learns, as wrapped for the devices.
        teacher: its average.
        labeler: turns what the teacher sees into lessons.
        class_targets: what a lesson says of a pseudo box's class; see `class_targets`.
        box_loss: of both branches; see `regression_loss`.
        unsupervised_weight: of the unlabeled images' losses.
        burn_in_steps: steps on labeled images alone; the teacher tracks the student from step 0.
        ramp_steps: the weight grows linearly over so many steps after that; 0 for at once.
        max_loss_ratio: the unlabeled images' losses are scaled down to at most so many times the labeled ones', in each
            micro-batch; None for no limit.
        missing_labels: what an object of a labeled image is that the teacher is sure of and nobody boxed.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher,
        labeler: Labeler,
        *,
        class_targets: ClassTargets,
        box_loss: BoxLoss = "smooth_l1",
        unsupervised_weight: float,
        burn_in_steps: int,
        ramp_steps: int,
        max_loss_ratio: float | None = None,
        missing_labels: Literal["background", "ignore"] = "background",
    ) -> None:
        self.student = student
        self.teacher = teacher
        self.labeler = labeler
        self.class_targets: ClassTargets = class_targets
        self.box_loss: BoxLoss = box_loss
        self.unsupervised_weight = unsupervised_weight
        self.burn_in_steps = burn_in_steps
        self.ramp_steps = ramp_steps
        self.max_loss_ratio = max_loss_ratio
        self.missing_labels = missing_labels
        self._asked = {"score_thresholds": labeler.score_thresholds.fixed, "unsupervised_weight": unsupervised_weight}
        self._adjusted: dict[str, Any] = {}

    def step(self, batches: Sequence[AugmentedBatch]) -> Iterator[StepOutput]:
        """Label, then teach: one loss per micro-batch, whose gradients add up to the whole batch's.

        Args:
            batches: the micro-batches of one optimizer step, of this rank.
        """
        batches = [self._heed_missing(batch) for batch in batches]
        labeled = [assign_labeled(self.teacher.model, batch) for batch in batches]
        pseudo = [self.labeler.label(batch) for batch in batches]
        self.labeler.observe(pseudo)
        lessons = [self.labeler.prepare(batch, labels) for batch, labels in zip(batches, pseudo, strict=True)]
        num_labeled, num_classes, num_boxes = normalisers(
            sum(assignment.positive.sum() for assignment in labeled),
            sum((lesson.classes.positive & (lesson.weights > 0)).sum() for lesson in lessons if lesson),
            sum((lesson.boxes.positive & lesson.readable[:, None]).sum() for lesson in lessons if lesson),
        )
        if self.class_targets == "dense":
            # Scores at all anchors cost no less where the teacher is sure of no box; labeled images have some.
            num_classes = num_classes.maximum(num_labeled * _unlabeled_ratio(batches))
        for batch, assignment, lesson in zip(batches, labeled, lessons, strict=True):
            if lesson is None:
                output = self.student(batch.labeled.images)
                losses = supervised_losses(output, assignment, batch, num_labeled, self.box_loss)
                yield StepOutput(sum_of(losses), detached(losses), {})
                continue
            # One call for both branches: right under data parallelism and BatchNorm.
            output = self.student(torch.cat([batch.labeled.images, lesson.images]))
            on_labeled, on_strong = output.split([len(batch.labeled.images), len(lesson.images)])
            supervised = supervised_losses(on_labeled, assignment, batch, num_labeled, self.box_loss)
            unsupervised = {
                "unsupervised_class": unsupervised_class_loss(on_strong, lesson, self.class_targets) / num_classes,
                # There is no background in this list that could be wrong, so no belief to weigh.
                "unsupervised_box": regression_loss(
                    on_strong, lesson.boxes, lesson.readable[:, None].float(), self.box_loss
                )
                / num_boxes,
            }
            known = sum_of(supervised)
            guessed = self._weigh(sum_of(unsupervised), known, batch.step)
            statistics = lesson.statistics | _agreement(on_strong.logits.detach(), lesson)
            yield StepOutput(known + guessed, detached(supervised | unsupervised), statistics)

    def weight_at(self, step: int) -> float:
        """The unsupervised weight at a step: 0 in the burn-in, then a linear ramp, then constant."""
        since = step - self.burn_in_steps
        if since < 0:
            return 0.0
        return self.unsupervised_weight * min(1.0, (since + 1) / max(1, self.ramp_steps))

    @property
    def score_threshold(self) -> float:
        """Above which a pseudo box teaches its class; the mean over the classes that any can, 1 where none is."""
        values = self.labeler.score_thresholds.value
        can_be_met = values[values < 1]
        # A float32's digits and no more: .7 is to be seen as .7.
        return round(float(can_be_met.mean()), 6) if len(can_be_met) else 1.0

    def lower_score_thresholds(self, factor: float, lowest: float) -> None:
        """Multiply each class's threshold for the rest of the run, down to the lowest; 1 and what is below that stay.

        What is adjusted travels in the state, and stands above the config until its key there is changed.
        """
        values = self.labeler.score_thresholds.value
        lowered = torch.where(values < 1, values.minimum((factor * values).clamp(min=lowest)), values)
        self._adjusted["score_thresholds"] = lowered.tolist()
        self._apply_adjusted()

    def set_unsupervised_weight(self, weight: float) -> None:
        """Change the weight of the unlabeled images' losses likewise."""
        self._adjusted["unsupervised_weight"] = weight
        self._apply_adjusted()

    def after_optimizer_step(self) -> bool:
        """Let the teacher follow; False where it refused a student that isn't finite."""
        return self.teacher.update(self.student)

    @property
    def evaluation_model(self) -> nn.Module:
        """The model to evaluate and ship."""
        return self.teacher.model

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, beside the student."""
        return {
            "teacher": self.teacher.state_dict(),
            "labeler": self.labeler.state_dict(),
            "adjusted": dict(self._adjusted),
            "asked": dict(self._asked),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.teacher.load_state_dict(state["teacher"])
        self.labeler.load_state_dict(state["labeler"])
        # Checkpoints of before 2026-11-27 don't know what was asked for; in them all of it stands.
        asked = state.get("asked", self._asked)
        self._adjusted = {key: value for key, value in state["adjusted"].items() if asked[key] == self._asked[key]}
        self._apply_adjusted()

    def _apply_adjusted(self) -> None:
        if "score_thresholds" in self._adjusted:
            self.labeler.score_thresholds.fix(self._adjusted["score_thresholds"])
        if "unsupervised_weight" in self._adjusted:
            self.unsupervised_weight = self._adjusted["unsupervised_weight"]

    def _weigh(self, guessed: Tensor, known: Tensor, step: int) -> Tensor:
        weight = self.weight_at(step)
        if weight == 0:
            # Not times 0: a loss that isn't finite would still reach the student.
            return torch.zeros_like(known)
        if self.max_loss_ratio is not None:
            allowed = self.max_loss_ratio * known.detach() / (weight * guessed.detach()).clamp(min=1e-9)
            guessed = guessed * allowed.clamp(max=1)
        return weight * guessed

    def _heed_missing(self, batch: AugmentedBatch) -> AugmentedBatch:
        if self.missing_labels == "background" or batch.strong is None:
            return batch
        confident = self.labeler.detect_confidently(batch.labeled)
        return replace(batch, targets=tuple(map(with_missing_ignored, batch.targets, confident)))


def _unlabeled_ratio(batches: Sequence[AugmentedBatch]) -> float:
    """Unlabeled images to a labeled one."""
    unlabeled = sum(len(batch.strong.images) for batch in batches if batch.strong is not None)
    return unlabeled / sum(len(batch.labeled.images) for batch in batches)


def _agreement(logits: Tensor, lesson: Lesson) -> dict[str, float]:
    """On how many of the anchors that an image's pseudo boxes teach the student's highest class is the pseudo class.

    Counts, not a share, so that micro-batches and ranks may be averaged.
    """
    labels, num_images = lesson.classes.labels[lesson.guessed], len(lesson.images)
    agreed = (logits[lesson.guessed].argmax(-1) == labels).sum()
    return {"anchors_taught": len(labels) / num_images, "anchors_agreed": float(agreed) / num_images}
