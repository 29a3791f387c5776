"""What the student is told about the class of a pseudo box; each way is `hard` where the teacher is right and sure."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from softdet.models.criterion import Assignment, classification_loss
from softdet.ops.losses import ALPHA, GAMMA
from softdet.ops.matching import IGNORED
from softdet.semi.labeling import Lesson
from softdet.structures import DenseOutput

ClassTargets = Literal["hard", "soft", "dense", "any", "none"]


def unsupervised_class_loss(output: DenseOutput, lesson: Lesson, targets: ClassTargets) -> Tensor:
    """The sum of the class losses of unlabeled images.

    Args:
        output: the student's, of B images.
        lesson: of the same images; with beliefs for `soft` and `dense`.
        targets: `hard` teaches the pseudo box's class; `soft` the teacher's scores of all classes at each of the box's
            anchors; `dense` the teacher's scores at all anchors, so that no pseudo box decides what is an object
            (Dense Teacher, arXiv 2207.02541, without its choice of the top locations); `any` that there is an object,
            of whatever class; `none` neither class nor background. True boxes that are mixed in keep their class, but
            for `none`.

    Returns:
        () float32.
    """
    if targets == "hard":
        return classification_loss(output, lesson.classes, lesson.weights)
    if targets == "none":
        return output.logits.new_zeros((), dtype=torch.float32)
    if targets == "dense":
        assert lesson.beliefs is not None, "the labeler was asked for them"
        losses = quality_focal_loss(output.logits.float(), lesson.beliefs.sigmoid())
        return (losses * (lesson.readable[:, None] & lesson.known)).sum()
    guessed = lesson.guessed
    rest = Assignment(torch.where(guessed, IGNORED, lesson.classes.labels), lesson.classes.deltas)
    logits, weights = output.logits[guessed].float(), lesson.weights[guessed]
    if targets == "soft":
        assert lesson.beliefs is not None, "the labeler was asked for them"
        # Where a patch hides the box, or a partner is neither box nor background, the teacher's scores say nothing.
        losses = quality_focal_loss(logits, lesson.beliefs[guessed].sigmoid()) * lesson.known[guessed]
    else:
        losses = object_loss(logits)
    return classification_loss(output, rest, lesson.weights) + (losses * weights).sum()


def quality_focal_loss(logits: Tensor, scores: Tensor) -> Tensor:
    """Focal loss towards scores between 0 and 1 (Quality Focal Loss of arXiv 2006.04388), summed over classes.

    Args:
        logits: (..., K).
        scores: (..., K) in [0, 1].

    Returns:
        (...) not negative. Law: the focal loss where the scores are 0 and 1, its alpha included.
    """
    balance = ALPHA * scores + (1 - ALPHA) * (1 - scores)
    entropy = F.binary_cross_entropy_with_logits(logits, scores, reduction="none")
    return (balance * (scores - logits.sigmoid()).abs() ** GAMMA * entropy).sum(-1)


def object_loss(logits: Tensor) -> Tensor:
    """Focal loss of "an object of any class", whose probability is 1 - prod_c (1 - p_c).

    Args:
        logits: (..., K).

    Returns:
        (...) not negative. Law: the focal loss of a single class.
    """
    log_none = F.logsigmoid(-logits).sum(-1)
    # log(1 - exp(x)) keeps its digits near 0 through expm1; it is never at 0, where the logarithm ends.
    log_any = (-torch.expm1(log_none.clamp(max=-1e-6))).log()
    return ALPHA * (GAMMA * log_none).exp() * -log_any
