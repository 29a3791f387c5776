"""Detect in pictures of any folder and write what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from softdet.data.images import read_image
from softdet.data.index import IMAGE_SUFFIXES, ImageRecord, load_unlabeled
from softdet.engine.detector import DetectorCard, load_detector
from softdet.engine.evaluation import infer, to_coco
from softdet.errors import DataError
from softdet.files import write_json
from softdet.report.drawing import draw_boxes
from softdet.structures import Instances


def find_images(sources: Sequence[Path]) -> list[ImageRecord]:
    """List images from files and folders (searched recursively).

    Raises:
        DataError: a source doesn't exist or holds no image.
    """
    records: list[ImageRecord] = []
    for source in sources:
        if source.is_dir():
            records += load_unlabeled(source).images
        elif source.is_file():
            records += [record_of(source)]
        else:
            raise DataError(f"{source}: there is no such file or folder")
    return records


def record_of(path: Path) -> ImageRecord:
    """A record for one image file without labels."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise DataError(f"{path}: not an image (known endings: {', '.join(sorted(IMAGE_SUFFIXES))})")
    return ImageRecord.plain(path.name, path)


def predict(
    weights: Path, sources: Sequence[Path], out: Path, *, threshold: float | None, device: torch.device, batch_size: int
) -> list[dict[str, Any]]:
    """Detect in images; write `detections.json` and a drawing of each.

    Args:
        weights: a detector's file.
        sources: image files and folders.
        out: the folder to write into.
        threshold: the lowest score to keep; None takes the detector's operating point.
        device: where to compute.
        batch_size: images per forward pass.

    Returns:
        COCO results with `file_name`, boxes in pixels of each upright image.

    Raises:
        DataError: a source is none, or more than 5% of the images can't be read; the others are done and written then.
    """
    records = find_images(sources)
    detector = load_detector(weights)
    lowest = detector.card.operating_threshold if threshold is None else threshold
    card = replace(detector.card, score_threshold=min(lowest, detector.card.score_threshold))
    entries: list[dict[str, Any]] = []
    drawn: set[Path] = set()
    found = infer(detector.model.to(device), card, records, device=device, batch_size=batch_size)
    try:
        for number, (record, instances) in enumerate(found, start=1):
            kept = instances[instances.scores >= lowest]
            own = to_coco(record, kept, card.class_ids)
            names = [card.class_names[label] for label in kept.labels.tolist()]
            entries += [
                entry | {"image_id": number, "file_name": str(record.path), "category": name}
                for entry, name in zip(own, names, strict=True)
            ]
            target = (out / "drawings" / str(record.id)).with_suffix(".jpg")
            if target in drawn:
                target = target.with_stem(f"{target.stem}_{number}")
            drawn.add(target)
            _save_drawing(record, kept, card, target)
    finally:
        # Where too many images can't be read, what was found in the others is still worth having.
        write_json(out / "detections.json", entries)
    return entries


def _save_drawing(record: ImageRecord, found: Instances, card: DetectorCard, path: Path) -> None:
    picture = read_image(record.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_boxes(picture, found.boxes.tolist(), found.labels.tolist(), card.class_names, found.scores.tolist()).save(
        path, quality=90
    )
