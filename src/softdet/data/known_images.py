"""Images that left with pseudo-labels come back under other names and without their files: which one each is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from softdet.data.sources.finding import files_below, images_below, tails
from softdet.data.writers.folders import place_image
from softdet.errors import DataError

# Label Studio puts it before the name of an uploaded file.
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{6,}-")


class KnownImages:
    """Images by the names that they had when they were handed out.

    Args:
        images: name and file; of two with one name the last stays.
    """

    def __init__(self, images: Iterable[tuple[str, Path]]) -> None:
        self.by_name = {name: path.resolve() for name, path in images}
        self._files = set(self.by_name.values())
        self._by_last: dict[str, list[str]] = {}
        for name in self.by_name:
            self._by_last.setdefault(_key(PurePosixPath(name).name), []).append(name)

    def find(self, path: Path) -> Path | None:
        """The known image that a corrected label's image is: by its file, else by the end of its path.

        Args:
            path: of the corrected set; need not exist. A name that several known images share tells nothing.
        """
        if path.resolve() in self._files:
            return path.resolve()
        last = path.name
        names = self._by_last.get(_key(last)) or self._by_last.get(_key(_UPLOAD_PREFIX.sub("", last))) or []
        if len(names) > 1:
            whole = f"/{path.as_posix()}".lower()
            fitting = [name for name in names if whole.endswith(f"/{name}".lower())]
            # `a/1.jpg` fits where `1.jpg` does, and says more.
            names = [name for name in fitting if len(name) == max(map(len, fitting))]
        return self.by_name[names[0]] if len(names) == 1 else None


@contextmanager
def with_images(corrected: Path, known: Mapping[str, Path]) -> Iterator[Path]:
    """Give a place where labels and images lie together, as readers want them; exports often come without images.

    Args:
        corrected: a label file, or a folder of them.
        known: the images by name.

    Yields:
        `corrected` itself if there are images with it, else a folder that is gone afterwards.
    """
    images = images_below(corrected if corrected.is_dir() else corrected.parent / "images")
    if corrected.is_file() and corrected.suffix.lower() in (".json", ".xml"):
        # The folder beside a file may hold the pictures of something else.
        named = _names_in(corrected.read_text(encoding="utf-8", errors="replace"))
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


def _names_in(text: str) -> set[str]:
    """All that may be a file's name in a JSON or an XML, and more."""
    with suppress(ValueError):
        text = json.dumps(json.loads(text), ensure_ascii=False)
    return set(re.findall(r"[^/\\\"<>]+\.\w+", text))


def _stage(corrected: Path, known: Mapping[str, Path], staged: Path) -> Path:
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
        _link(known[name], staged.joinpath(*parts).with_suffix(PurePosixPath(name).suffix))
    if not paired:
        for name, path in known.items():
            _link(path, staged / "images" / name)
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


def _key(name: str) -> str:
    return PurePosixPath(name).stem.lower()
