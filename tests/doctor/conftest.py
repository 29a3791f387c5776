"""Small sets of pictures that all look different, with lists that can be spoilt."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

WIDTH, HEIGHT = 96, 64


def scene(seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A picture of large blurred patches, unlike that of any other seed; width and height."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def coco(names: Sequence[str], classes: Sequence[str] = ("cat", "dog")) -> dict[str, Any]:
    """A list with a good box of each class in every image."""
    images = [{"id": n, "file_name": name, "width": WIDTH, "height": HEIGHT} for n, name in enumerate(names, 1)]
    annotations = [
        {"image_id": image["id"], "category_id": number, "bbox": [5 + 40 * number, 10, 30, 30]}
        for image in images
        for number in range(len(classes))
    ]
    return {
        "images": images,
        "annotations": [{"id": number, **each} for number, each in enumerate(annotations, 1)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes)],
    }


class Set:
    """A set of the test's own: labeled.json, valid.json and their images, and a folder of unlabeled ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.content = {name: coco([f"{name}_{number}.png" for number in range(6)]) for name in ("labeled", "valid")}
        for start, name in ((0, "labeled"), (100, "valid"), (200, "unlabeled")):
            place = folder / "unlabeled" if name == "unlabeled" else folder / "images"
            place.mkdir(exist_ok=True)
            for number in range(6):
                scene(start + number).save(place / f"{name}_{number}.png")

    def image(self, name: str) -> Path:
        """An image of one of the lists."""
        return self.folder / "images" / name

    def box(self, number: int, **changes: Any) -> None:
        """Change a box of the labeled images."""
        self.content["labeled"]["annotations"][number] |= changes

    def examine(self, **options: Any) -> Any:
        """Write the lists and examine the set."""
        from softdet.doctor.examine import examine

        for name, content in self.content.items():
            (self.folder / f"{name}.json").write_text(json.dumps(content))
        paths = {"labeled": self.folder / "labeled.json", "valid": self.folder / "valid.json"}
        return examine(**{**paths, "unlabeled": self.folder / "unlabeled", **options})


@pytest.fixture
def own(tmp_path: Path) -> Set:
    """A clean set, to be spoilt."""
    return Set(tmp_path)


@pytest.fixture
def only() -> Callable[[Any, str], Any]:
    """The finding of a code, once it's sure that it is the only one of a report."""

    def get(report: Any, code: str) -> Any:
        assert [finding.code for finding in report.findings] == [code]
        return report.findings[0]

    return get


@pytest.fixture
def draw() -> Callable[..., Image.Image]:
    """Draw a picture: `draw(seed, (width, height))`."""
    return scene
