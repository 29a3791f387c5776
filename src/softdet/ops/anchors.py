"""RetinaNet's anchors, from torchvision's generator: at stride * i, without half a cell."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator


class Anchors(nn.Module):
    """Anchor boxes for a pyramid.

    Args:
        sizes: the base side of each level, in pixels.
        octaves: multiples of the base side on every level; RetinaNet takes 1, 2^(1/3), 2^(2/3).
        aspect_ratios: height / width.
    """

    def __init__(self, sizes: Sequence[float], octaves: Sequence[float], aspect_ratios: Sequence[float]) -> None:
        super().__init__()
        # torchvision truncates sides to whole pixels (int(size * octave)) and rounds the corners; the converted
        # weights were trained with that.
        level_sizes = tuple(tuple(int(size * octave) for octave in octaves) for size in sizes)
        self.generator = AnchorGenerator(level_sizes, (tuple(aspect_ratios),) * len(level_sizes))
        self.num_per_cell = len(octaves) * len(aspect_ratios)
        self._laid_out: dict[tuple[object, ...], Tensor] = {}

    def forward(self, grids: Sequence[tuple[int, int]], size: tuple[int, int], device: torch.device) -> Tensor:
        """Lay the anchors over the levels; the same question is answered from memory.

        Args:
            grids: rows and columns of cells of each level, the finest first.
            size: rows and columns of the view.
            device: where the anchors are wanted.

        Returns:
            (A, 4) xyxy in pixels of the view, ordered by level, row, column, ratio, octave.
        """
        key = (*grids, size, device)
        if key not in self._laid_out:
            # What an evaluation asked for first may be differentiated through later.
            with torch.inference_mode(False):
                strides = [
                    [torch.tensor(whole // cells, device=device) for whole, cells in zip(size, grid, strict=True)]
                    for grid in grids
                ]
                self.generator.set_cell_anchors(torch.float32, device)
                cells = self.generator.grid_anchors([list(grid) for grid in grids], strides)
                self._laid_out[key] = torch.cat(cells)
        return self._laid_out[key]
