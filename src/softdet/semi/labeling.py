"""From the teacher's look at unlabeled images to a lesson for the student."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from softdet.data.augment import project
from softdet.data.mixup import mix_targets
from softdet.data.pasting import hide
from softdet.data.target_batch import TargetBatch
from softdet.models.criterion import Assignment, assign
from softdet.models.postprocess import candidates, suppress
from softdet.ops.affine import compose, invert, keeps_upright
from softdet.ops.distributed import gather_rows, world_size
from softdet.ops.matching import BACKGROUND
from softdet.semi.mixing import mix, overlay
from softdet.semi.pseudo_labels import PseudoLabels, Verdict, judge
from softdet.semi.reliability import anchor_uncertainty, background_weights, cluster_uncertainty
from softdet.semi.teacher import Teacher
from softdet.semi.thresholds import ScoreThresholds, UncertaintyThreshold
from softdet.structures import AugmentedBatch, Instances, Targets, View

# What the teacher's detections start from, before any pseudo-label threshold.
MIN_SCORE, NMS_IOU, TOP_K = 0.05, 0.5, 1000


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the student is shown and told of one micro-batch of unlabeled images.

    Attributes:
        images: (B, 3, H, W) in [0, 1], the strong views, or what was mixed of them.
        classes: the anchors' classes; doubtful ones are ignored.
        boxes: the anchors' boxes, from a list of its own.
        targets: what of the classes' boxes is to be seen in the images, the true ones of what is mixed in among them.
        weights: (B, A) of the classification loss; the box loss has no background that could be wrong.
        readable: (B,) bool; False where there was nothing to see, or the teacher's output isn't finite.
        known: (B, A) bool; False where the beliefs say nothing.
        guessed: (B, A) bool, the anchors whose class is a pseudo box's.
        beliefs: (B, A, K) logits of the teacher on the student's own geometry, where they were asked for.
        statistics: counts for the metrics, an image each.
    """

    images: Tensor
    classes: Assignment
    boxes: Assignment
    targets: list[Targets]
    weights: Tensor
    readable: Tensor
    known: Tensor
    guessed: Tensor
    beliefs: Tensor | None
    statistics: dict[str, float]


class Labeler:
    """Turns the teacher's detections into what its student is taught.

    Args:
        teacher: who looks.
        score_thresholds: teach the class of boxes above it.
        box_score_threshold: teach the place of boxes above it, if they are also agreed upon; None for those whose
            class is taught.
        uncertainty_threshold: the largest uncertainty that still teaches a place.
        background: `soft` weighs background by the teacher's belief in it; `ignore` leaves out the anchors near
            doubtful boxes; `none` believes all of it.
        doubtful_threshold: the lowest score of a doubtful box, for `ignore`.
        box_reliability: where a box's uncertainty is read: the `cluster` of candidates around it, the `anchors` around
            it, or `none`.
        empty_image_weight: of the classification loss of an unlabeled image in which the teacher is sure of nothing
            (METHOD, trap 2).
        mixup: whether the student sees each image mixed with a labeled one, with the labels of both. Whether objects
            are pasted on it instead, its batch says.
        wants_beliefs: whether a lesson holds the teacher's dense scores.
        class_names: (K,) by label, for the statistics of each class; empty for none.
        autocast: the precision that the teacher runs in.
    """

    def __init__(
        self,
        teacher: Teacher,
        *,
        score_thresholds: ScoreThresholds,
        box_score_threshold: float | None,
        uncertainty_threshold: UncertaintyThreshold,
        background: Literal["soft", "ignore", "none"],
        doubtful_threshold: float,
        box_reliability: Literal["cluster", "anchors", "none"],
        empty_image_weight: float,
        mixup: bool = False,
        wants_beliefs: bool = False,
        class_names: Sequence[str] = (),
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.teacher = teacher
        self.score_thresholds = score_thresholds
        self.box_score_threshold = box_score_threshold
        self.uncertainty_threshold = uncertainty_threshold
        self.background = background
        self.doubtful_threshold = doubtful_threshold
        self.box_reliability = box_reliability
        self.empty_image_weight = empty_image_weight
        self.mixup = mixup
        self.wants_beliefs = wants_beliefs
        self.class_names = class_names
        self.autocast = autocast

    def label(self, batch: AugmentedBatch) -> list[PseudoLabels]:
        """Look at the weak views; one per image, none where the batch has no unlabeled images."""
        if batch.weak is None or batch.unlabeled_readable is None:
            return []
        return self.look(batch.weak.images, batch.unlabeled_readable)

    @torch.no_grad()
    def look(self, images: Tensor, readable: Tensor) -> list[PseudoLabels]:
        """Detect, with the uncertainty of each box.

        What is seen in the grey that stands in for an unreadable file counts for nothing, nor does an image on which
        the teacher's output isn't finite.

        Args:
            images: (B, 3, H, W) in [0, 1].
            readable: (B,) bool.
        """
        with self.autocast():
            output = self.teacher.model(images)
        finite = output.logits.isfinite().flatten(1).all(1) & output.deltas.isfinite().flatten(1).all(1)
        are_finite, are_readable = torch.stack([finite, readable]).tolist()
        labels = []
        size = (images.shape[-2], images.shape[-1])
        found = candidates(output, size, score_threshold=MIN_SCORE, top_k=TOP_K)
        for image, (seen, is_finite, is_readable) in enumerate(zip(found, are_finite, are_readable, strict=True)):
            before = seen if is_finite and is_readable else seen[:0]
            instances = suppress(before, NMS_IOU)
            match self.box_reliability:
                case "cluster":
                    uncertainty = cluster_uncertainty(instances, before)
                case "anchors":
                    uncertainty = anchor_uncertainty(instances, output, image)
                case "none":
                    uncertainty = torch.zeros_like(instances.scores)
            labels.append(PseudoLabels(instances, uncertainty, is_finite))
        return labels

    def observe(self, pseudo: Sequence[list[PseudoLabels]]) -> None:
        """Let the thresholds follow one step's detections, all micro-batches of all ranks together."""
        labels = [label for micro_batch in pseudo for label in micro_batch]
        if not labels:
            return
        found = [
            torch.stack([label.instances.labels, label.instances.scores, label.uncertainty], 1) for label in labels
        ]
        rows = gather_rows(torch.cat(found))
        self.score_thresholds.observe(rows[:, :2], len(labels) * world_size())
        self.uncertainty_threshold.observe(rows[:, 1:])

    def judge(self, pseudo: Sequence[PseudoLabels]) -> list[Verdict]:
        """What each image's boxes are good for, by the thresholds as they are now."""
        max_uncertainty = self.uncertainty_threshold.value
        doubtful_from = self.doubtful_threshold if self.background == "ignore" else None
        verdicts = []
        for labels in pseudo:
            limits = self.score_thresholds.of(labels.instances.labels)
            place_limits = limits if self.box_score_threshold is None else self.box_score_threshold
            verdicts.append(judge(labels, limits, place_limits, max_uncertainty, doubtful_from))
        return verdicts

    @torch.no_grad()
    def prepare(self, batch: AugmentedBatch, pseudo: Sequence[PseudoLabels]) -> Lesson | None:
        """Carry pseudo-labels from the teacher's view to the student's, and weigh them; None where there are none."""
        if batch.weak is None or batch.strong is None or batch.unlabeled_readable is None:
            return None
        size = batch.strong.size
        matrices = compose(batch.strong.matrices, invert(batch.weak.matrices))
        confident, agreed = [], []
        for labels, verdict, upright in zip(pseudo, self.judge(pseudo), keeps_upright(matrices), strict=True):
            confident.append(labels.targets(verdict.teaches_class, ignored=verdict.is_doubtful))
            # The box around a turned box is too large to be learned.
            agreed.append(labels.targets(verdict.teaches_place & upright))
        named_boxes, placed_boxes = (project(TargetBatch.of(each), matrices, size) for each in (confident, agreed))
        class_targets, box_targets = named_boxes.split(), placed_boxes.split()
        statistics = self._count(pseudo, class_targets, box_targets)
        has_boxes = torch.tensor([len(targets) > 0 for targets in class_targets], device=batch.strong.images.device)
        images, beliefs, readable = batch.strong.images, self._beliefs(batch.strong), batch.unlabeled_readable
        anchors = self.teacher.model.anchors_at(size)
        known = torch.ones(len(images), len(anchors), dtype=torch.bool, device=images.device)
        true_targets = [Targets.empty(images.device)] * len(images)
        mixes = self.mixup or any(margins is not None for margins in batch.margins)
        mixture = mix(batch, images, mixup=self.mixup) if mixes else None
        if mixture is not None:
            # An unreadable partner has no objects to paste; mixed in, its grey would be taken for background.
            images, readable = mixture.images, readable & (batch.labeled_readable[mixture.others] | ~mixture.is_mixed)
            class_targets, box_targets = (hide(each, mixture.masks).split() for each in (named_boxes, placed_boxes))
            true_targets = mixture.true
        true = assign(anchors, true_targets, allow_low_quality=True)
        # Low-quality matches are for true boxes only (METHOD, trap 3).
        named, placed = (assign(anchors, targets, allow_low_quality=False) for targets in (class_targets, box_targets))
        if mixture is not None and beliefs is not None:
            near_pseudo = (named.labels != BACKGROUND) | (placed.labels != BACKGROUND)
            beliefs, known = mixture.beliefs(beliefs, anchors, true, near_pseudo)
        classes, boxes = overlay(true, named), overlay(true, placed)
        if beliefs is not None:
            readable = readable & beliefs.isfinite().flatten(1).all(1)
            # So that what weighs nothing is nothing: 0 times nan is nan.
            beliefs = beliefs.nan_to_num()
        weights = torch.where(has_boxes, 1.0, self.empty_image_weight)[:, None].expand_as(classes.labels)
        if self.background == "soft" and beliefs is not None:
            weights = weights * torch.where(classes.positive, 1.0, background_weights(beliefs))
        weights = torch.where(true.positive, 1.0, weights) * readable[:, None]
        targets = mix_targets(class_targets, true_targets)
        guessed = classes.positive & ~true.positive
        return Lesson(images, classes, boxes, targets, weights, readable, known, guessed, beliefs, statistics)

    @torch.no_grad()
    def detect_confidently(self, view: View) -> list[Instances]:
        """What would be pseudo boxes in any view, seen without its colours."""
        with self.autocast():
            output = self.teacher.model(view.clean)
        found = candidates(output, view.size, score_threshold=MIN_SCORE, top_k=TOP_K)
        kept = [suppress(image, NMS_IOU) for image in found]
        return [image[image.scores > self.score_thresholds.of(image.labels)] for image in kept]

    def state_dict(self) -> dict[str, Any]:
        """What the thresholds have seen."""
        return {
            "score_thresholds": self.score_thresholds.state_dict(),
            "uncertainty_threshold": self.uncertainty_threshold.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.score_thresholds.load_state_dict(state["score_thresholds"])
        self.uncertainty_threshold.load_state_dict(state["uncertainty_threshold"])

    def _beliefs(self, strong: View) -> Tensor | None:
        if self.background != "soft" and not self.wants_beliefs:
            return None
        # The teacher looks at the student's own geometry, without its colours: anchor for anchor the same places.
        with self.autocast():
            return self.teacher.model(strong.clean).logits.float()

    def _count(
        self, pseudo: Sequence[PseudoLabels], class_targets: Sequence[Targets], box_targets: Sequence[Targets]
    ) -> dict[str, float]:
        num_images = len(pseudo)
        statistics = {
            "pseudo_boxes": sum(map(len, class_targets)) / num_images,
            "pseudo_boxes_regressed": sum(map(len, box_targets)) / num_images,
            "pseudo_candidates": sum(map(len, pseudo)) / num_images,
            "empty_images": sum(len(targets) == 0 for targets in class_targets) / num_images,
            "uncertainty_threshold": self.uncertainty_threshold.value,
            "teacher_finite": float(all(labels.is_finite for labels in pseudo)),
        }
        counts = torch.cat([targets.labels for targets in class_targets]).bincount(minlength=len(self.class_names))
        for name, count, limit in zip(self.class_names, counts.tolist(), self.score_thresholds.value, strict=False):
            statistics[f"pseudo_boxes/{name}"] = count / num_images
            if self.score_thresholds.fixed is None:
                statistics[f"threshold/{name}"] = float(limit)
        return statistics
