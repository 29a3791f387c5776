"""Images that left with pseudo-labels come back under other names and without their files: which one each is."""

from __future__ import annotations

import filecmp
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import numpy as np

from softdet.data.images import read_image
from softdet.data.sources.finding import files_below, images_below, tails
from softdet.data.writers.folders import place_image
from softdet.errors import DataError

# Pictures are compared at so many pixels, in squares of so many, by the mean difference of their grey in 255 steps.
_SIDE, _PART, _ALIKE = 256, 16, 12.0
# Label Studio puts it before the name of an uploaded file.
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{6,}-")


class KnownImages:
    """Images by the names that they had when they were handed out.

    Args:
        images: name and file. Several may have one name, handed out at different times.
    """

    def __init__(self, images: Iterable[tuple[str, Path]]) -> None:
        self._paths: dict[str, list[Path]] = {}
        for name, path in images:
            paths = self._paths.setdefault(name, [])
            if (resolved := path.resolve()) not in paths:
                paths.append(resolved)
        self._files = {path for paths in self._paths.values() for path in paths}
        self._by_last: dict[str, list[str]] = {}
        for name in self._paths:
            self._by_last.setdefault(_key(PurePosixPath(name).name), []).append(name)

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._paths)

    def find(self, path: Path) -> Path | None:
        """The known image that a corrected label's image is: by its file, else by the end of its path.

        Args:
            path: of the corrected set; need not exist. One that does is known by its content alone, since other
                pictures may have its name; written anew by a tool it still looks the same. A name that several known
                images share tells nothing.
        """
        if path.resolve() in self._files:
            return path.resolve()
        last = path.name
        names = self._by_last.get(_key(last)) or self._by_last.get(_key(_UPLOAD_PREFIX.sub("", last))) or []
        is_there = path.is_file()
        if is_there and (
            same := next((each for each in self._of(names) if each.is_file() and _is_same(each, path)), None)
        ):
            return same
        if len(names) > 1:
            whole = f"/{path.as_posix()}".lower()
            fitting = [name for name in names if whole.endswith(f"/{name}".lower())]
            # `a/1.jpg` fits where `1.jpg` does, and says more.
            names = [name for name in fitting if len(name) == max(map(len, fitting))]
        known = _only(self._of(names))
        return known if known is None or not is_there or _looks_like(known, path) else None

    def named(self, name: str) -> Path:
        """The image of a name.

        Raises:
            DataError: several pictures have it.
        """
        if (path := _only(self._paths[name])) is None:
            first, *_, last = self._paths[name]
            raise DataError(
                f"{name} may be {first} or {last}, pictures of one name that were handed out at different times. Give "
                "the labels with their images, as `softdet pseudo-label` writes them and tools export them, so that "
                "each is known by its content."
            )
        return path

    def is_shared(self, name: str) -> bool:
        """Whether several pictures have a name."""
        return _only(self._paths[name]) is None

    def _of(self, names: Iterable[str]) -> list[Path]:
        return [path for name in names for path in self._paths[name]]


@contextmanager
def with_images(corrected: Path, known: KnownImages) -> Iterator[Path]:
    """Give a place where labels and images lie together, as readers want them; exports often come without images.

    Args:
        corrected: a label file, or a folder of them.
        known: the images that were handed out.

    Yields:
        `corrected` itself if there are images with it, else a folder that is gone afterwards.

    Raises:
        DataError: the labels name an image that may be one of several.
    """
    images = images_below(corrected if corrected.is_dir() else corrected.parent / "images")
    if corrected.is_file() and corrected.suffix.lower() in (".json", ".xml"):
        # The folder beside a file may hold the pictures of something else.
        named = {path.name for path in _paths_in(corrected.read_text(encoding="utf-8", errors="replace"))}
        images = [image for image in images if image.name in named]
    if images or not corrected.exists():
        yield corrected
        return
    with TemporaryDirectory(prefix="softdet_merge_") as folder:
        staged = Path(folder) / "labels_and_images"
        place = _stage(corrected, known, staged)
        try:
            yield place
        except DataError as error:
            # People know where their labels are, not where they were put together with images.
            raise DataError(str(error).replace(str(place), str(corrected))) from error


def _paths_in(text: str) -> set[PurePosixPath]:
    """All that may be the path of a file in a JSON or an XML, and more."""
    with suppress(ValueError):
        text = json.dumps(json.loads(text), ensure_ascii=False)
    return {PurePosixPath(path.replace("\\", "/")) for path in re.findall(r'(?<![^"<>])[^"<>]+\.\w+', text)}


def _stated_below(folder: Path, known: KnownImages) -> set[str | None]:
    """The known names that label files state, each by as much of its path as is known."""
    names = set(known)
    stated: set[str | None] = set()
    for file in files_below(folder):
        if file.suffix.lower() in (".json", ".xml"):
            for path in _paths_in(file.read_text(encoding="utf-8", errors="replace")):
                ways = (tail.as_posix() for tail in tails(Path(path)))
                stated.add(next((way for way in ways if way in names), None))
    return stated - {None}


def _stage(corrected: Path, known: KnownImages, staged: Path) -> Path:
    if corrected.is_file():
        staged.mkdir()
        shutil.copyfile(corrected, staged / corrected.name)
        labels = []
    else:
        shutil.copytree(corrected, staged)
        labels = [file for file in files_below(staged) if file.suffix.lower() == ".txt"]
    stems = {str(PurePosixPath(name).with_suffix("")).lower(): name for name in known}
    paired = {file: name for file in labels if (name := _name_of(file.relative_to(staged), stems))}
    for file, name in paired.items():
        # YOLO's labels lie beside their images, or in `labels/` for those in `images/`.
        parts = ("images" if part == "labels" else part for part in file.relative_to(staged).parts)
        _link(known.named(name), staged.joinpath(*parts).with_suffix(PurePosixPath(name).suffix))
    if not paired:
        stated = _stated_below(staged, known)
        for name in known:
            # An error where it matters, and no guess where it doesn't.
            if name in stated or not known.is_shared(name):
                _link(known.named(name), staged / "images" / name)
    return staged / corrected.name if corrected.is_file() else staged


def _name_of(file: Path, stems: Mapping[str, str]) -> str | None:
    names = (tail.as_posix().lower() for tail in tails(file.with_suffix("")))
    return next((stems[name] for name in names if name in stems), None)


def _link(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(path.resolve())
    except FileExistsError:
        return
    except OSError:
        # Windows allows links to few people.
        place_image(path, target)


def _only(paths: Sequence[Path]) -> Path | None:
    """The last of paths that are all one picture's; what has moved meanwhile doesn't count."""
    there = [path for path in paths if path.is_file()] or list(paths[-1:])
    return there[-1] if there and all(_is_same(path, there[-1]) for path in there[:-1]) else None


def _looks_like(first: Path, second: Path) -> bool:
    """Whether two pictures are of one size and look the same all over, as one does that was written anew."""
    try:
        pictures = [read_image(path) for path in (first, second)]
    except DataError:
        return False
    if pictures[0].size != pictures[1].size:
        return False
    grey = [np.asarray(picture.convert("L").resize((_SIDE, _SIDE)), np.float32) for picture in pictures]
    # By parts: what moved before a camera that stands still changes few of them.
    parts = np.abs(grey[0] - grey[1]).reshape(_SIDE // _PART, _PART, _SIDE // _PART, _PART)
    return float(parts.mean((1, 3)).max()) < _ALIKE


def _is_same(first: Path, second: Path) -> bool:
    return first.samefile(second) or filecmp.cmp(first, second, shallow=False)


def _key(name: str) -> str:
    return PurePosixPath(name).stem.lower()
