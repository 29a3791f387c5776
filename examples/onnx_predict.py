"""Detect with an exported detector; needs numpy, pillow and onnxruntime alone.

python onnx_predict.py model.onnx picture.jpg ...   writes picture.detected.jpg beside each picture
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageOps


def as_rgb(picture: Image.Image) -> Image.Image:
    """Scale 16 bits to 8 and lay what is transparent on white, as in training."""
    if picture.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(picture, np.float32)).clip(min=0)
        brightest = max(float(values.max()), 1.0 if picture.mode == "F" else 256.0)
        picture = Image.fromarray((values / brightest * 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
    return picture.convert("RGB")


if len(sys.argv) < 3:
    sys.exit(__doc__)
session = onnxruntime.InferenceSession(sys.argv[1])
card = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
height, width = card["image_size"]
for path in map(Path, sys.argv[2:]):
    picture = as_rgb(ImageOps.exif_transpose(Image.open(path)))
    rows, columns = height, width
    if card["resize"] == "letterbox":  # else the picture is stretched to the canvas
        scale = min(height / picture.height, width / picture.width)
        rows = min(height, max(1, round(picture.height * scale)))
        columns = min(width, max(1, round(picture.width * scale)))
    canvas = np.full((1, height, width, 3), 128, np.uint8)
    canvas[0, :rows, :columns] = picture.resize((columns, rows), Image.Resampling.BILINEAR, reducing_gap=3.0)
    found = dict(zip((each.name for each in session.get_outputs()), session.run(None, {"images": canvas}), strict=True))
    if "labels" not in found:
        sys.exit(f"{sys.argv[1]} gives all anchors' boxes and scores; export it anew, without --no-nms")
    boxes, scores, labels = (found[name] for name in ("boxes", "scores", "labels"))
    boxes = boxes * np.tile([picture.width / columns, picture.height / rows], 2)
    draw = ImageDraw.Draw(picture)
    size = max(12, picture.width // 30)
    for box, score, label in zip(boxes, scores, labels, strict=True):
        if score >= card["operating_threshold"]:
            x1, y1, x2, y2 = np.clip(box, 0, np.tile(picture.size, 2)).tolist()
            text = f"{card['class_names'][label]} {score:.2f}"
            print(f"{path}: {text} at {x1:.1f}, {y1:.1f}, {x2:.1f}, {y2:.1f}")
            draw.rectangle((x1, y1, x2, y2), outline="red", width=max(1, size // 6))
            draw.text((x1 + size / 4, y1), text, fill="red", font_size=size, stroke_width=2, stroke_fill="white")
    picture.save(path.with_suffix(".detected.jpg"))
