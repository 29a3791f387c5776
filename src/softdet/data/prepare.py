"""From folders as they come to the lists that training reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path
from typing import Any

import numpy as np

from softdet.data.sources.assembling import header_sizes
from softdet.data.sources.classes import with_one_class_list
from softdet.data.sources.overlap import apart, content_keys, unseen, without
from softdet.data.sources.parts import Split, Tally
from softdet.data.sources.reading import Labeled, read_labeled
from softdet.data.sources.splitting import grouped, joined, stratified
from softdet.data.sources.summary import Summary, summarise
from softdet.data.sources.unlabeled import read_unlabeled
from softdet.data.sources.versions import version_keys
from softdet.data.sources.writing import write_lists
from softdet.errors import DataError

_SPLITS: tuple[Split, ...] = ("train", "valid", "test")
# On fewer images a gain of a few points is within chance.
_FEW_IMAGES = 30

Contents = dict[Split, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The lists that were written, and what there is to tell about them.

    Attributes:
        train: labeled images.
        valid: validation images.
        test: test images, where there are any.
        unlabeled: unlabeled images, where they were asked for.
        class_names: (K,) of all lists, by label.
        found: the labeled set's format, and by what it was recognised.
        summaries: one for each list.
        dropped: what was left out, how often, and the first places; the most frequent first.
        noted: what was changed or guessed, in the same form.
        notes: sentences about the splits.
    """

    train: Path
    valid: Path
    test: Path | None
    unlabeled: Path | None
    class_names: tuple[str, ...]
    found: str
    summaries: tuple[Summary, ...]
    dropped: tuple[tuple[str, int, tuple[str, ...]], ...]
    noted: tuple[tuple[str, int, tuple[str, ...]], ...]
    notes: tuple[str, ...]


def prepare(
    labeled: Path,
    unlabeled: str | Path | None,
    *,
    out: Path,
    valid: Path | None = None,
    test: Path | None = None,
    valid_share: float = 0.2,
    test_share: float = 0.0,
    group_by: str | None = None,
    every: int = 30,
    seed: int = 0,
    copy: bool = False,
    overwrite: bool = False,
) -> Prepared:
    """Write train.json, valid.json and, where there are such images, test.json and unlabeled.json.

    Validation images are those that `valid` names, else those of the labeled set's own split, else a stratified share
    of its training images; so are test images, but that their share is none.

    Args:
        labeled: COCO, YOLO, Pascal VOC or CVAT; a file or a folder, see `recognise`.
        unlabeled: see `read_unlabeled`; None for no such list.
        out: the folder to write to. Images stay where they are and the lists lead to them.
        valid: a labeled set of validation images.
        test: a labeled set of test images.
        valid_share: of the training images; what is set aside where there are no validation images.
        test_share: the same for test images.
        group_by: a regular expression; images whose paths give the same first group stay together.
        every: of a video's frames, each so-many-th is taken.
        seed: other numbers set other images aside.
        copy: copy the images into `out` too.
        overwrite: replace lists that `out` holds.

    Returns:
        What was written. Laws: no picture is in two of the lists, nor a copy of it; all have the same classes; the same
        arguments write the same lists, which is no overwriting.

    Raises:
        DataError: a source can't be used, nothing can be set aside, or `out` holds other lists; none is written then.
    """
    _check_shares(valid_share, test_share)
    main = read_labeled(labeled, unlabeled=unlabeled)
    dropped, noted, notes = main.dropped, main.noted, []
    sources, contents = [main], dict(main.parts)
    if "train" not in contents:
        contents = {"train": _only_part(main, labeled)}
    named: tuple[tuple[Split, Path | None], ...] = (("valid", valid), ("test", test))
    for split, path in named:
        if path is not None:
            other = read_labeled(path, _names(contents["train"]))
            if split in contents:
                notes.append(f"{split}: from {path}, not from the {split} split of {labeled}")
            contents[split] = other.parts.get(split) or _only_part(other, path)
            sources.append(other)
            dropped.update(other.dropped)
            noted.update(other.noted)
    for split, content in contents.items():
        if not content["images"]:
            raise DataError(
                f"no image of the {split} split can be used. {dropped.in_a_line()}. Put the images where the others "
                f"are, take the split out of the set, or name others with --{'labeled' if split == 'train' else split}."
            )
    contents = apart(contents, dropped, noted)
    ordered = [split for split in _SPLITS if split in contents]
    unified = with_one_class_list([contents[split] for split in ordered], noted)
    contents = dict(zip(ordered, unified, strict=True))
    contents, told = _with_missing_splits(contents, valid_share, test_share, group_by, seed)
    notes += told + _warnings(contents)

    known = [Path(image["file_name"]) for content in contents.values() for image in content["images"]]
    lists: dict[str, dict[str, Any]] = {split: contents[split] for split in _SPLITS if split in contents}
    if unlabeled is not None:
        files = read_unlabeled(unlabeled, out / "frames", every, dropped)
        lists["unlabeled"] = _unlabeled_content(unlabeled, files, known, dropped)
    read = {file.resolve() for source in sources for file in source.recognised.files.values()}
    if unlabeled is not None and Path(unlabeled).is_file():
        read.add(Path(unlabeled).resolve())
    paths = write_lists(lists, out, copy=copy, overwrite=overwrite, never=read)
    return Prepared(
        paths["train"],
        paths["valid"],
        paths.get("test"),
        paths.get("unlabeled"),
        _names(contents["train"]),
        f"{main.recognised.format} ({main.recognised.why})",
        tuple(summarise(name, paths[name], content) for name, content in lists.items()),
        tuple(dropped.rows()),
        tuple(noted.rows()),
        tuple(notes),
    )


def _check_shares(valid_share: float, test_share: float) -> None:
    if not (0 < valid_share < 1 and 0 <= test_share < 1 and valid_share + test_share < 1):
        raise DataError(
            f"--valid-share {valid_share} and --test-share {test_share}: the first is above 0, both together are below "
            "1 (0.2 sets a fifth of the labeled images aside)"
        )


def _names(content: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(category["name"]) for category in content["categories"])


def _only_part(labeled: Labeled, path: Path) -> dict[str, Any]:
    """The images of a source that is one split, whatever it's called."""
    if len(labeled.parts) > 1:
        raise DataError(
            f"{path} has the splits {', '.join(labeled.parts)}. Name the folder or file of the one to take."
        )
    return next(iter(labeled.parts.values()))


def _with_missing_splits(
    contents: Contents, valid_share: float, test_share: float, group_by: str | None, seed: int
) -> tuple[Contents, list[str]]:
    """Set aside what the source doesn't; and a sentence for each split that was made, or for the pattern not needed."""
    asked: tuple[tuple[Split, float], ...] = (("valid", valid_share), ("test", test_share))
    sides: list[tuple[Split, float]] = [(split, share) for split, share in asked if split not in contents and share]
    if not sides:
        return contents, ["--group-by had nothing to do: the source has its own splits"] if group_by else []
    train = contents["train"]
    images, categories = train["images"], [category["id"] for category in train["categories"]]
    folder = _common_folder([image["file_name"] for image in images])
    files = [Path(image["file_name"]) for image in images]
    groups = grouped([file.absolute().relative_to(folder).as_posix() for file in files], group_by)
    # A copy on the other side would be learned by heart.
    key_of = content_keys(files)
    groups = joined(groups, [key_of(file) for file in files])
    groups = joined(groups, version_keys(files))
    if max(groups, default=-1) < len(sides):
        raise DataError(
            f"{len(images)} labeled images in {max(groups, default=-1) + 1} groups can't be shared out over train and "
            f"{' and '.join(split for split, _ in sides)}. Label more, or name other images with --valid."
        )
    row, column = ({key: number for number, key in enumerate(keys)} for keys in ([i["id"] for i in images], categories))
    labels = np.zeros((len(images), len(categories)), bool)
    for annotation in train["annotations"]:
        labels[row[annotation["image_id"]], column[annotation["category_id"]]] = True
    shares = [1 - sum(share for _, share in sides), *(share for _, share in sides)]
    parts = stratified(labels, groups, shares, seed)
    result = dict(contents)
    made = []
    for (split, _), indices in zip([("train", 0.0), *sides], parts, strict=True):
        chosen = {images[index]["id"] for index in indices}
        result[split] = without(train, {image["id"] for image in images} - chosen)
        if split != "train":
            whole = f" ({len({groups[index] for index in indices})} of {max(groups) + 1} groups)" if group_by else ""
            made.append(f"{len(indices)} for {split}{whole}")
    return result, [
        f"of {len(images)} labeled images {' and '.join(made)} were set aside (seed {seed}), with every class on each "
        "side that has images enough"
    ]


def _warnings(contents: Contents) -> list[str]:
    """What the lists lack."""
    notes = []
    names = _names(contents["train"])
    counts = {
        split: dict(zip(names, summarise(split, Path(), content).boxes_by_class, strict=True))
        for split, content in contents.items()
        if content["images"]
    }
    verdicts: tuple[tuple[Split, str], ...] = (("train", "can't be learned"), ("valid", "have no say in the score"))
    for split, verdict in verdicts:
        absent = [name for name in names if not counts.get(split, {}).get(name)]
        if absent:
            more = f" and {len(absent) - 10} more" if len(absent) > 10 else ""
            notes.append(f"{split}: no box of {', '.join(absent[:10])}{more}; such classes {verdict}")
    num_valid = len(contents["valid"]["images"])
    if num_valid < _FEW_IMAGES:
        notes.append(f"valid: {num_valid} images are few; a difference of several points of mAP on them can be chance")
    return notes


def _unlabeled_content(
    source: str | Path, files: Sequence[Path], known: Sequence[Path], dropped: Tally
) -> dict[str, Any]:
    left = unseen(files, known, dropped)
    if not left:
        raise DataError(
            f"{source}: all of its {len(files)} images are labeled, validation or test images too, so nothing is left "
            "to learn from. Name a folder of other images with --unlabeled."
        )
    images: list[dict[str, Any]] = []
    for file, sizes in header_sizes(left).items():
        if sizes is None:
            dropped.add("unlabeled images that can't be read", str(file))
        else:
            height, width = sizes[1]
            images.append({"id": len(images) + 1, "file_name": str(file), "height": height, "width": width})
    if not images:
        raise DataError(f"{source}: none of its {len(files)} images can be read, the first: {left[0]}")
    return {"images": images}


def _common_folder(files: Sequence[str]) -> Path:
    folder = Path(commonpath([str(Path(file).absolute()) for file in files]))
    return folder.parent if len(set(files)) == 1 else folder
