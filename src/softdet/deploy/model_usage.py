"""How to use an exported file without softdet, in words: the part of the model card for whoever deploys it."""

from __future__ import annotations

from softdet.evaluation.detector import DetectorCard


def describe_usage(card: DetectorCard, file: str, megabytes: float, num_parameters: int, *, with_nms: bool) -> str:
    """Say what goes into an exported file, what comes out, and what to do before and after; Markdown.

    Args:
        card: the detector's.
        file: the exported file's name.
        megabytes: its size.
        num_parameters: of the model.
        with_nms: whether it gives detections.
    """
    rows, columns = card.image_size
    if card.resize == "letterbox":
        place = (
            f"Resize it to fit {rows} rows and {columns} columns: by `min({rows} / height, {columns} / width)`, "
            "sides rounded, at least 1, with Pillow's `BILINEAR` and `reducing_gap=3.0`. Put it into the top left "
            f"corner of a {rows} x {columns} canvas of grey 128."
        )
    else:
        place = (
            f"Resize it to {rows} rows and {columns} columns, whatever its shape, with Pillow's `BILINEAR` and "
            "`reducing_gap=3.0`."
        )
    return "\n".join(
        [
            f"`{file}` ({megabytes:.1f} MB, {num_parameters / 1e6:.1f} million parameters); "
            "softdet isn't needed to run it.",
            "",
            "1. Turn the picture upright (EXIF) and make it RGB: what is transparent on white, more than 8 bits scaled "
            "so that the brightest value, or 256 if that is more, becomes 255.",
            f"2. {place}",
            f"3. Input `images`: (B, {rows}, {columns}, 3) uint8, B as you like. Nothing is normalised outside.",
            f"4. {_outputs(card, with_nms)}",
            "5. Back to the picture: divide x by (resized width / width) and y by (resized height / height), and clip.",
            "",
            _reading(file, with_nms),
        ]
    )


def _outputs(card: DetectorCard, with_nms: bool) -> str:
    if not with_nms:
        return (
            "Outputs: `boxes` (B, N, 4), xyxy in pixels of the canvas, and `scores` (B, N, classes). Each object has "
            f"many boxes: keep scores above {card.score_threshold:g}, then suppress, class by class, what "
            f"overlaps a better box by more than IoU {card.iou_threshold:g}."
        )
    return (
        "Outputs, a row for each detection of all images: `boxes` (M, 4), xyxy in pixels of the canvas; `scores` (M,); "
        "`labels` (M,); `image_index` (M,), the image's place in the batch. Show those with a score of at least "
        f"{card.operating_threshold:.2f}; there are some down to {card.score_threshold:g}."
    )


def _reading(file: str, with_nms: bool) -> str:
    if file.endswith(".onnx"):
        return (
            "Class names, threshold and canvas are in the file too: "
            '`session.get_modelmeta().custom_metadata_map["class_names"]` and its neighbours, each as JSON. '
            + ("`examples/onnx_predict.py` of softdet does all of this with NumPy and Pillow." if with_nms else "")
        )
    needs = ", after `import torchvision` for the suppression" if with_nms else ""
    return (
        'Class names, threshold and canvas are in the file too, as JSON: `extra = {"softdet.json": ""}; '
        f'model = torch.export.load("{file}", extra_files=extra).module()`{needs}.'
    )
