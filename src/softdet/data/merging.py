"""Corrected labels join the labeled list and leave the unlabeled one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softdet.data.corrections import Boxes, Change, count_changes
from softdet.data.index import Index
from softdet.data.index_reading import load_json
from softdet.data.index_writing import relative_path
from softdet.data.known_images import KnownImages
from softdet.data.sources.assembling import header_sizes
from softdet.data.sources.overlap import unseen
from softdet.data.sources.parts import Tally
from softdet.data.sources.reading import Labeled
from softdet.data.sources.versions import versions_among
from softdet.data.writers.found import FoundImage
from softdet.errors import DataError


@dataclass(frozen=True, slots=True)
class Corrected:
    """One corrected image.

    Attributes:
        path: its file.
        image: its COCO entry.
        annotations: its COCO annotations, whose `category` is the class by name.
        changes: against what the detector had found; None where that isn't known.
    """

    path: Path
    image: dict[str, Any]
    annotations: list[dict[str, Any]]
    changes: Counter[Change] | None

    @property
    def is_untouched(self) -> bool:
        """Whether each box is the detector's."""
        return self.changes is not None and self.changes["kept"] == self.changes.total()


def corrected_images(
    labeled: Labeled, known: KnownImages, found: Mapping[Path, FoundImage], class_names: Sequence[str]
) -> list[Corrected]:
    """Recognise the images of a corrected set, and count what was changed.

    Args:
        labeled: the set as it was read; its splits don't matter.
        known: the images that were handed out, or might have been.
        found: what the detector had found in them, by resolved file.
        class_names: of the detector.

    Raises:
        DataError: the set has a class that the detector doesn't know.
    """
    corrected = []
    for content in labeled.parts.values():
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        _check_classes(content, names, class_names, labeled)
        annotations: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for each in content["annotations"]:
            annotations[each["image_id"]].append({**each, "category": names[each["category_id"]]})
        for image in content["images"]:
            stated = Path(image["file_name"])
            path = known.find(stated) or stated
            own = annotations[image["id"]]
            before = found.get(path.resolve())
            changes = None if before is None else count_changes(_boxes_found(before, class_names), _boxes(own))
            corrected.append(Corrected(path, image, own, changes))
    return corrected


def joined(train: Index, corrected: Sequence[Corrected], folder: Path) -> dict[str, Any]:
    """The labeled list with the corrected images; one that it had already is replaced.

    Args:
        train: the list so far.
        corrected: the new images.
        folder: where the new list will lie.

    Returns:
        COCO content; ids and order of what was there stay.
    """
    content = load_json(train.source)
    new = {each.path.resolve() for each in corrected}
    path_of = {record.id: record.path for record in train.images}
    stays = {image_id for image_id, path in path_of.items() if path.resolve() not in new}
    images = [
        {**image, "file_name": relative_path(path_of[image["id"]], folder)}
        for image in content["images"]
        if image["id"] in stays
    ]
    annotations = [each for each in content.get("annotations", []) if each["image_id"] in stays]
    categories = list(content["categories"])
    id_of = {str(category["name"]): category["id"] for category in categories}
    image_id, annotation_id = _next_id(content["images"]), _next_id(content.get("annotations", []))
    for each in corrected:
        size = {key: each.image[key] for key in ("width", "height")}
        images.append({"id": image_id, "file_name": relative_path(each.path, folder), **size})
        for annotation in each.annotations:
            name = annotation["category"]
            if name not in id_of:
                id_of[name] = _next_id(categories)
                categories.append({"id": id_of[name], "name": name})
            kept = {key: annotation[key] for key in ("bbox", "area", "iscrowd", "ignore") if key in annotation}
            place = {"id": annotation_id, "image_id": image_id, "category_id": id_of[name]}
            annotations.append({**place, **kept})
            annotation_id += 1
        image_id += 1
    return {"images": images, "annotations": annotations, "categories": categories}


def left_unlabeled(unlabeled: Index, corrected: Sequence[Corrected], folder: Path) -> dict[str, Any]:
    """The unlabeled list without the corrected images, their copies and versions, and what can't be read.

    Args:
        unlabeled: the list so far.
        corrected: the images that leave it.
        folder: where the new list will lie.
    """
    pool, back = [record.path for record in unlabeled.images], [each.path for each in corrected]
    stays = set(unseen(pool, back, Tally())) - versions_among(pool, back, [*pool, *back])
    left = [record for record in unlabeled.images if record.path in stays]
    sizes = header_sizes([record.path for record in left if record.size is None])
    images = []
    for number, record in enumerate(left, 1):
        header = sizes.get(record.path)
        size = record.size or (header[1] if header else None)
        if size is not None:
            name = relative_path(record.path, folder)
            images.append({"id": number, "file_name": name, "width": size[1], "height": size[0]})
    return {"images": images, "annotations": [], "categories": []}


def _check_classes(
    content: Mapping[str, Any], names: Mapping[Any, str], class_names: Sequence[str], labeled: Labeled
) -> None:
    used = Counter(names[each["category_id"]] for each in content["annotations"])
    unknown = [f"{name} ({count} boxes)" for name, count in used.most_common() if name not in class_names]
    if unknown:
        raise DataError(
            f"the corrected labels ({labeled.recognised.format}, {labeled.recognised.why}) have the classes "
            f"{', '.join(unknown[:5])}; the run's are {', '.join(class_names[:20])}. Was a class renamed in the tool, "
            "or are the labels numbers without names? Name them as the run does. To teach a new class, add the "
            "labels to your labeled set and train with model.is_finetune=True."
        )


def _boxes_found(image: FoundImage, class_names: Sequence[str]) -> Boxes:
    return Boxes(image.boxes, [class_names[label] for label in image.labels.tolist()])


def _boxes(annotations: Sequence[dict[str, Any]]) -> Boxes:
    corners = np.array([each["bbox"] for each in annotations], np.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return Boxes(corners, [each["category"] for each in annotations])


def _next_id(entries: Sequence[dict[str, Any]]) -> int:
    return max((each["id"] for each in entries if isinstance(each.get("id"), int)), default=0) + 1
