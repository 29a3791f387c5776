"""What there is to know of one image file: whether it can be read, how it looks, and two fingerprints."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from softdet.data.images import read_image

Status = Literal["good", "missing", "empty", "unreadable", "cut off", "too large"]

# Above this Pillow warns of decompression bombs, and at twice of it refuses.
MOST_PIXELS = 89_478_485
THUMB_SIDE = 8

_SIDE = 32
_LOWEST = 8
_STEPS = np.arange(_SIDE)
_COSINES = np.cos(np.pi * (2 * _STEPS[None, :] + 1) * _STEPS[:_LOWEST, None] / (2 * _SIDE))
_GREY_WEIGHTS = np.array([0.299, 0.587, 0.114])
# A picture with less contrast has nothing to tell it by: its hash would be that of its noise.
_FLAT = 2.0
_EXIF_ORIENTATION = 0x0112
_CUT_OFF = ("truncated", "Truncated", "broken data stream", "unrecognized data stream", "not enough image data")


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of one image file.

    Attributes:
        status: whether training can read it.
        reason: the reader's words where it can't; may be empty.
        format: Pillow's name of the file's format.
        mode: Pillow's name of its pixels' form.
        size: rows and columns as stored; (0, 0) where unknown.
        orientation: of EXIF; 1 where there is none.
        digest: of the file's bytes.
        hash: 64 bits that hardly change when a picture is re-encoded, resized or brightened (pHash: the signs of its
            lowest 8x8 frequencies about their median); None for a picture without contrast.
        thumb: 8x8x3 bytes of the picture, upright.
        brightness: mean grey, 0 to 255.
        contrast: standard deviation of grey.
        colourfulness: Hasler and Suesstrunk's measure (2003); 0 for grey.
    """

    status: Status
    reason: str = ""
    format: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    digest: bytes = b""
    hash: int | None = None
    thumb: bytes = b""
    brightness: float = 0.0
    contrast: float = 0.0
    colourfulness: float = 0.0

    @property
    def upright_size(self) -> tuple[int, int]:
        """Rows and columns once the EXIF orientation is applied."""
        return (self.size[1], self.size[0]) if self.orientation in (5, 6, 7, 8) else self.size


def examine_file(path: Path) -> Facts:
    """Read a file, decode it to its end, and say what it is; never raises because of what it holds."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Facts("missing")
    except OSError as error:
        return Facts("unreadable", error.strerror or type(error).__name__)
    if not content:
        return Facts("empty")
    digest = hashlib.blake2b(content, digest_size=16).digest()
    known = Facts("unreadable", digest=digest)
    try:
        with Image.open(io.BytesIO(content)) as opened:
            size, mode, kind = (opened.height, opened.width), opened.mode, opened.format or ""
            orientation = int(opened.getexif().get(_EXIF_ORIENTATION, 1))
            known = Facts("good", "", kind, mode, size, orientation, digest)
            if size[0] * size[1] > MOST_PIXELS:
                return _unusable(known, "too large", "")
            pixels = _small(opened, path)
    except Image.DecompressionBombError as error:
        return _unusable(known, "too large", str(error))
    # Damaged bytes make the decoders raise nearly anything.
    except Exception as error:
        reason = str(error) or type(error).__name__
        return _unusable(known, "cut off" if any(word in reason for word in _CUT_OFF) else "unreadable", reason)
    return _look(known, pixels)


def perceptual_hash(grey: NDArray[np.float64]) -> int:
    """The 64 bits of a (32, 32) grey picture: which of its lowest 8x8 frequencies lie above their median."""
    lowest = (_COSINES @ grey @ _COSINES.T).reshape(-1)
    # The first is the mean, which says nothing of the shape.
    bits = lowest > np.median(lowest[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _small(opened: Image.Image, path: Path) -> NDArray[np.float64]:
    """The picture upright as (32, 32, 3), as training sees it."""
    if opened.format in ("JPEG", "MPO") and opened.mode in ("RGB", "L"):
        # Decoded at an eighth where that is enough; all bytes are read nevertheless.
        opened.draft(opened.mode, (4 * _SIDE, 4 * _SIDE))
        orientation = int(opened.getexif().get(_EXIF_ORIENTATION, 1))
        return _upright(_resized(opened.convert("RGB")), orientation)
    return _resized(read_image(path))


def _resized(image: Image.Image) -> NDArray[np.float64]:
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(small, dtype=np.float64)


def _upright(pixels: NDArray[np.float64], orientation: int) -> NDArray[np.float64]:
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return pixels.swapaxes(0, 1)[::-1, ::-1]
        case 8:
            return np.rot90(pixels)
    return pixels


def _look(known: Facts, pixels: NDArray[np.float64]) -> Facts:
    grey = pixels @ _GREY_WEIGHTS
    contrast = float(grey.std())
    block = _SIDE // THUMB_SIDE
    thumb = pixels.reshape(THUMB_SIDE, block, THUMB_SIDE, block, 3).mean((1, 3))
    return Facts(
        known.status,
        known.reason,
        known.format,
        known.mode,
        known.size,
        known.orientation,
        known.digest,
        None if contrast < _FLAT else perceptual_hash(grey),
        thumb.round().astype(np.uint8).tobytes(),
        float(grey.mean()),
        contrast,
        _colourfulness(pixels),
    )


def _colourfulness(pixels: NDArray[np.float64]) -> float:
    red, green, blue = pixels.reshape(-1, 3).T
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))


def _unusable(known: Facts, status: Status, reason: str) -> Facts:
    return Facts(status, reason, known.format, known.mode, known.size, known.orientation, known.digest)
