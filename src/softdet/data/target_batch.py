"""Many images' targets in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from softdet.structures import Targets


@dataclass(frozen=True, slots=True)
class TargetBatch:
    """The targets of B images in one: what is done to them is then one operation, and not one for each image.

    On a GPU each is a kernel to launch, and each selection something to wait for.

    Attributes:
        boxes: (N, 4) of all images.
        labels: (N,) int64 in [0, K).
        image: (N,) int64, whose each box is.
        ignored: (M, 4) of all images.
        ignored_image: (M,) int64, whose each region is.
        num_images: B.
    """

    boxes: Tensor
    labels: Tensor
    image: Tensor
    ignored: Tensor
    ignored_image: Tensor
    num_images: int

    @staticmethod
    def of(targets: Sequence[Targets]) -> TargetBatch:
        """Join the targets of one image or more."""
        boxes, ignored = (torch.cat([getattr(each, name) for each in targets]) for name in ("boxes", "ignored"))
        # Counted on the CPU, where nobody has to wait for it.
        image, ignored_image = (
            torch.repeat_interleave(torch.tensor(list(map(len, parts)))).to(boxes.device)
            for parts in ([each.boxes for each in targets], [each.ignored for each in targets])
        )
        return TargetBatch(
            boxes, torch.cat([each.labels for each in targets]), image, ignored, ignored_image, len(targets)
        )

    def keep(self, taught: Tensor) -> TargetBatch:
        """The boxes that are to be taught; the others become ignored, not background (METHOD, trap 5).

        Args:
            taught: (N,) bool.
        """
        kept, lost = taught.nonzero().squeeze(1), (~taught).nonzero().squeeze(1)
        return TargetBatch(
            self.boxes[kept],
            self.labels[kept],
            self.image[kept],
            torch.cat([self.ignored, self.boxes[lost]]),
            torch.cat([self.ignored_image, self.image[lost]]),
            self.num_images,
        )

    def split(self) -> list[Targets]:
        """Part them again; each image's are in the order that they have here."""
        order, ignored_order = self.image.argsort(stable=True), self.ignored_image.argsort(stable=True)
        counts = torch.stack([_count(self.image, self.num_images), _count(self.ignored_image, self.num_images)])
        num_boxes, num_ignored = counts.tolist()
        return list(
            map(
                Targets,
                self.boxes[order].split(num_boxes),
                self.labels[order].split(num_boxes),
                self.ignored[ignored_order].split(num_ignored),
            )
        )


def _count(image: Tensor, num_images: int) -> Tensor:
    return (image[:, None] == torch.arange(num_images, device=image.device)).sum(0)
