"""Boxes drawn onto pictures."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont


def draw_boxes(
    image: Image.Image,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    class_names: Sequence[str],
    scores: Sequence[float] | None = None,
) -> Image.Image:
    """Draw boxes with their class and score onto a copy of a picture.

    Args:
        image: RGB.
        boxes: N times xyxy in pixels of the image.
        labels: N class indices.
        class_names: by label.
        scores: N scores in [0, 1], or None for true boxes.
    """
    picture = image.copy()
    pen = ImageDraw.Draw(picture)
    # Lines and letters that stay readable from thumbnails to photographs.
    unit = max(1, round(min(picture.size) / 220))
    font = ImageFont.load_default(size=max(10, 6 * unit))
    for place, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        colour = class_colour(label)
        pen.rectangle(tuple(box), outline=colour, width=unit)
        text = class_names[label] + (f" {scores[place]:.2f}" if scores is not None else "")
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        width, height = right - left + 4, bottom - top + 4
        x = min(max(box[0], 0), max(0, picture.width - width))
        y = box[1] - height if box[1] >= height else box[1]
        pen.rectangle((x, y, x + width, y + height), fill=colour)
        pen.text((x + 2 - left, y + 2 - top), text, font=font, fill="black")
    return picture


def class_colour(label: int) -> tuple[int, int, int]:
    """A bright colour for each class; neighbours in number are far apart in hue."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.381966 % 1, 0.65, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def fit(image: Image.Image, side: int) -> tuple[Image.Image, float]:
    """Resize a picture so that its longer side is `side`; also gives the factor."""
    scale = side / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale)))), scale


def stack_rows(rows: Sequence[Sequence[Image.Image]], side: int) -> Image.Image:
    """Put pictures into a grid of square cells, each as large as it fits.

    Args:
        rows: of pictures.
        side: of a cell, in pixels.
    """
    sheet = Image.new("RGB", (side * max(len(row) for row in rows), side * len(rows)), "white")
    for top, row in enumerate(rows):
        for left, picture in enumerate(row):
            sheet.paste(fit(picture, side)[0], (left * side, top * side))
    return sheet
