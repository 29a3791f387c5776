"""Label Studio: tasks with predictions, boxes in percent of the image; and the labeling config they fit."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from softdet.data.writers.found import FoundImage

LOCAL_FILES = "/data/local-files/?d="
_FROM_NAME, _TO_NAME = "label", "image"


def tasks_json(
    images: Iterable[FoundImage], class_names: tuple[str, ...], model_version: str, url_prefix: str = LOCAL_FILES
) -> Iterator[str]:
    """The list of tasks to import, in pieces.

    Args:
        images: what was found.
        class_names: by label.
        model_version: what Label Studio shows beside the predictions.
        url_prefix: put before an image's quoted name: a web address, or where local files are served.
    """
    yield "["
    comma = "\n"
    for image in images:
        prediction = {
            "model_version": model_version,
            "score": round(float(image.scores.mean()), 6) if len(image.scores) else 0.0,
            "result": [_region(number, each, image, class_names) for number, each in enumerate(image, 1)],
        }
        yield comma + json.dumps(
            {"data": {"image": url_prefix + quote(os.fsencode(image.name))}, "predictions": [prediction]}
        )
        comma = ",\n"
    yield "\n]\n"


def labeling_config(class_names: tuple[str, ...]) -> str:
    """The XML for a project's labeling interface."""
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in class_names)
    return (
        f'<View>\n  <Image name="{_TO_NAME}" value="$image" zoom="true"/>\n'
        f'  <RectangleLabels name="{_FROM_NAME}" toName="{_TO_NAME}">\n{labels}  </RectangleLabels>\n</View>\n'
    )


def _region(
    number: int, found: tuple[list[float], int, float], image: FoundImage, class_names: tuple[str, ...]
) -> dict[str, Any]:
    (x1, y1, x2, y2), label, score = found
    rows, columns = image.size
    percent = {"x": x1 / columns, "y": y1 / rows, "width": (x2 - x1) / columns, "height": (y2 - y1) / rows}
    return {
        "id": f"box{number}",
        "type": "rectanglelabels",
        "from_name": _FROM_NAME,
        "to_name": _TO_NAME,
        "original_width": columns,
        "original_height": rows,
        "image_rotation": 0,
        "value": {
            **{key: round(100 * value, 4) for key, value in percent.items()},
            "rotation": 0,
            "rectanglelabels": [class_names[label]],
        },
        "score": round(score, 6),
    }
