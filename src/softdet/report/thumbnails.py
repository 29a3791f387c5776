"""Small copies of pictures, to draw boxes over."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from softdet.data.images import read_image
from softdet.report.drawing import fit


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small copy as a JPEG.

    Attributes:
        width: in pixels.
        height: likewise.
        jpeg: the file's bytes.
    """

    width: int
    height: int
    jpeg: bytes

    @property
    def uri(self) -> str:
        """The picture as an address that a page can hold in itself."""
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg).decode()


def thumbnail_of(path: Path, size: tuple[int, int] | None, side: int) -> Thumbnail:
    """A copy whose longer side is at most `side`.

    Args:
        path: the picture.
        size: rows and columns that its list states; None for a picture without a list.
        side: in pixels.

    Raises:
        DataError: it can't be read.
    """
    return shrunk(read_image(path, size), side)


def shrunk(image: Image.Image, side: int) -> Thumbnail:
    """The same of an RGB picture."""
    small = image if max(image.size) <= side else fit(image, side)[0]
    file = io.BytesIO()
    small.save(file, format="JPEG", quality=78, optimize=True)
    return Thumbnail(small.width, small.height, file.getvalue())


def kept_thumbnail(path: Path) -> Thumbnail:
    """A copy that was kept as a file.

    Raises:
        OSError: it isn't there, or is no picture.
    """
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as opened:
        return Thumbnail(opened.width, opened.height, content)
