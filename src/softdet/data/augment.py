"""Views of stored images. Every draw is a pure function of (seed, step, position in the global batch, branch).

So a run that resumes, or that is cut over more processes or micro-batches, sees the very same views.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

from softdet.data.colour import GREY, ColourDraw, apply_colour, draw_colour, draw_erasures, erase
from softdet.data.mixup import mix_images, mix_targets, neighbours
from softdet.data.pasting import MAX_MARGIN, cut_out, hide, mask_of, patches_around
from softdet.data.target_batch import TargetBatch
from softdet.ops.affine import transform_boxes, warp
from softdet.ops.boxes import visible_share
from softdet.structures import AugmentedBatch, LabeledBatch, StoredBatch, Targets, TrainBatch, View

Branch = Literal["labeled", "weak", "strong"]
_BRANCH_NUMBER: dict[Branch, int] = {"labeled": 1, "weak": 2, "strong": 3}

# An object of which less is visible is neither taught nor called background (METHOD, trap 5).
MIN_VISIBLE_SHARE = 0.3
_MIN_SIDE = 1.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How one branch looks at an image.

    Attributes:
        flip: probability of a horizontal flip.
        scale: range of the scale, relative to the picture that just fits the canvas.
        translate: largest shift in parts of the canvas, on top of the random place in the canvas.
        rotate: largest angle in degrees.
        shear: largest angle in degrees.
        colour: whether one of the nine colour operations is drawn.
        erase: whether squares are erased.
        mixup: probability that a labeled image is mixed with the one beside it.
        paste: probability that objects of another labeled image are pasted on it, instead of that.
        quarter_turn: probability of a turn by 90, 180 or 270 degrees.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (1.0, 1.0)
    translate: float = 0.0
    rotate: float = 0.0
    shear: float = 0.0
    colour: bool = False
    erase: bool = False
    mixup: float = 0.0
    paste: float = 0.0
    quarter_turn: float = 0.0


@dataclass(frozen=True, slots=True)
class Augmenter:
    """Turns stored images into the views that teacher and student see.

    Attributes:
        labeled: for labeled images.
        weak: for unlabeled images, before the teacher; its scale stays at or below 1, so that it never crops.
        strong: for the same images, before the student.
        size: rows and columns of the canvas.
        seed: of the run.
    """

    labeled: Policy
    weak: Policy
    strong: Policy
    size: tuple[int, int]
    seed: int

    def __call__(self, batch: TrainBatch) -> AugmentedBatch:
        """Draw and make the views of one micro-batch, on the device that it is on."""
        labeled, targets = self._labeled_view(batch.labeled, batch.step)
        if batch.unlabeled is None:
            return AugmentedBatch(batch.step, labeled, targets, batch.labeled.readable)
        draws = self._draw(batch.unlabeled, self.strong, "strong", batch.step)
        return AugmentedBatch(
            batch.step,
            labeled,
            targets,
            batch.labeled.readable,
            self._view(batch.unlabeled, self.weak, self._draw(batch.unlabeled, self.weak, "weak", batch.step)),
            self._view(batch.unlabeled, self.strong, draws),
            batch.unlabeled.readable,
            tuple(None if each.margins is None else labeled.images.new_tensor(each.margins) for each in draws),
        )

    def _labeled_view(self, batch: LabeledBatch, step: int) -> tuple[View, tuple[Targets, ...]]:
        draws = self._draw(batch, self.labeled, "labeled", step)
        view = self._view(batch, self.labeled, draws)
        everything = project(TargetBatch.of(batch.targets), view.matrices, self.size)
        targets = everything.split()
        asked = torch.tensor([each.mixes or each.margins is not None for each in draws])
        others = neighbours(batch.positions, asked, batch.readable)
        beside = [None if other == row else targets[other] for row, other in enumerate(others)]
        masks = torch.zeros(len(targets), *self.size, dtype=torch.bool, device=view.images.device)
        pasted = [row for row, theirs in enumerate(beside) if theirs is not None and draws[row].margins is not None]
        for row in pasted:
            patches = patches_around(targets[others[row]].boxes, view.images.new_tensor(draws[row].margins))
            masks[row] = mask_of(patches, self.size)
            beside[row] = cut_out(targets[others[row]], patches)
        images, clean = (_mixed(each, others, pasted, masks) for each in (view.images, view.clean))
        shown = hide(everything, masks).split() if pasted else targets
        return View(images, view.matrices, clean), tuple(mix_targets(shown, beside))

    def _draw(self, batch: StoredBatch, policy: Policy, branch: Branch, step: int) -> list[Draw]:
        stored_height, stored_width = batch.images.shape[-2:]
        return [
            draw(policy, self.seed, step, position, branch, (rows, columns), (stored_height, stored_width), self.size)
            for position, (rows, columns) in zip(batch.positions.tolist(), batch.content.tolist(), strict=True)
        ]

    def _view(self, batch: StoredBatch, policy: Policy, draws: list[Draw]) -> View:
        matrices = torch.from_numpy(np.stack([d.matrix for d in draws])).to(batch.images.device, torch.float32)
        clean = warp(batch.images.float() / 255, matrices, self.size, fill=GREY)
        images = clean
        if policy.colour:
            images = apply_colour(images, [d.colour for d in draws])
        if policy.erase:
            images = erase(images, torch.from_numpy(np.stack([d.erasures for d in draws])))
        return View(images, matrices, clean)


@dataclass(frozen=True, slots=True)
class Draw:
    """What was drawn for one image.

    Attributes:
        matrix: (3, 3) float64 from stored pixels to view pixels.
        colour: the colour operation.
        erasures: (4, 3), see `colour.draw_erasures`.
        mixes: whether it's mixed with the image beside it.
        margins: (4,) of the patches that are pasted on it instead; None for none.
    """

    matrix: np.ndarray
    colour: ColourDraw
    erasures: np.ndarray
    mixes: bool
    margins: np.ndarray | None


def draw(
    policy: Policy,
    seed: int,
    step: int,
    position: int,
    branch: Branch,
    content: tuple[int, int],
    stored: tuple[int, int],
    size: tuple[int, int],
) -> Draw:
    """Draw one image's view.

    Args:
        policy: the branch's ranges.
        seed: of the run.
        step: the optimizer step.
        position: the image's place in the global batch.
        branch: whose view it is.
        content: rows and columns of the picture inside the stored image.
        stored: rows and columns of the stored image.
        size: rows and columns of the view.

    Returns:
        The draw. All numbers are drawn whatever the policy uses, so that an ablation changes only what it names.
    """
    rng = np.random.default_rng([seed, step, position, _BRANCH_NUMBER[branch]])
    flips = rng.random() < policy.flip
    scale = rng.uniform(*policy.scale)
    place = rng.random(2)
    shift = rng.uniform(-policy.translate, policy.translate, 2)
    angle, shear_x, shear_y = np.radians(rng.uniform(-1, 1, 3) * (policy.rotate, policy.shear, policy.shear))
    colour = draw_colour(rng)
    erasures = draw_erasures(rng)
    mixes = bool(rng.random() < policy.mixup)
    pastes = bool(rng.random() < policy.paste)
    margins = rng.uniform(0, MAX_MARGIN, 4)
    turns = rng.random() < policy.quarter_turn
    quarters = int(rng.integers(1, 4)) if turns else 0

    height, width = size
    turned, (rows, columns) = _quarter_turns(quarters, content)
    zoom_x, zoom_y = scale * width / stored[1], scale * height / stored[0]
    if quarters % 2:
        # What just fits is another zoom for a picture that lies on its side in a canvas that isn't square.
        zoom_x = zoom_y = scale * min(width / columns, height / rows)
    content_height, content_width = rows * zoom_y, columns * zoom_x
    # A picture smaller than the canvas lies anywhere inside it; a larger one is cropped anywhere.
    left = place[0] * (width - content_width) + shift[0] * width
    top = place[1] * (height - content_height) + shift[1] * height
    matrix = np.array([[zoom_x, 0, left], [0, zoom_y, top], [0, 0, 1.0]]) @ turned
    if policy.rotate or policy.shear:
        matrix = _about(left + content_width / 2, top + content_height / 2, angle, shear_x, shear_y) @ matrix
    if flips:
        matrix = np.array([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]]) @ matrix
    return Draw(matrix, colour, erasures, mixes, margins if pastes else None)


def _mixed(images: Tensor, others: list[int], pasted: list[int], masks: Tensor) -> Tensor:
    """Each image with its other at half strength, or with what of it is pasted where the image's mask is."""
    if others == list(range(len(images))):
        return images
    mixed = mix_images(images, images[others])
    for row in pasted:
        mixed[row] = torch.where(masks[row], images[others[row]], images[row])
    return mixed


def _quarter_turns(number: int, content: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """Clockwise quarter turns that leave a picture's corner at the origin, and the picture's rows and columns after."""
    matrix, (rows, columns) = np.eye(3), content
    for _ in range(number):
        matrix = np.array([[0.0, -1, rows], [1, 0, 0], [0, 0, 1]]) @ matrix
        rows, columns = columns, rows
    return matrix, (rows, columns)


def _about(x: float, y: float, angle: float, shear_x: float, shear_y: float) -> np.ndarray:
    """Rotation and shear that leave the point (x, y) where it is."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[1, np.tan(shear_x)], [np.tan(shear_y), 1]])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = np.array([x, y]) - linear @ np.array([x, y])
    return matrix


def project(targets: TargetBatch, matrices: Tensor, size: tuple[int, int]) -> TargetBatch:
    """Move targets into other views.

    Args:
        targets: of B images, in pixels of the views that `matrices` start from.
        matrices: (B, 3, 3).
        size: rows and columns of the views that they lead to.

    Returns:
        Targets clipped to these views. Boxes of which less than 30% is visible, or less than a pixel, become ignored.
    """
    moved = transform_boxes(targets.boxes, matrices[targets.image])
    clipped = clip_boxes_to_image(moved, size)
    sides = clipped[:, 2:] - clipped[:, :2]
    is_taught = (visible_share(moved, size) >= MIN_VISIBLE_SHARE) & (sides >= _MIN_SIDE).all(1)
    regions = clip_boxes_to_image(transform_boxes(targets.ignored, matrices[targets.ignored_image]), size)
    there = replace(targets, boxes=clipped, ignored=regions).keep(is_taught)
    visible = (there.ignored[:, 2:] > there.ignored[:, :2]).all(1).nonzero().squeeze(1)
    return replace(there, ignored=there.ignored[visible], ignored_image=there.ignored_image[visible])
