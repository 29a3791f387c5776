"""YOLO's text files: `class x y width height score`, the box by its middle and in parts of the image."""

from __future__ import annotations

import yaml

from softdet.data.writers.found import FoundImage


def label_text(image: FoundImage) -> str:
    """The label file of an image, a line a box; its sixth column is the score. Nothing found: an empty file."""
    rows, columns = image.size
    lines = []
    for (x1, y1, x2, y2), label, score in image:
        places = ((x1 + x2) / 2 / columns, (y1 + y2) / 2 / rows, (x2 - x1) / columns, (y2 - y1) / rows)
        lines.append(f"{label} " + " ".join(f"{place:.6f}" for place in places) + f" {score:.6f}\n")
    return "".join(lines)


def data_yaml(class_names: tuple[str, ...]) -> str:
    """The file that names the classes and where the images are, below its own folder."""
    content = {"train": "images", "nc": len(class_names), "names": dict(enumerate(class_names))}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
