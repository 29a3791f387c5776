"""What single fields of COCO JSON say, however a tool or a table wrote them."""

from __future__ import annotations

import math
from typing import Any, Literal

from softdet.errors import DataError

_NO, _YES = (None, 0, "", "0", "false", "no"), ("1", "true", "yes")


def is_finite(value: object) -> bool:
    """Whether it is a number that a float can hold."""
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False


def box_of(annotation: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """The x, y, width and height of a `bbox`; None where it isn't a list of four finite numbers."""
    box = annotation.get("bbox")
    if not (isinstance(box, list) and len(box) == 4 and all(map(is_finite, box))):
        return None
    x, y, width, height = map(float, box)
    return x, y, width, height


def size_of(image: dict[str, Any]) -> tuple[int, int] | None:
    """The rows and columns that an image's `height` and `width` state; None where one is no whole number above 0.

    Tables give whole numbers back as 640.0.
    """
    sides: list[Any] = [image.get("height"), image.get("width")]
    if not all(is_finite(side) and side == int(side) and side > 0 for side in sides):
        return None
    return int(sides[0]), int(sides[1])


def is_ignored(annotation: dict[str, Any]) -> bool:
    """Whether an annotation is a region to leave alone, not an object."""
    return is_marked(annotation, "iscrowd") or is_marked(annotation, "ignore")


def is_marked(annotation: dict[str, Any], key: Literal["iscrowd", "ignore"]) -> bool:
    """Whether an annotation has a mark.

    Raises:
        DataError: what stands there is neither yes nor no.
    """
    value = annotation.get(key)
    said = says_yes(value)
    if said is None:
        raise DataError(
            f"annotation {annotation.get('id')} of image {annotation.get('image_id')}: `{key}` is {value!r}; it must "
            "be 0 or 1. Mend the list, or take the key out."
        )
    return said


def says_yes(value: object) -> bool | None:
    """Read a mark as JSON, a table (NaN for an empty cell) or text writes it; None for what is neither yes nor no."""
    said = value.strip().lower() if isinstance(value, str) else value
    if said in _NO or (isinstance(said, float) and math.isnan(said)):
        return False
    return True if said in _YES or isinstance(said, int | float) else None
