"""One small labeled set, written in each format that users bring."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Content = dict[str, Any]
NAMES = ["cat", "dog", "bird"]
SIZES = [(90, 70), (64, 96), (120, 51)]  # width x height


def random_content(seed: int, num_images: int, *, whole: bool = False) -> Content:
    """COCO content with up to four boxes an image, none in some."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(num_images):
        width, height = SIZES[number % len(SIZES)]
        images.append({"id": 5 + 2 * number, "file_name": f"shot_{number:02d}.png", "width": width, "height": height})
        for _ in range(int(rng.integers(0, 5)) if number else 2):
            x1, x2 = sorted(rng.choice(width + 1, 2, replace=False).tolist())
            y1, y2 = sorted(rng.choice(height + 1, 2, replace=False).tolist())
            shift = 0 if whole else float(rng.uniform(0, 0.4))
            box = [x1 + shift, y1 + shift, x2 - x1 - shift, y2 - y1 - shift]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": images[-1]["id"], "category_id": int(rng.integers(1, 4))}
                | {"bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_picture(path: Path, size: tuple[int, int], colour: int = 0, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour % 256, 40, 90)).save(path, **options)


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def boxes_of(content: Content) -> dict[str, list[tuple[str, list[float]]]]:
    """Class names and boxes by the image's file name, sorted: what any conversion must keep."""
    names = {category["id"]: category["name"] for category in content["categories"]}
    result: dict[str, list[tuple[str, list[float]]]] = {}
    for image in content["images"]:
        own = [each for each in content["annotations"] if each["image_id"] == image["id"]]
        result[Path(image["file_name"]).name] = sorted((names[each["category_id"]], each["bbox"]) for each in own)
    return result


def _own(content: Content, image: Content) -> list[tuple[str, list[float]]]:
    return boxes_of({**content, "images": [image]})[image["file_name"]]


def _pictures(content: Content, folder: Path) -> None:
    for image in content["images"]:
        write_picture(folder / image["file_name"], (image["width"], image["height"]), image["id"])


def write_coco(content: Content, root: Path) -> Path:
    _pictures(content, root / "images")
    return write_text(root / "labels.json", json.dumps(content))


def write_yolo(content: Content, root: Path) -> Path:
    for split, images in (("train", content["images"][::2]), ("valid", content["images"][1::2])):
        _pictures({"images": images}, root / split / "images")
        for image in images:
            lines = []
            for name, (x, y, width, height) in _own(content, image):
                across, down = image["width"], image["height"]
                places = ((x + width / 2) / across, (y + height / 2) / down, width / across, height / down)
                lines.append(" ".join([str(NAMES.index(name)), *(f"{place:.7f}" for place in places)]))
            write_text(root / split / "labels" / image["file_name"].replace(".png", ".txt"), "\n".join(lines))
    write_text(root / "data.yaml", f"train: ../train/images\nval: ../valid/images\nnc: 3\nnames: {NAMES}\n")
    return root


def write_voc(content: Content, root: Path) -> Path:
    _pictures(content, root / "JPEGImages")
    for image in content["images"]:
        objects = ""
        for name, (x, y, width, height) in _own(content, image):
            corners = zip(("xmin", "ymin", "xmax", "ymax"), (x + 1, y + 1, x + width, y + height), strict=True)
            box = "".join(f"<{key}>{value:g}</{key}>" for key, value in corners)
            objects += f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"
        file = root / "Annotations" / image["file_name"].replace(".png", ".xml")
        write_text(file, f"<annotation><filename>{image['file_name']}</filename>{objects}</annotation>")
    for name, images in (("train", content["images"][::2]), ("val", content["images"][1::2])):
        stems = [Path(image["file_name"]).stem for image in images]
        write_text(root / "ImageSets" / "Main" / f"{name}.txt", "\n".join(stems))
    return root


def write_cvat(content: Content, root: Path) -> Path:
    _pictures(content, root / "images")
    images = ""
    for number, image in enumerate(content["images"]):
        shapes = ""
        for name, (x, y, width, height) in _own(content, image):
            shapes += f'<box label="{name}" xtl="{x}" ytl="{y}" xbr="{x + width}" ybr="{y + height}"/>'
        subset = ("Train", "Validation")[number % 2]
        size = f'width="{image["width"]}" height="{image["height"]}"'
        images += f'<image id="{number}" name="{image["file_name"]}" subset="{subset}" {size}>{shapes}</image>'
    labels = "".join(f"<label><name>{name}</name></label>" for name in NAMES)
    meta = f"<meta><job><labels>{labels}</labels></job></meta>"
    return write_text(root / "annotations.xml", f"<annotations>{meta}{images}</annotations>").parent


def write_roboflow(content: Content, root: Path) -> Path:
    group = [{"id": 0, "name": "pets", "supercategory": "none"}]
    categories = group + [{**category, "supercategory": "pets"} for category in content["categories"]]
    for split, images in (("train", content["images"][::2]), ("valid", content["images"][1::2])):
        _pictures({"images": images}, root / split)
        ids = {image["id"] for image in images}
        annotations = [each for each in content["annotations"] if each["image_id"] in ids]
        part = {"images": images, "annotations": annotations, "categories": categories}
        write_text(root / split / "_annotations.coco.json", json.dumps(part))
    return root


WRITERS: dict[str, Callable[[Content, Path], Path]] = {
    "COCO": write_coco,
    "YOLO": write_yolo,
    "VOC": write_voc,
    "CVAT": write_cvat,
    "Roboflow": write_roboflow,
}
