import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from softdet.doctor.examine import examine
from softdet.doctor.shift import largest_difference


@pytest.fixture
def pools(tmp_path: Path, draw: Callable[..., Image.Image]) -> Callable[..., Any]:
    """A labeled list of 15 pictures and 25 unlabeled ones made by a function; the report."""

    def make(change: Callable[[Image.Image], Image.Image]) -> Any:
        rng = np.random.default_rng(0)

        def picture(seed: int) -> Image.Image:
            darker = rng.uniform(0.5, 1.0)
            return draw(seed).point(lambda value: value * darker)

        (tmp_path / "u").mkdir()
        names = [f"{number}.png" for number in range(15)]
        for number, name in enumerate(names):
            picture(number).save(tmp_path / name)
        for number in range(25):
            change(picture(100 + number)).save(tmp_path / "u" / f"{number}.png")
        images = [{"id": n, "file_name": name, "width": 96, "height": 64} for n, name in enumerate(names)]
        boxes = [{"id": n, "image_id": n, "category_id": 0, "bbox": [5, 5, 40, 40]} for n in range(15)]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 0, "name": "cat"}]}
        (tmp_path / "x.json").write_text(json.dumps(content))
        return examine(tmp_path / "x.json", tmp_path / "u")

    return make


def test_pictures_of_one_kind_are_no_finding(pools: Callable[..., Any]) -> None:
    assert pools(lambda image: image).findings == ()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda image: image.point(lambda value: value * 0.4), "brightness"),
        (lambda image: image.convert("L"), "colourfulness"),
        (lambda image: image.resize((300, 200)), "image size"),
        (lambda image: image.resize((64, 96)), "width / height"),
    ],
)
def test_a_shift_is_named(pools: Callable[..., Any], only: Callable[..., Any], change: Any, what: str) -> None:
    finding = only(pools(change), "unlabeled-looks-different")
    assert finding.level == "warning"
    assert what in [place.file for place in finding.places]


def test_the_statistic() -> None:
    one = np.arange(10.0)
    assert largest_difference(one, one) == 0
    assert largest_difference(one, one + 100) == 1
    assert largest_difference(one, one + 3) == pytest.approx(0.3)
