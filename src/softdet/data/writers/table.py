"""A table with a row a box, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from softdet.data.writers.found import FoundImage

COLUMNS = ("file", "image_width", "image_height", "class", "score", "x1", "y1", "x2", "y2")


def csv_rows(images: Iterable[FoundImage], class_names: tuple[str, ...]) -> Iterator[str]:
    """The lines of a CSV file, the header first; corners in pixels of the upright image."""
    yield _line(COLUMNS)
    for image in images:
        for corners, label, score in image:
            sizes = (image.size[1], image.size[0])
            places = (f"{value:.2f}" for value in corners)
            yield _line((str(image.path), *sizes, class_names[label], f"{score:.6f}", *places))


def _line(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
