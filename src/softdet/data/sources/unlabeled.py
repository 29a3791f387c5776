"""Unlabeled images: a folder, a pattern, a list, videos, or an index whose boxes are never read."""

from __future__ import annotations

import glob
from itertools import takewhile
from pathlib import Path

from softdet.data.index import IMAGE_SUFFIXES, UNREAD_SUFFIXES
from softdet.data.index_reading import load_unlabeled
from softdet.data.sources.finding import files_below
from softdet.data.sources.parts import Tally
from softdet.data.sources.video import VIDEO_SUFFIXES, write_frames
from softdet.errors import DataError


def read_unlabeled(source: str | Path, frames: Path, every: int, dropped: Tally) -> list[Path]:
    """List unlabeled images.

    Args:
        source: a folder, searched recursively for images and videos; a pattern (`shots/**/*.jpg`); a text file with a
            path a line; a video; a COCO JSON; or one image.
        frames: where to write the frames of videos, in a folder for each.
        every: of a video's frames, each so-many-th is taken.
        dropped: counts listed images that aren't there, and pictures of a form that isn't read.

    Returns:
        Files, each once, sorted but for a list's, which keeps its order.

    Raises:
        DataError: there is nothing at the source, or no image in it.
    """
    if _is_list(source):
        return _listed(Path(source), dropped)
    files, base = _found(source, dropped)
    # What an earlier call wrote is no source; where the source itself lies in that folder, only its frames are not.
    own = frames.resolve().parent
    written = own if _searched(source, base).resolve() in own.parents else frames.resolve()
    places = {folder: folder.resolve() for folder in {file.parent for file in files}}
    files = [file for file in files if written not in (places[file.parent], *places[file.parent].parents)]
    images = sorted(file for file in files if file.suffix.lower() in IMAGE_SUFFIXES)
    videos = sorted(file for file in files if file.suffix.lower() in VIDEO_SUFFIXES)
    names = [_frame_folder(video, base) for video in videos]
    for video, name in zip(videos, names, strict=True):
        images += write_frames(video, frames / name, every)
    images = list(dict.fromkeys(images))
    if not images:
        raise DataError(
            f"{source}: no image and no video in it (looked for {', '.join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))})"
        )
    return images


def pictures_of(source: str | Path) -> set[Path]:
    """The resolved images of a source, without a look at its videos; none where the source is none."""
    try:
        files = _listed(Path(source), Tally()) if _is_list(source) else _found(source, Tally())[0]
    except DataError:
        return set()
    return {file.resolve() for file in files if file.suffix.lower() in IMAGE_SUFFIXES}


def _is_list(source: str | Path) -> bool:
    return Path(source).is_file() and Path(source).suffix.lower() in (".json", ".txt")


def _found(source: str | Path, dropped: Tally) -> tuple[list[Path], Path]:
    """The images and videos of a source that is no list, and the folder that these are named from."""
    path = Path(source)
    if path.is_dir():
        files, base = list(files_below(path)), path
        for file in files:
            if file.suffix.lower() in UNREAD_SUFFIXES:
                dropped.add("pictures in a form that isn't read: convert them to JPEG", file.name)
    elif path.is_file():
        files, base = [path], path.parent
    else:
        # A path's own `glob` takes no absolute pattern.
        files, base = [_inward(Path(name)) for name in glob.glob(str(source), recursive=True)], Path()  # noqa: PTH207
        if not files:
            is_pattern = glob.has_magic(str(source))
            found = "no file matches" if is_pattern else "there is no file or folder"
            raise DataError(f"{found} {source}, seen from {Path.cwd()}. Is the path right?")
    return [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES], base


def _inward(path: Path) -> Path:
    """The path without `..`, which would lead out of the folder that outputs are written to by its name."""
    return path.resolve() if ".." in path.parts else path


def _searched(source: str | Path, base: Path) -> Path:
    """The folder below which files are looked for: of a pattern what stands before its first wildcard."""
    if not glob.has_magic(str(source)) or Path(source).exists():
        return base
    fixed = takewhile(lambda part: not glob.has_magic(part), Path(source).parts)
    return Path(*fixed)


def _frame_folder(video: Path, base: Path) -> Path:
    """Its own way below the source, ending and all: `a.mp4` may lie beside `a.mov`."""
    try:
        return video.relative_to(base) if not video.is_absolute() or base.is_absolute() else Path(video.name)
    except ValueError:
        return Path(video.name)


def _listed(file: Path, dropped: Tally) -> list[Path]:
    if file.suffix.lower() == ".json":
        return [record.path for record in load_unlabeled(file).images]
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: its text is not UTF-8 ({error}). A list has the path of an image a line.") from error
    images = []
    for line in lines:
        if not line or line.startswith("#"):
            continue
        # Of a list that was made on Windows, too.
        ways = dict.fromkeys((line, line.replace("\\", "/")))
        places = (base / way for way in ways for base in (file.parent, Path()))
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            dropped.add("listed images that aren't there", line)
        else:
            images.append(_inward(found))
    if not images:
        num_lines = sum(dropped.counts.values())
        raise DataError(
            f"{file}: none of its {num_lines} lines is a file, seen from {file.parent} or from here. "
            "A list has the path of an image a line."
        )
    return list(dict.fromkeys(images))
