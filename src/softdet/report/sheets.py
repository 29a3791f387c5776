"""Sheets of pictures in a run folder: validation images beside their truth, and a batch as the student sees it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from softdet.data.images import read_image
from softdet.errors import DataError
from softdet.files import whole_file
from softdet.report.drawing import draw_boxes, fit, stack_rows
from softdet.report.facts import Box, Judged

SIDE = 320
_NUM_COLUMNS = 6
_MARGIN = 26


def valid_sheet(images: Sequence[Judged], class_names: Sequence[str]) -> Image.Image | None:
    """Truth and, below it, detections at the operating point, of images spread over the list; None without any."""
    rows: tuple[list[Image.Image], list[Image.Image]] = ([], [])
    for place in _spread(len(images), _NUM_COLUMNS):
        image = images[place]
        try:
            picture = fit(read_image(image.path, image.size), SIDE)[0]
        except DataError:
            continue
        for row, boxes in zip(rows, (image.truth, image.found), strict=True):
            row.append(_with_boxes(picture, boxes, class_names))
    return titled_rows([("truth", rows[0]), ("detected", rows[1])]) if rows[0] else None


def titled_rows(rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """Rows of pictures, each under its title."""
    font = ImageFont.load_default(size=16)
    sheets = [(title, stack_rows([pictures], SIDE)) for title, pictures in rows if pictures]
    sheet = Image.new(
        "RGB", (max(row.width for _, row in sheets), sum(row.height + _MARGIN for _, row in sheets)), "white"
    )
    pen, top = ImageDraw.Draw(sheet), 0
    for title, row in sheets:
        pen.text((4, top + 4), title, font=font, fill="black")
        sheet.paste(row, (0, top + _MARGIN))
        top += row.height + _MARGIN
    return sheet


def save_sheet(path: Path, sheet: Image.Image) -> None:
    """Write a sheet as JPEG, whole or not at all."""
    with whole_file(path) as draft:
        sheet.save(draft, format="JPEG", quality=85)


def _with_boxes(picture: Image.Image, boxes: Sequence[Box], class_names: Sequence[str]) -> Image.Image:
    width, height = picture.size
    corners = [(x0 * width, y0 * height, x1 * width, y1 * height) for x0, y0, x1, y1 in (box.corners for box in boxes)]
    scores = [box.score for box in boxes if box.score is not None]
    labels = [box.label for box in boxes]
    return draw_boxes(picture, corners, labels, class_names, scores if len(scores) == len(boxes) and scores else None)


def _spread(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return [place * count // most for place in range(most)]
