"""What flows between the rooms: frozen dataclasses with their shapes.

Legend: B images, A anchors over all levels, K classes, N boxes of one image, H W pixels. Boxes are xyxy in pixels of
their own view, where pixel i covers [i, i + 1). Labels are 0-based and background is never a label.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Instances:
    """Detected boxes of one image.

    Attributes:
        boxes: (N, 4) float.
        labels: (N,) int64 in [0, K).
        scores: (N,) float in [0, 1].
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, selection: Tensor | slice) -> Instances:
        return Instances(self.boxes[selection], self.labels[selection], self.scores[selection])


@dataclass(frozen=True, slots=True)
class Targets:
    """What one image teaches.

    Attributes:
        boxes: (N, 4) float, each at least a pixel of the object to learn.
        labels: (N,) int64 in [0, K).
        ignored: (M, 4) float; regions where neither object nor background is taught (crowds, objects mostly cut off).
    """

    boxes: Tensor
    labels: Tensor
    ignored: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def to(self, device: torch.device) -> Targets:
        """The same targets on another device."""
        return Targets(self.boxes.to(device), self.labels.to(device), self.ignored.to(device))

    @staticmethod
    def empty(device: torch.device | str = "cpu") -> Targets:
        """Targets of an image with no object in it."""
        boxes = torch.zeros(0, 4, device=device)
        return Targets(boxes, torch.zeros(0, dtype=torch.int64, device=device), boxes)


@dataclass(frozen=True, slots=True)
class View:
    """One augmented look at a batch.

    Attributes:
        images: (B, 3, H, W) float in [0, 1].
        matrices: (B, 3, 3) float, from pixels of the stored image to pixels of this view.
        clean: (B, 3, H, W) the same pictures before colour and erasing.
    """

    images: Tensor
    matrices: Tensor
    clean: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.images.shape[-2:]
        return height, width

    def __getitem__(self, rows: slice) -> View:
        return View(self.images[rows], self.matrices[rows], self.clean[rows])


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """Stored images, labeled or not.

    Attributes:
        images: (B, 3, S, T) uint8, letterboxed into the top left corner.
        content: (B, 2) int64, rows and columns that hold the picture; the rest is grey.
        positions: (B,) int64, each image's place in the global batch of this step, over all ranks and micro-batches.
        readable: (B,) bool; False where the file could not be read and grey stands in for it.
        failures: one line for each unreadable file.
    """

    images: Tensor
    content: Tensor
    positions: Tensor
    readable: Tensor
    failures: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""
        moved: dict[str, Any] = {f.name: _move(getattr(self, f.name), device) for f in fields(self)}
        return type(self)(**moved)


@dataclass(frozen=True, slots=True)
class UnlabeledBatch(StoredBatch):
    """Stored images without labels; there is no field that could carry a box."""


@dataclass(frozen=True, slots=True)
class LabeledBatch(StoredBatch):
    """Stored images with what they teach; targets are in pixels of the stored image."""

    targets: tuple[Targets, ...] = ()


def _move(value: object, device: torch.device) -> object:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, tuple):
        return tuple(_move(item, device) for item in value)
    return value.to(device) if isinstance(value, Targets) else value


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """One micro-batch of one step, this rank's slice of it.

    Attributes:
        step: the optimizer step, counted from 0.
        labeled: images with targets.
        unlabeled: None while no unlabeled image is asked for (burn-in, the supervised control).
    """

    step: int
    labeled: LabeledBatch
    unlabeled: UnlabeledBatch | None

    def to(self, device: torch.device) -> TrainBatch:
        """The same batch on another device."""
        unlabeled = None if self.unlabeled is None else self.unlabeled.to(device)
        return TrainBatch(self.step, self.labeled.to(device), unlabeled)

    @property
    def most_pieces(self) -> int:
        """Into how many pieces its views can be cut, each with an image of each kind."""
        return min(len(self.labeled), len(self.labeled if self.unlabeled is None else self.unlabeled))


@dataclass(frozen=True, slots=True)
class AugmentedBatch:
    """The views of one micro-batch and what they teach.

    Attributes:
        step: the optimizer step, counted from 0.
        labeled: the labeled images as the student sees them.
        targets: one per labeled image, in pixels of that view.
        labeled_readable: (B,) bool.
        weak: the unlabeled images as the teacher sees them, or None.
        strong: the same images as the student sees them, or None.
        unlabeled_readable: (B,) bool, or None.
        margins: for each unlabeled image (4,) of the patches of a labeled one that are pasted on it, or None; see
            `data.pasting`.
    """

    step: int
    labeled: View
    targets: tuple[Targets, ...]
    labeled_readable: Tensor
    weak: View | None = None
    strong: View | None = None
    unlabeled_readable: Tensor | None = None
    margins: tuple[Tensor | None, ...] = ()

    def split(self, pieces: int) -> list[AugmentedBatch]:
        """Cut it into smaller micro-batches, as equal as they can be.

        Args:
            pieces: at most as many as there are images of the rarer kind.
        """
        return [self._piece(number, pieces) for number in range(pieces)]

    def _piece(self, number: int, pieces: int) -> AugmentedBatch:
        def rows(total: int) -> slice:
            return slice(total * number // pieces, total * (number + 1) // pieces)

        known = rows(len(self.targets))
        unknown = rows(0 if self.strong is None else len(self.strong.images))
        return AugmentedBatch(
            self.step,
            self.labeled[known],
            self.targets[known],
            self.labeled_readable[known],
            None if self.weak is None else self.weak[unknown],
            None if self.strong is None else self.strong[unknown],
            None if self.unlabeled_readable is None else self.unlabeled_readable[unknown],
            self.margins[unknown],
        )


class DenseOutput(NamedTuple):
    """What the model says at every anchor, the same in training and evaluation.

    A named tuple, since the wrappers of data-parallel training look into tuples but refuse frozen dataclasses.

    Attributes:
        logits: (B, A, K), before the sigmoid.
        deltas: (B, A, 4), box offsets in the anchors' coding.
        anchors: (A, 4), in pixels of the view.
    """

    logits: Tensor
    deltas: Tensor
    anchors: Tensor

    def split(self, sizes: list[int]) -> list[DenseOutput]:
        """Cut along the batch, as `torch.split` does."""
        parts = zip(self.logits.split(sizes), self.deltas.split(sizes), strict=True)
        return [DenseOutput(logits, deltas, self.anchors) for logits, deltas in parts]


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What one micro-batch of a training step gives back.

    Attributes:
        loss: () the value to differentiate.
        losses: each term by name, unweighted, detached.
        statistics: other numbers worth a column in the metrics, detached.
    """

    loss: Tensor
    losses: dict[str, Tensor]
    statistics: dict[str, float]
