"""Where the words beside boxes go, so that they don't cover each other."""

from __future__ import annotations

from collections.abc import Sequence

# A letter's width and a line's height, in parts of the size of the letters.
_LETTER, _LINE = 0.58, 1.15


def place_tags(
    corners: Sequence[tuple[float, float]], texts: Sequence[str], letters: float, size: tuple[float, float]
) -> list[tuple[float, float]]:
    """The start of each word's base line: above its box's corner, or the next free line below.

    Args:
        corners: x and y of each box's upper left corner.
        texts: what is written.
        letters: their size.
        size: width and height of the picture; words stay inside as far as they can.
    """
    taken: list[tuple[float, float, float]] = []
    places = []
    for (x, y), text in zip(corners, texts, strict=True):
        width = _LETTER * letters * len(text)
        left = max(2.0, min(x + 2, size[0] - width - 2))
        base = max(y - 0.3 * letters, letters)
        while any(
            left < right and other_left < left + width and abs(base - other) < _LINE * letters
            for other_left, right, other in taken
        ) and (base + _LINE * letters < size[1]):
            base += _LINE * letters
        taken.append((left, left + width, base))
        places.append((left, base))
    return places
