"""Reading lists of images as they are: a COCO JSON isn't cleaned on the way, so that its mistakes can be named."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from softdet.data.coco_fields import box_of, is_ignored, size_of
from softdet.data.index import IMAGE_SUFFIXES, UNREAD_SUFFIXES
from softdet.data.index_reading import load_json, load_unlabeled
from softdet.data.sources.assembling import header_sizes
from softdet.data.sources.coco import corners_of, image_finder
from softdet.data.sources.parts import Entry, Part, Split, Tally
from softdet.data.sources.reading import less_unlabeled, read_parts
from softdet.data.sources.recognise import recognise
from softdet.data.sources.unlabeled import read_unlabeled
from softdet.data.sources.video import VIDEO_SUFFIXES
from softdet.doctor.findings import Finding, Place, found
from softdet.doctor.pools import Labels, Picture, Pool, PoolName
from softdet.errors import DataError

_NAME_OF_SPLIT: dict[Split, PoolName] = {"train": "labeled", "valid": "valid", "test": "test"}


def open_labeled(
    path: Path,
    name: PoolName = "labeled",
    root: Path | None = None,
    class_names: Sequence[str] | None = None,
    unlabeled: str | Path | None = None,
) -> tuple[list[Pool], list[Finding]]:
    """Read a labeled set of any format.

    Args:
        path: a file or a folder, see `recognise`.
        name: what its images are for; those of a source with splits of its own have each their part.
        root: the images' folder for a COCO JSON, tried last.
        class_names: the names by number, where the set itself has none.
        unlabeled: as in `read_labeled`.

    Returns:
        Its pools, and what is wrong with the lists themselves.

    Raises:
        DataError: it can't be read at all.
    """
    recognised = recognise(path)
    if recognised.format == "COCO":
        opened = {split: _open_coco(file, _part_of(split, name), root) for split, file in recognised.files.items()}
        wanted = _wanted(opened, name)
        return [opened[split][0] for split in wanted], [each for split in wanted for each in opened[split][1]]
    dropped, noted = Tally(), Tally()
    parts, _ = less_unlabeled(read_parts(recognised, class_names, dropped, noted), unlabeled)
    has_ids = recognised.format not in ("Pascal VOC", "CVAT")
    pools = [_pool_of(parts[split], _part_of(split, name), path, has_ids) for split in _wanted(parts, name)]
    findings = _told("warning", f"{name}-left-out", name, dropped) + _told("note", f"{name}-noted", name, noted)
    return pools, findings


def open_unlabeled(source: str | Path, root: Path | None = None) -> tuple[Pool, list[Finding]]:
    """List unlabeled images: of a folder, a pattern, a list file or a COCO JSON.

    Raises:
        DataError: there is nothing, or a video, of which nothing can be seen before its frames are written.
    """
    path, dropped = Path(source), Tally()
    if path.is_dir() or path.suffix.lower() == ".json":
        index = load_unlabeled(path, root)
        # A folder's images are known by their way below it, a list's by their numbers.
        names = [str(record.id) if path.is_dir() else record.path.name for record in index.images]
        pictures = tuple(
            Picture(name, record.path, record.size) for name, record in zip(names, index.images, strict=True)
        )
        return Pool("unlabeled", str(source), pictures, None), _unread(path) if path.is_dir() else []
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise DataError(
            f"{source} is a video: let `softdet prepare` write its frames first, then name its unlabeled.json"
        )
    if path.suffix.lower() == ".txt":
        files = read_unlabeled(path, path.parent, 1, dropped)
    else:
        # A path's own `glob` takes no absolute pattern.
        matches = [Path(name) for name in glob.glob(str(source), recursive=True)]  # noqa: PTH207
        files = sorted(file for file in matches if file.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise DataError(f"{source}: no folder, and no image matches it as a pattern")
    pictures = tuple(Picture(str(file), file, None) for file in files)
    return Pool("unlabeled", str(source), pictures, None), _told("warning", "unlabeled-left-out", "unlabeled", dropped)


def _part_of(split: Split, name: PoolName) -> PoolName:
    return _NAME_OF_SPLIT[split] if name == "labeled" else name


def _wanted(parts: Mapping[Split, object], name: PoolName) -> list[Split]:
    """Of a labeled source all splits; of one that was named for validation or test that split, else its only one."""
    if name == "labeled":
        return list(parts)
    own: Split = "valid" if name == "valid" else "test"
    return [own] if own in parts else list(parts)[:1]


def _told(level: Any, code: str, name: str, tally: Tally) -> list[Finding]:
    return [
        finding
        for what, count, examples in tally.rows()
        for finding in (
            Finding(
                level, code, f"{name}: {count} {what}", _LOOK, tuple(Place(example) for example in examples), count
            ),
        )
    ]


_LOOK = "Look at the places named; `softdet prepare` leaves these out or corrects them in the same way."


def _unread(folder: Path) -> list[Finding]:
    """Pictures and videos in forms that a folder isn't searched for."""
    others = UNREAD_SUFFIXES | VIDEO_SUFFIXES
    files = [file for file in folder.rglob("*") if file.suffix.lower() in others]
    counts = Counter(file.suffix.lower() for file in files)
    listed = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(5))
    return found(
        "note",
        "files-not-read",
        [Place(str(file.relative_to(folder))) for file in files],
        f"unlabeled: {listed} in {folder} are in no form that training reads",
        "Convert the pictures to JPEG or PNG; frames of videos are written by `softdet prepare --unlabeled`.",
    )


def _open_coco(path: Path, name: PoolName, root: Path | None) -> tuple[Pool, list[Finding]]:
    content = load_json(path)
    findings: list[Finding] = []
    images = _whole(content["images"], ("id", "file_name"), "images", name, findings)
    listed = _whole(content.get("annotations"), ("image_id", "category_id"), "annotations", name, findings)
    categories = _whole(content.get("categories"), ("id", "name"), "categories", name, findings)
    findings += _doubled(images, "image", name) + _doubled(categories, "category", name)

    finder = image_finder(path, content, root)
    written = [str(image["file_name"]) for image in images]
    pictures = [
        Picture(name, file or finder.folders[0] / name, size_of(image))
        for name, file, image in zip(written, finder.find(written, path), images, strict=True)
    ]
    findings += found(
        "warning",
        "size-missing",
        [
            Place(picture.name, f"width {image.get('width')!r}, height {image.get('height')!r}")
            for picture, image in zip(pictures, images, strict=True)
            if picture.size is None
        ],
        f"{name}: images without a usable width and height in {path.name}; both must be whole numbers above 0",
        "`softdet prepare` and `train --labeled` read them off the pictures. A list that a config names needs both: "
        "export it anew, or prepare it.",
    )
    position = {image["id"]: number for number, image in enumerate(images)}
    lost = [each for each in listed if each["image_id"] not in position]
    as_text = set(map(str, position))
    of_other_kind = [each for each in lost if str(each["image_id"]) in as_text]
    findings += found(
        "error",
        "image-id-kind",
        [Place(path.name, f"annotation {each.get('id', '?')} of image {each['image_id']!r}") for each in of_other_kind],
        f"{name}: boxes that name their image by text where `images` has a number, or the other way round; training "
        "refuses the list",
        "Write the ids in the same way in both lists.",
    )
    lost = [each for each in lost if str(each["image_id"]) not in as_text]
    findings += found(
        "warning",
        "image-not-listed",
        [Place(path.name, f"annotation {each.get('id', '?')} of image {each['image_id']}") for each in lost],
        f"{name}: boxes of images that {path.name} doesn't list; they are left out (was the list thinned?)",
        "Nothing is lost if those images were taken out on purpose; else add them to `images`.",
    )
    kept = [each for each in listed if each["image_id"] in position]
    corners = np.array([corners_of(each) for each in kept], np.float64).reshape(-1, 4)
    drawn = [each for each, box in zip(kept, corners, strict=True) if box_of(each) is None and np.isfinite(box).all()]
    findings += found(
        "warning",
        "box-missing",
        [Place(path.name, f"annotation {each.get('id', '?')} of image {each['image_id']}") for each in drawn],
        f"{name}: annotations with polygons and no `bbox` in {path.name}",
        "`softdet prepare` and `train --labeled` draw the box around the polygons. A config's list needs it: "
        "prepare that list.",
    )
    labels = Labels(
        {category["id"]: str(category["name"]).strip() for category in _without_dummy(categories, kept)},
        np.array([position[each["image_id"]] for each in kept], np.int64),
        [each["category_id"] for each in kept],
        corners,
        [f"annotation {each.get('id', number)}" for number, each in enumerate(kept)],
        np.array([is_ignored(each) for each in kept], np.bool_),
    )
    return Pool(name, str(path), tuple(pictures), labels), findings


def _without_dummy(categories: list[dict[str, Any]], listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Less the class that Roboflow puts first, named like the group of all others, which never has a box."""
    if len(categories) < 2 or any(each["category_id"] == categories[0]["id"] for each in listed):
        return categories
    groups = {category.get("supercategory") for category in categories[1:]}
    return categories[1:] if groups == {categories[0]["name"]} else categories


def _whole(entries: Any, keys: tuple[str, ...], what: str, name: str, findings: list[Finding]) -> list[dict[str, Any]]:
    """The entries that have their keys; the others are told of."""
    listed = entries if isinstance(entries, list) else []
    bad = [
        each
        for each in listed
        if not (isinstance(each, dict) and all(isinstance(each.get(k), int | str) for k in keys))
    ]
    findings += found(
        "error",
        "entry-malformed",
        [Place(what, str(each)[:120]) for each in bad],
        f"{name}: entries of `{what}` without {' and '.join(keys)}, each a whole number or text; training refuses it",
        "Export the file anew, or mend these entries.",
    )
    broken = {id(each) for each in bad}
    return [each for each in listed if id(each) not in broken]


def _doubled(entries: list[dict[str, Any]], what: str, name: str) -> list[Finding]:
    counts = Counter(entry["id"] for entry in entries)
    return found(
        "error",
        "id-twice",
        [Place(f"{what} id {number}", f"{count} times") for number, count in counts.items() if count > 1],
        f"{name}: {what} ids that stand twice, so boxes can't be told apart; training refuses the list "
        "(two lists put together?)",
        "Give each entry an id of its own.",
    )


def _pool_of(part: Part, name: PoolName, source: Path, has_ids: bool) -> Pool:
    """What another format's reader found; parts of an image become pixels of its file."""
    sizes = header_sizes([entry.path for entry in part.entries])
    pictures = tuple(Picture(_below(entry.path, source), entry.path, entry.size) for entry in part.entries)
    boxes = [(number, box) for number, entry in enumerate(part.entries) for box in entry.boxes]
    factors = np.array([_factors(entry, (sizes[entry.path] or (None, None))[1]) for entry in part.entries])
    picture = np.array([number for number, _ in boxes], np.int64)
    corners = np.array([box.corners for _, box in boxes], np.float64).reshape(-1, 4)
    labels = Labels(
        {category["id"]: str(category["name"]) for category in part.categories},
        picture,
        [box.category for _, box in boxes],
        corners * np.tile(factors.reshape(-1, 2), 2)[picture],
        [box.where for _, box in boxes],
        np.array([is_ignored(box.more) for _, box in boxes], np.bool_),
        has_ids,
    )
    return Pool(name, str(source), pictures, labels)


def _factors(entry: Entry, upright: tuple[int, int] | None) -> tuple[float, float]:
    if not entry.relative:
        return 1.0, 1.0
    size = entry.size or upright or (1, 1)
    return float(size[1]), float(size[0])


def _below(path: Path, source: Path) -> str:
    folder = source if source.is_dir() else source.parent
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
