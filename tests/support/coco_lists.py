"""Small COCO lists, written beside one picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}, {"id": 7, "name": "emu"}]


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(path)
    return path


def image(number: int | str, name: str = "a.png", **changed: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": 40, "height": 30, **changed}


def box(number: int | str, category: int | str, corners: object = (1, 2, 10, 20), **more: Any) -> dict[str, Any]:
    corners = list(corners) if isinstance(corners, tuple) else corners
    return {"image_id": number, "category_id": category, "bbox": corners, **more}


def write(folder: Path, images: object = None, annotations: object = None, **more: Any) -> Path:
    """An index beside one picture, `a.png`."""
    picture(folder / "a.png")
    content = {"images": [image(1)] if images is None else images, "annotations": annotations, "categories": CATEGORIES}
    path = folder / "index.json"
    path.write_text(json.dumps({**content, **more}))
    return path
