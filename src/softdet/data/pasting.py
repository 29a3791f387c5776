"""Pasting: the objects of one image, with some of what is around them, on another one.

Copy-paste (arXiv 2012.07177) cuts objects out along their masks. Boxes are all there is here, so a patch reaches beyond
its box by random margins: its border would else be the object's, and easy to find.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from softdet.data.target_batch import TargetBatch
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


def mask_of(patches: Tensor, size: tuple[int, int]) -> Tensor:
    """The pixels whose centres lie in a patch.

    Args:
        patches: (N, 4) xyxy.
        size: H rows and W columns of the image.

    Returns:
        (H, W) bool.
    """
    rows, columns = (torch.arange(side, device=patches.device) + 0.5 for side in size)
    in_rows = (rows >= patches[:, 1, None]) & (rows < patches[:, 3, None])  # (N, H)
    in_columns = (columns >= patches[:, 0, None]) & (columns < patches[:, 2, None])  # (N, W)
    # How many patches a pixel lies in, as one product: (H, W, N) would be large.
    return (in_rows.T.float() @ in_columns.float()) > 0


def covered_share(boxes: Tensor, masks: Tensor, image: Tensor) -> Tensor:
    """How much of each box the patches hide, all of them together.

    Args:
        boxes: (N, 4) xyxy.
        masks: (B, H, W) bool, from `mask_of`.
        image: (N,) int64, in which image each box lies, or (B, 1), in which images all of them do.

    Returns:
        (N,) or (B, N) in [0, 1], of the pixels of a box that are in the image; 0 where there is none.
    """
    height, width = masks.shape[1:]
    # Sums over all pixels above and to the left of a corner.
    sums = pad(masks.float(), (1, 0, 1, 0)).cumsum(1).cumsum(2)
    x1, y1, x2, y2 = boxes.round().long().clamp(min=0).minimum(boxes.new_tensor([width, height] * 2).long()).unbind(1)
    hidden = sums[image, y2, x2] - sums[image, y1, x2] - sums[image, y2, x1] + sums[image, y1, x1]
    return hidden / ((x2 - x1) * (y2 - y1)).clamp(min=1)


def hide(targets: TargetBatch, masks: Tensor) -> TargetBatch:
    """What is left of targets behind patches: boxes of which less than 30% is visible become ignored.

    Args:
        targets: of B images.
        masks: (B, H, W) bool, from `mask_of`.
    """
    return targets.keep(covered_share(targets.boxes, masks, targets.image) <= _MOST_COVERED)


def cut_out(targets: Targets, patches: Tensor) -> Targets:
    """What of targets comes along in the patches around their boxes: these, and the ignored regions inside."""
    low = torch.maximum(targets.ignored[:, None, :2], patches[None, :, :2])
    high = torch.minimum(targets.ignored[:, None, 2:], patches[None, :, 2:])
    parts = torch.cat([low, high], -1).flatten(0, 1)
    return Targets(targets.boxes, targets.labels, parts[(parts[:, 2:] > parts[:, :2]).all(1)])
