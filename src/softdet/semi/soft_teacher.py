"""Soft Teacher (arXiv 2106.09018) on a single-stage detector: one training step, as the algorithm box says it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from softdet.data.augment import project
from softdet.models.criterion import Assignment, assign, classification_loss, regression_loss
from softdet.models.postprocess import candidates, suppress
from softdet.ops.affine import compose, invert
from softdet.ops.distributed import gather_rows
from softdet.semi.pseudo_labels import PseudoLabels, classification_targets, doubtful, regression_targets
from softdet.semi.reliability import anchor_uncertainty, background_weights, cluster_uncertainty
from softdet.semi.supervised import assign_labeled, normalisers, sum_of, supervised_losses
from softdet.semi.teacher import Teacher
from softdet.semi.thresholds import UncertaintyThreshold
from softdet.structures import AugmentedBatch, StepOutput, Targets, View

# What the teacher's detections start from, before any pseudo-label threshold.
_MIN_SCORE, _NMS_IOU, _TOP_K = 0.05, 0.5, 1000


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the teacher has to say about one micro-batch of unlabeled images, in the student's view.

    Attributes:
        classes: the anchors' classes; doubtful ones are ignored.
        boxes: the anchors' boxes, from a list of its own.
        weights: (B, A) of the classification loss; the box loss has no background that could be wrong.
        statistics: counts for the metrics.
    """

    classes: Assignment
    boxes: Assignment
    weights: Tensor
    statistics: dict[str, float]


class SoftTeacher:
    """An EMA teacher labels the unlabeled images for its student.

    Args:
        student: the model that learns, as wrapped for the devices.
        teacher: its average.
        score_threshold: teach the class of boxes above it.
        box_score_threshold: teach the place of boxes above it, if they are also agreed upon.
        background: `soft` weighs background by the teacher's belief in it; `ignore` leaves out the anchors near
            doubtful boxes; `none` believes all of it.
        doubtful_threshold: the lowest score of a doubtful box, for `ignore`.
        box_reliability: where a box's uncertainty is read: the `cluster` of candidates around it, the `anchors` around
            it, or `none`.
        uncertainty_threshold: the largest uncertainty that still teaches.
        unsupervised_weight: of the unlabeled images' losses.
        burn_in_steps: steps on labeled images alone; the teacher tracks the student from step 0.
        ramp_steps: the weight grows linearly over so many steps after that; 0 for at once.
        empty_image_weight: of the classification loss of an unlabeled image in which the teacher is sure of nothing
            (METHOD, trap 2).
        autocast: the precision that the teacher runs in.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher,
        *,
        score_threshold: float,
        box_score_threshold: float,
        background: Literal["soft", "ignore", "none"],
        doubtful_threshold: float,
        box_reliability: Literal["cluster", "anchors", "none"],
        uncertainty_threshold: UncertaintyThreshold,
        unsupervised_weight: float,
        burn_in_steps: int,
        ramp_steps: int,
        empty_image_weight: float,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.student = student
        self.teacher = teacher
        self.score_threshold = score_threshold
        self.box_score_threshold = box_score_threshold
        self.background = background
        self.doubtful_threshold = doubtful_threshold
        self.box_reliability = box_reliability
        self.uncertainty_threshold = uncertainty_threshold
        self.unsupervised_weight = unsupervised_weight
        self.burn_in_steps = burn_in_steps
        self.ramp_steps = ramp_steps
        self.empty_image_weight = empty_image_weight
        self.autocast = autocast

    def step(self, batches: Sequence[AugmentedBatch]) -> Iterator[StepOutput]:
        """Label, then teach: one loss per micro-batch, whose gradients add up to the whole batch's.

        Args:
            batches: the micro-batches of one optimizer step, of this rank.
        """
        labeled = [assign_labeled(self.teacher.model, batch) for batch in batches]
        pseudo = [self.label(batch) for batch in batches]
        self._observe(pseudo)
        lessons = [self.prepare(batch, labels) for batch, labels in zip(batches, pseudo, strict=True)]
        num_labeled, num_classes, num_boxes = normalisers(
            sum(assignment.positive.sum() for assignment in labeled),
            sum(lesson.classes.positive.sum() for lesson in lessons if lesson),
            sum(lesson.boxes.positive.sum() for lesson in lessons if lesson),
        )
        for batch, assignment, lesson in zip(batches, labeled, lessons, strict=True):
            if lesson is None or batch.strong is None:
                losses = supervised_losses(self.student(batch.labeled.images), assignment, batch, num_labeled)
                yield StepOutput(sum_of(losses), _detached(losses), {})
                continue
            # One call for both branches: right under data parallelism and BatchNorm.
            output = self.student(torch.cat([batch.labeled.images, batch.strong.images]))
            on_labeled, on_strong = output.split([len(batch.labeled.images), len(batch.strong.images)])
            supervised = supervised_losses(on_labeled, assignment, batch, num_labeled)
            believed = torch.ones_like(lesson.weights)
            unsupervised = {
                "unsupervised_class": classification_loss(on_strong, lesson.classes, lesson.weights) / num_classes,
                "unsupervised_box": regression_loss(on_strong, lesson.boxes, believed) / num_boxes,
            }
            known, guessed = sum_of(supervised), self.weight_at(batch.step) * sum_of(unsupervised)
            # Pseudo losses that outgrow the true ones wreck the model unseen (METHOD, trap 9).
            ratio = {"loss_ratio": (guessed / known.clamp(min=1e-9)).detach().item()}
            yield StepOutput(known + guessed, _detached(supervised | unsupervised), lesson.statistics | ratio)

    @torch.no_grad()
    def label(self, batch: AugmentedBatch) -> list[PseudoLabels]:
        """Let the teacher look at the weak views: its detections, with their uncertainty, one per image.

        What it sees in the grey that stands in for an unreadable file counts for nothing.
        """
        if batch.weak is None or batch.unlabeled_readable is None:
            return []
        with self.autocast():
            output = self.teacher.model(batch.weak.images)
        labels = []
        found = candidates(output, batch.weak.size, score_threshold=_MIN_SCORE, top_k=_TOP_K)
        for image, seen in enumerate(found):
            before = seen[batch.unlabeled_readable[image].expand(len(seen))]
            instances = suppress(before, _NMS_IOU)
            match self.box_reliability:
                case "cluster":
                    uncertainty = cluster_uncertainty(instances, before)
                case "anchors":
                    uncertainty = anchor_uncertainty(instances, output, image)
                case "none":
                    uncertainty = torch.zeros_like(instances.scores)
            labels.append(PseudoLabels(instances, uncertainty))
        return labels

    @torch.no_grad()
    def prepare(self, batch: AugmentedBatch, pseudo: Sequence[PseudoLabels]) -> Lesson | None:
        """Carry pseudo-labels from the teacher's view to the student's, and weigh them; None where there are none."""
        if batch.weak is None or batch.strong is None or batch.unlabeled_readable is None:
            return None
        size = batch.strong.size
        limit = self.uncertainty_threshold.value
        class_targets, box_targets = [], []
        for labels, matrix in zip(pseudo, compose(batch.strong.matrices, invert(batch.weak.matrices)), strict=True):
            confident = classification_targets(labels, self.score_threshold)
            if self.background == "ignore":
                unsure = doubtful(labels, self.doubtful_threshold, self.score_threshold)
                confident = Targets(confident.boxes, confident.labels, unsure)
            class_targets.append(project(confident, matrix, size))
            box_targets.append(project(regression_targets(labels, self.box_score_threshold, limit), matrix, size))
        anchors = self.teacher.model.anchors_at(size)
        # Low-quality matches are for true boxes only (METHOD, trap 3).
        classes = assign(anchors, class_targets, allow_low_quality=False)
        boxes = assign(anchors, box_targets, allow_low_quality=False)
        has_boxes = torch.tensor([len(targets) > 0 for targets in class_targets], device=anchors.device)
        image_weights = torch.where(has_boxes, 1.0, self.empty_image_weight) * batch.unlabeled_readable
        statistics = {
            "pseudo_boxes": _mean_length(class_targets),
            "pseudo_boxes_regressed": _mean_length(box_targets),
            "pseudo_candidates": _mean_length(pseudo),
            "empty_images": 1 - has_boxes.float().mean().item(),
            "uncertainty_threshold": limit,
        }
        weights = self._anchor_weights(batch.strong, classes) * image_weights[:, None]
        return Lesson(classes, boxes, weights, statistics)

    def weight_at(self, step: int) -> float:
        """The unsupervised weight at a step: 0 in the burn-in, then a linear ramp, then constant."""
        since = step - self.burn_in_steps
        if since < 0:
            return 0.0
        return self.unsupervised_weight * min(1.0, (since + 1) / max(1, self.ramp_steps))

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
            "uncertainty_threshold": self.uncertainty_threshold.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.teacher.load_state_dict(state["teacher"])
        self.uncertainty_threshold.load_state_dict(state["uncertainty_threshold"])

    def _anchor_weights(self, strong: View, classes: Assignment) -> Tensor:
        weights = torch.ones_like(classes.labels, dtype=torch.float32)
        if self.background != "soft":
            return weights
        assert strong.clean is not None, "the augmenter keeps the strong view's geometry for the teacher"
        # The teacher looks at the student's own geometry, without its colours: anchor for anchor the same places.
        with self.autocast():
            logits = self.teacher.model(strong.clean).logits
        return torch.where(classes.positive, weights, background_weights(logits))

    def _observe(self, pseudo: Sequence[list[PseudoLabels]]) -> None:
        labels = [label for micro_batch in pseudo for label in micro_batch]
        if labels:
            rows = [torch.stack([label.instances.scores, label.uncertainty], 1) for label in labels]
            self.uncertainty_threshold.observe(gather_rows(torch.cat(rows)))


def _detached(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: loss.detach() for name, loss in losses.items()}


def _mean_length(items: Sequence[Targets] | Sequence[PseudoLabels]) -> float:
    return sum(len(item) for item in items) / max(1, len(items))
