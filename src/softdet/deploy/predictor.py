"""A detector in Python: pictures in, arrays out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from softdet.data.images import as_rgb, read_image
from softdet.deploy.prediction import sample_of, with_threshold
from softdet.errors import ConfigError, DataError
from softdet.evaluation.detector import Detector, DetectorCard, load_detector
from softdet.evaluation.inference import detect_samples, device_for
from softdet.evaluation.run import RunFolder

Picture = str | PathLike[str] | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was found in one image, by falling score.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2 in the image's own pixels.
        labels: (N,) int64, the class as a place in `Predictor.class_names`.
        class_names: (N,) text, the class of each box.
        scores: (N,) float32 in [0, 1].
        image_size: rows and columns of the image.
        path: its file; None for one that came as an array or a PIL image.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: NDArray[np.str_]
    scores: NDArray[np.float32]
    image_size: tuple[int, int]
    path: Path | None

    def __len__(self) -> int:
        return len(self.boxes)

    def to_supervision(self) -> Any:
        """The same as `supervision.Detections`, to draw, track, count and filter with that library.

        Raises:
            ConfigError: supervision isn't installed.
        """
        try:
            from supervision import Detections
        except ImportError as error:
            raise ConfigError(
                "to_supervision() needs a package that isn't installed: pip install supervision"
            ) from error
        return Detections(
            xyxy=self.boxes, confidence=self.scores, class_id=self.labels, data={"class_name": self.class_names}
        )


class Predictor:
    """A detector that is ready to detect; made by `softdet.load`."""

    def __init__(self, detector: Detector, device: torch.device) -> None:
        self._model = detector.model.to(device)
        self._device = device
        self.card: DetectorCard = detector.card

    def __repr__(self) -> str:
        return f"<softdet.Predictor of {', '.join(self.class_names[:8])} on {self._device}>"

    @property
    def class_names(self) -> tuple[str, ...]:
        """(K,) by label."""
        return self.card.class_names

    @property
    def threshold(self) -> float:
        """The detector's operating point: the score with the best macro-F1 on its validation images."""
        return self.card.operating_threshold

    def predict(
        self, images: Picture | Sequence[Picture], *, threshold: float | None = None, batch_size: int = 8
    ) -> list[Prediction]:
        """Detect in images.

        Args:
            images: one, or any mix of files, PIL images and (H, W, 3) uint8 arrays in RGB order. A file is turned
                upright by its EXIF orientation; the others are taken as they are.
            threshold: lowest score; left out: `threshold` of the detector.
            batch_size: images per forward pass.

        Returns:
            One for each image, in the same order.

        Raises:
            DataError: a file can't be read, or an array has another shape or type.
        """
        lowest = self.threshold if threshold is None else threshold
        given = _as_list(images)
        found: list[Prediction] = []
        for start in range(0, len(given), batch_size):
            found += self._detect(given[start : start + batch_size], start, lowest)
        return found

    def _detect(self, pictures: Sequence[Picture], start: int, threshold: float) -> Iterator[Prediction]:
        read = [_read(picture, number) for number, picture in enumerate(pictures, start)]
        samples = [sample_of(image, self.card) for image in read]
        card = with_threshold(self.card, threshold)
        for picture, image, instances in zip(
            pictures, read, detect_samples(self._model, card, samples, device=self._device), strict=True
        ):
            kept = instances[instances.scores >= threshold]
            yield Prediction(
                kept.boxes.numpy(),
                kept.labels.numpy(),
                np.array(self.class_names, dtype=np.str_)[kept.labels.numpy()],
                kept.scores.numpy(),
                (image.height, image.width),
                Path(picture) if isinstance(picture, str | PathLike) else None,
            )


def load(place: str | PathLike[str], *, device: str | None = None) -> Predictor:
    """Load a detector to predict with.

    Args:
        place: a run folder, whose best detector is taken, or a `.safetensors` file.
        device: `cpu`, `cuda`, `cuda:1` or `mps`; left out: a GPU if there is one.

    Raises:
        WeightsError: there is no detector, or it can't be read.
    """
    path = Path(place)
    detector = load_detector(RunFolder(path).best if path.is_dir() else path)
    return Predictor(detector, device_for(using=True) if device is None else torch.device(device))


def _as_list(images: Picture | Sequence[Picture]) -> list[Picture]:
    if isinstance(images, str | PathLike | Image.Image):
        return [images]
    # A stack of images has four dimensions.
    if isinstance(images, np.ndarray) and images.ndim != 4:
        return [images]
    return list(images)


def _read(picture: Picture, number: int) -> Image.Image:
    if isinstance(picture, Image.Image):
        return as_rgb(picture)
    if isinstance(picture, np.ndarray):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
            raise DataError(
                f"image {number}: an array of shape {picture.shape} and type {picture.dtype}; it is (H, W, 3) and "
                "uint8, in RGB order. An image of OpenCV is turned into that by image[..., ::-1]."
            )
        return Image.fromarray(picture)
    if isinstance(picture, str | PathLike):
        return read_image(Path(picture))
    raise DataError(f"image {number}: {type(picture).__name__}; it is a path, a PIL image or a NumPy array")
