"""Images of an index, decoded and resized; nothing random happens here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from softdet.data.images import Resize, canvas_scale, read_image, to_canvas
from softdet.data.index import ImageRecord
from softdet.errors import DataError
from softdet.structures import Targets

# The stored image is this much larger than the view, so that zooming in doesn't blur (METHOD, trap 5).
_STORED_SCALE = 1.25


@dataclass(frozen=True, slots=True)
class Sample:
    """One stored image.

    Attributes:
        image: (3, S, T) uint8.
        content: rows and columns that hold the picture.
        scale: the factors for x and y from the image's own pixels to the stored ones.
        targets: in stored pixels.
        failure: why the file couldn't be read, or None; `image` is grey then and `targets` empty.
    """

    image: Tensor
    content: tuple[int, int]
    scale: tuple[float, float]
    targets: Targets
    failure: str | None = None


class ImageDataset(Dataset[Sample]):
    """The images of an index on a canvas.

    Args:
        records: the images.
        canvas: rows and columns.
        resize: `letterbox` or `stretch`.
        num_cached: how many decoded images each process keeps in memory.
    """

    def __init__(
        self, records: Sequence[ImageRecord], canvas: tuple[int, int], resize: Resize, num_cached: int = 0
    ) -> None:
        self.records = records
        self.canvas = canvas
        self.resize: Resize = resize
        self._cache: dict[int, Sample] = {}
        self._num_cached = num_cached

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        if index in self._cache:
            return self._cache[index]
        sample = self._read(self.records[index])
        # One that can't be read now may be there the next time: a network disk's hiccup.
        if sample.failure is None and len(self._cache) < self._num_cached:
            self._cache[index] = sample
        return sample

    def _read(self, record: ImageRecord) -> Sample:
        try:
            image = read_image(record.path, record.size)
        except DataError as error:
            grey = torch.full((3, *self.canvas), 128, dtype=torch.uint8)
            return Sample(grey, self.canvas, (1.0, 1.0), Targets.empty(), str(error))
        pixels, content = to_canvas(image, self.canvas, self.resize)
        scale = canvas_scale((image.height, image.width), content)
        factors = torch.tensor([*scale, *scale])
        targets = Targets(
            torch.from_numpy(record.boxes) * factors,
            torch.from_numpy(record.labels),
            torch.from_numpy(record.ignored) * factors,
        )
        return Sample(pixels, content, scale, targets)


def stack_images(samples: Sequence[Sample], device: torch.device) -> Tensor:
    """Images as a model takes them: (B, 3, H, W) float32 in [0, 1], on the device."""
    return torch.stack([sample.image for sample in samples]).to(device).float() / 255


def stored_canvas(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the stored image for a view of a size: about 1.25 times as large, and even."""
    rows, columns = (2 * round(side * _STORED_SCALE / 2) for side in size)
    return rows, columns
