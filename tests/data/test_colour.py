from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from softdet.data.colour import GREY, OPERATIONS, ColourDraw, apply_colour, draw_colour, draw_erasures, erase

NUMBER = {operation.__name__.strip("_"): number for number, operation in enumerate(OPERATIONS)}


def pictures(number: int = 1, seed: int = 0) -> Tensor:
    """Smooth pictures of bytes that don't fill the range, some darker than others."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0.2, 0.8, (number, 3, 5, 6))).float()
    images = torch.nn.functional.interpolate(coarse, (24, 30), mode="bilinear")
    images = images * torch.from_numpy(rng.uniform(0.5, 1, (number, 1, 1, 1))).float()
    return (images * 255).round() / 255


def applied(name: str, images: Tensor, strength: float) -> Tensor:
    return apply_colour(images, [ColourDraw(NUMBER[name], strength)] * len(images))


def by_pillow(change: Callable[[Image.Image], Image.Image], images: Tensor) -> Tensor:
    picture = Image.fromarray((images[0] * 255).round().byte().permute(1, 2, 0).numpy())
    return torch.from_numpy(np.array(change(picture))).permute(2, 0, 1)[None] / 255


def factor(strength: float) -> float:
    return 0.1 + 1.8 * strength


REFERENCES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "identity": lambda images, _: images,
    "autocontrast": lambda images, _: by_pillow(ImageOps.autocontrast, images),
    "equalize": lambda images, _: by_pillow(ImageOps.equalize, images),
    "solarize": lambda images, strength: tvf.solarize(images, strength),
    "colour": lambda images, strength: tvf.adjust_saturation(images, factor(strength)),
    "contrast": lambda images, strength: tvf.adjust_contrast(images, factor(strength)),
    "brightness": lambda images, strength: tvf.adjust_brightness(images, factor(strength)),
    "sharpness": lambda images, strength: tvf.adjust_sharpness(images, factor(strength)),
    "posterize": lambda images, strength: tvf.posterize((images * 255).round().byte(), 4 + int(strength * 4)) / 255,
}


def test_every_operation_has_a_reference() -> None:
    assert REFERENCES.keys() == NUMBER.keys()


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("name", REFERENCES)
def test_each_operation_is_that_of_its_reference(name: str, strength: float) -> None:
    images = pictures(seed=3)
    # Pillow counts in bytes; torchvision doesn't sharpen the outermost pixels.
    tolerance = 1.01 / 255 if name in ("autocontrast", "equalize") else 1e-5
    edge = 1 if name == "sharpness" else 0
    inner = np.s_[..., edge : 24 - edge, edge : 30 - edge]
    expected = REFERENCES[name](images, strength)
    torch.testing.assert_close(applied(name, images, strength)[inner], expected[inner], atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", [name for name in REFERENCES if name != "identity"])
def test_each_operation_changes_the_picture_and_stays_in_range(name: str) -> None:
    images = pictures(seed=3)
    for strength in (0.01, 0.65):
        changed = applied(name, images, strength)
        assert (changed - images).abs().mean() > 0.0005
        assert changed.min() >= 0
        assert changed.max() <= 1


@pytest.mark.parametrize("name", ["colour", "contrast", "brightness", "sharpness"])
def test_half_strength_is_the_picture_itself(name: str) -> None:
    torch.testing.assert_close(applied(name, pictures(), 0.5), pictures(), atol=1e-6, rtol=0)


def test_a_picture_of_one_colour_survives_every_operation() -> None:
    for value in (0.0, GREY, 1.0):
        flat = torch.full((1, 3, 8, 8), value)
        for name in NUMBER:
            assert applied(name, flat, 0.7).isfinite().all()


def test_batched_is_single_and_each_image_has_its_own_strength() -> None:
    rng = np.random.default_rng(0)
    draws = [ColourDraw(number % len(OPERATIONS), float(rng.random())) for number in range(27)]
    images = pictures(27)
    before = images.clone()
    together = apply_colour(images, draws)
    alone = torch.cat([apply_colour(images[i : i + 1], draws[i : i + 1]) for i in range(27)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    assert torch.equal(images, before), "the input is not changed"


def test_all_operations_are_drawn_equally_often() -> None:
    rng = np.random.default_rng(0)
    draws = [draw_colour(rng) for _ in range(1800)]
    counts = Counter(draw.operation for draw in draws)
    assert counts.keys() == set(range(9))
    assert all(140 < count < 260 for count in counts.values())
    assert all(0 <= draw.strength < 1 for draw in draws)
    assert np.std([draw.strength for draw in draws]) > 0.25


def test_one_to_four_squares_are_drawn_up_to_a_fifth_of_the_canvas() -> None:
    rng = np.random.default_rng(0)
    squares = np.stack([draw_erasures(rng) for _ in range(800)])
    assert squares.shape == (800, 4, 3)
    numbers = Counter((squares[..., 2] > 0).sum(1).tolist())
    assert numbers.keys() == {1, 2, 3, 4}
    assert all(150 < count < 250 for count in numbers.values())
    assert 0.19 < squares[..., 2].max() < 0.2
    assert squares[..., :2].min() >= 0
    assert squares[..., :2].max() <= 1


def test_erasing_against_pixel_by_pixel() -> None:
    rng = np.random.default_rng(1)
    squares = torch.from_numpy(np.stack([draw_erasures(rng) for _ in range(5)]))
    images = torch.ones(5, 3, 40, 60)
    erased = erase(images, squares)
    assert (images == 1).all(), "the input is not changed"
    for image, drawn in zip(erased, squares.tolist(), strict=True):
        for row in range(40):
            for column in range(60):
                covered = any(
                    max(abs(column + 0.5 - 60 * x), abs(row + 0.5 - 40 * y)) < 40 * side / 2 for x, y, side in drawn
                )
                assert image[:, row, column].tolist() == pytest.approx([GREY if covered else 1] * 3)
    assert (erased == 1).any()
    assert (erased != 1).any()


def test_erasing_batched_is_single() -> None:
    rng = np.random.default_rng(2)
    squares = torch.from_numpy(np.stack([draw_erasures(rng) for _ in range(6)]))
    alone = torch.cat([erase(pictures(6)[i : i + 1], squares[i : i + 1]) for i in range(6)])
    assert torch.equal(erase(pictures(6), squares), alone)


def test_a_square_without_a_side_erases_nothing() -> None:
    assert torch.equal(erase(pictures(), torch.tensor([[[0.5, 0.5, 0]] * 4])), pictures())
