"""One image file of any size and mode, as a uint8 canvas and the map that leads there."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from softdet.errors import DataError

Resize = Literal["letterbox", "stretch"]
# Whatever reads many images stops above this share of unreadable ones, once there are more of them than a few.
MAX_UNREADABLE = 0.05
_GREY = 128  # as `colour.GREY`, in bytes
_MORE_THAN_BYTES = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I", "F"})
_EXIF_ORIENTATION = 0x0112
# A scan of 100 million pixels is no attack here; twice as many are refused all the same.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Pillow's own `exif_transpose` writes the rest of the EXIF data anew, and refuses a good picture if that is sloppy.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: Path, size: tuple[int, int] | None = None) -> Image.Image:
    """Read an image of any mode as RGB, upright.

    Args:
        path: the file.
        size: rows and columns that an index states for it. EXIF orientation is applied where they match the rotated
            size, and not where they match the stored one; without an index it is always applied.

    Returns:
        An RGB image.

    Raises:
        DataError: the file is missing, no image, cut off, or matches `size` neither way.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            return as_rgb(_orient(opened, path, size))
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path}: too large to be opened ({error}). Make it smaller, or cut it into pieces, labels too."
        ) from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such image. Was it moved since the index was written?") from error
    # Damaged bytes make the decoders raise nearly anything, struct.error and TypeError among it.
    except Exception as error:
        raise DataError(
            f"{path}: can't be read as an image ({error or type(error).__name__}). Is the file cut off, or no picture? "
            "Replace it, or take it out of the list."
        ) from error


def to_canvas(image: Image.Image, canvas: tuple[int, int], resize: Resize) -> tuple[Tensor, tuple[int, int]]:
    """Resize an image, antialiased, to fit a canvas.

    Args:
        image: RGB.
        canvas: rows and columns.
        resize: `letterbox` keeps the shape and fills the rest with grey, right and below; `stretch` fills the canvas.

    Returns:
        (3, *canvas) uint8, and the rows and columns that the picture takes of it.
    """
    height, width = canvas
    rows, columns = height, width
    if resize == "letterbox":
        scale = min(height / image.height, width / image.width)
        rows = min(height, max(1, round(image.height * scale)))
        columns = min(width, max(1, round(image.width * scale)))
    resized = image.resize((columns, rows), Image.Resampling.BILINEAR, reducing_gap=3.0)
    pixels = torch.full((3, height, width), _GREY, dtype=torch.uint8)
    pixels[:, :rows, :columns] = torch.from_numpy(np.array(resized)).permute(2, 0, 1)
    return pixels, (rows, columns)


def canvas_scale(size: tuple[int, int], content: tuple[int, int]) -> tuple[float, float]:
    """The factors for x and y that lead from an image's own pixels to its place on the canvas."""
    return content[1] / size[1], content[0] / size[0]


def _orient(image: Image.Image, path: Path, size: tuple[int, int] | None) -> Image.Image:
    turn = _UPRIGHT.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    upright = image if turn is None else image.transpose(turn)
    if size is None or (upright.height, upright.width) == size:
        return upright
    if (image.height, image.width) == size:
        return image
    raise DataError(
        f"{path}: the index says {size[1]}x{size[0]} (width x height), the file has {image.width}x{image.height}"
        + (f", upright {upright.width}x{upright.height}" if upright is not image else "")
        + ". Was the image resized after it was labeled? Its boxes would lie elsewhere: restore it, or mend the index."
    )


def as_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB: 16 bits are scaled to 8, and what is transparent becomes white."""
    if image.mode in _MORE_THAN_BYTES:
        # Pillow would clip at 255; an image that only uses 12 of its 16 bits still keeps its contrast here.
        values = np.nan_to_num(np.asarray(image, dtype=np.float32)).clip(min=0)
        brightest = max(float(values.max()), 1.0 if image.mode == "F" else 256.0)
        image = Image.fromarray((values / brightest * 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        image = Image.alpha_composite(white, layered)
    return image.convert("RGB")
