"""Pasting: the objects of one image, with some of what is around them, on another one.

Copy-paste (arXiv 2012.07177) cuts objects out along their masks. Boxes are all there is here, so a patch reaches beyond
its box by random margins: its border would else be the object's, and easy to find.
"""

from __future__ import annotations

import torch
from torch import Tensor

from softdet.ops.boxes import intersection_over_first
from softdet.structures import Targets

# The largest margin on each side, in parts of the box's side.
MAX_MARGIN = 0.6
# Of a box that is covered further than this, too little is left to be taught (METHOD, trap 5).
_MOST_COVERED = 0.7


def patches_around(boxes: Tensor, margins: Tensor) -> Tensor:
    """What is cut out.

    Args:
        boxes: (N, 4) xyxy.
        margins: (4,) left, top, right and bottom, in parts of a box's sides.

    Returns:
        (N, 4) xyxy, which may reach outside the image.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + margins * sides * boxes.new_tensor([-1, -1, 1, 1])


def paste(image: Tensor, other: Tensor, patches: Tensor) -> Tensor:
    """An image, and another one where the patches are.

    Args:
        image: (C, H, W).
        other: (C, H, W).
        patches: (N, 4) xyxy.
    """
    rows, columns = (torch.arange(side, device=image.device) + 0.5 for side in image.shape[-2:])
    in_rows = (rows >= patches[:, 1, None]) & (rows < patches[:, 3, None])  # (N, H)
    in_columns = (columns >= patches[:, 0, None]) & (columns < patches[:, 2, None])  # (N, W)
    # How many patches a pixel lies in, as one product: (H, W, N) would be large.
    count = in_rows.T.to(image.dtype) @ in_columns.to(image.dtype)
    return torch.where(count > 0, other, image)


def is_inside(points: Tensor, patches: Tensor) -> Tensor:
    """Whether points lie in a patch.

    Args:
        points: (P, 2) x and y.
        patches: (N, 4) xyxy.

    Returns:
        (P,) bool.
    """
    is_after = points[:, None] >= patches[None, :, :2]
    is_before = points[:, None] < patches[None, :, 2:]
    return (is_after & is_before).all(-1).any(-1)


def hide(targets: Targets, patches: Tensor) -> Targets:
    """What is left of targets behind patches: boxes of which less than 30% is visible become ignored."""
    if len(targets) == 0 or len(patches) == 0:
        return targets
    covered = intersection_over_first(targets.boxes, patches).amax(1) > _MOST_COVERED
    ignored = torch.cat([targets.ignored, targets.boxes[covered]])
    return Targets(targets.boxes[~covered], targets.labels[~covered], ignored)
