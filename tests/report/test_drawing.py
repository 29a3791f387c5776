"""Boxes drawn onto pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from softdet.report.drawing import class_colour, draw_boxes, stack_rows


def grey(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), (40, 40, 40))


def changed(before: Image.Image, after: Image.Image) -> np.ndarray:
    return (np.asarray(before) != np.asarray(after)).any(-1)


def test_the_frame_is_where_the_box_is_and_its_inside_stays() -> None:
    picture = grey(200, 200)
    drawn = draw_boxes(picture, [[50.0, 60.0, 150.0, 160.0]], [0], ["cat"], [0.875])
    assert drawn.size == picture.size
    assert drawn.getpixel((50, 100)) == drawn.getpixel((150, 100)) == class_colour(0)
    assert drawn.getpixel((100, 160)) == class_colour(0)
    assert not changed(picture, drawn)[70:150, 60:140].any()
    # The label stands above the box and nothing else is touched.
    assert changed(picture, drawn)[40:60, 50:60].any()
    assert not changed(picture, drawn)[165:].any()


def test_the_picture_given_is_left_alone() -> None:
    picture = grey(100, 100)
    draw_boxes(picture, [[10, 10, 90, 90]], [0], ["cat"])
    assert not changed(grey(100, 100), picture).any()


def test_without_boxes_it_is_a_copy() -> None:
    picture = grey(100, 100)
    drawn = draw_boxes(picture, [], [], ["cat"], [])
    assert drawn is not picture
    assert not changed(picture, drawn).any()


@pytest.mark.parametrize("box", [[0, 0, 30, 20], [0, 0, 30, 2], [180, 0, 200, 20], [-5, -5, 250, 90], [3, 3, 3, 3]])
def test_a_label_stays_inside_the_picture(box: list[float]) -> None:
    picture = grey(200, 90)
    drawn = draw_boxes(picture, [box], [1], ["cat", "a long class name"], [0.5])
    colour = (np.asarray(drawn) == class_colour(1)).all(-1)
    # The filled ground of the label, not only a frame one pixel wide.
    assert colour.sum() > 300


@pytest.mark.parametrize("size", [(1, 1), (8, 300), (3000, 40)])
def test_a_picture_of_any_size_can_be_drawn_on(size: tuple[int, int]) -> None:
    drawn = draw_boxes(grey(*size), [[0, 0, *size]], [0], ["cat"], [1.0])
    assert drawn.size == size


def test_true_boxes_have_no_score_in_their_label() -> None:
    picture = grey(200, 200)
    with_score = draw_boxes(picture, [[50, 50, 150, 150]], [0], ["cat"], [0.25])
    without = draw_boxes(picture, [[50, 50, 150, 150]], [0], ["cat"])
    assert changed(picture, with_score)[:50].sum() > changed(picture, without)[:50].sum()


def test_the_first_twenty_classes_can_be_told_apart() -> None:
    colours = [class_colour(label) for label in range(20)]
    assert len(set(colours)) == 20
    distances = [np.abs(np.subtract(a, b)).sum() for i, a in enumerate(colours) for b in colours[:i]]
    assert min(distances) > 20
    assert all(max(colour) == 255 for colour in colours)


def test_rows_become_a_grid_and_pictures_keep_their_shape() -> None:
    red, blue = Image.new("RGB", (100, 50), "red"), Image.new("RGB", (30, 60), "blue")
    sheet = stack_rows([[red, blue], [blue]], 40)
    assert sheet.size == (80, 80)
    pixels = np.asarray(sheet)
    assert (pixels[:20, :40] == (255, 0, 0)).all()
    assert (pixels[20:40, :40] == 255).all()
    assert (pixels[:40, 40:60] == (0, 0, 255)).all()
    assert (pixels[40:, 40:] == 255).all()
