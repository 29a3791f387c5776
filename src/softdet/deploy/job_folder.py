"""The folder of a prediction job: what lies where, who may write into it, and what it says of itself at the end."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import softdet
from softdet.data.images import MAX_UNREADABLE
from softdet.data.writers.folders import Origin
from softdet.deploy.shards import FoundImages, has_stamp, require_shards
from softdet.errors import DataError, RunError
from softdet.files import write_json


@dataclass(frozen=True, slots=True)
class Summary:
    """What a job came to.

    Attributes:
        num_images: those that could be read.
        num_boxes: found in them.
        boxes_per_class: by class name, the most frequent first.
        num_empty: images in which nothing was found.
        num_failures: images that couldn't be read.
        failures: why, of the first ones.
        renamed: by their names here, the files of images whose own name another one has, endings aside.
    """

    num_images: int
    num_boxes: int
    boxes_per_class: dict[str, int]
    num_empty: int
    num_failures: int
    failures: tuple[str, ...]
    renamed: dict[str, str]

    def require_most_readable(self) -> None:
        """Stop where too many images can't be read.

        Raises:
            DataError: more than 5% of them.
        """
        num_listed = self.num_images + self.num_failures
        if self.num_failures > MAX_UNREADABLE * num_listed:
            raise DataError(
                f"{self.num_failures} of {num_listed} images can't be read, more than {MAX_UNREADABLE:.0%}; what was "
                "found in the others is written. The first:\n  " + "\n  ".join(self.failures)
            )


@dataclass(frozen=True, slots=True)
class JobFolder:
    """Names of the files of a prediction job."""

    path: Path

    @property
    def drawings(self) -> Path:
        """A drawing of each picture."""
        return self.path / "drawings"

    @property
    def frames(self) -> Path:
        """The frames of videos."""
        return self.path / "frames"

    @property
    def shards(self) -> Path:
        """What the processes have found, while the job goes on."""
        return self.path / "unfinished"

    @property
    def summary(self) -> Path:
        """What was done; written last, so that it stands for a finished job."""
        return self.path / "summary.json"

    def shard(self, rank: int, world_size: int) -> Path:
        """The file of one process."""
        return self.shards / f"{rank + 1}_of_{world_size}.jsonl"

    def found(self, world_size: int) -> FoundImages:
        """What all processes have found.

        Raises:
            RunError: the file of one isn't there.
        """
        shards = tuple(self.shard(rank, world_size) for rank in range(world_size))
        require_shards(shards)
        return FoundImages(shards)

    def claim(self, *, overwrite: bool) -> None:
        """Make sure that starting, or going on, here loses nothing.

        Args:
            overwrite: delete what an earlier job has written.

        Raises:
            RunError: the folder is taken.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; a folder is needed. Choose another --out.")
        written = self._written()
        if written is None and self.path.is_dir() and any(self.path.iterdir()) and not self.shards.is_dir():
            raise RunError(
                f"{self.path} holds files that softdet didn't write, and they might be mixed up with what is found. "
                "Choose another --out."
            )
        if written is not None and not overwrite:
            raise RunError(
                f"{self.path} already holds results ({', '.join(written)}). Choose another --out, or add --overwrite "
                "to delete them, whatever was changed in them since."
            )
        try:
            self.summary.unlink(missing_ok=True)
            for name in written or ():
                self._delete(name)
            self.shards.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self.path} can't be written ({error.strerror or error}). Choose another --out."
            ) from error

    def clear_other(self, world_size: int, stamp: dict[str, Any]) -> None:
        """Delete what an interrupted job of another kind has left, whose drawings would be taken for this one's.

        Args:
            world_size: number of processes.
            stamp: of the first one's share, see `ShardWriter`.
        """
        if any(self.shards.iterdir()) and not has_stamp(self.shard(0, world_size), stamp):
            for folder in (self.drawings, self.shards):
                shutil.rmtree(folder, ignore_errors=True)
            self.shards.mkdir()

    def leave(self) -> None:
        """Leave nothing behind where there was nothing to do."""
        for folder in (self.frames, self.shards, self.path):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def finish(
        self, found: FoundImages, class_names: Sequence[str], origin: Origin, written: Sequence[Path]
    ) -> Summary:
        """Write the summary, which ends the job.

        Args:
            found: by all processes.
            class_names: of the detector.
            origin: of what was found.
            written: the files and folders with the results.

        Returns:
            What the job came to.
        """
        summary = summarise(found, class_names)
        names = dict.fromkeys(each.name for each in (*written, self.drawings, self.frames) if each.exists())
        content: dict[str, Any] = {
            "detector": origin.name,
            "step": origin.step,
            "threshold": origin.threshold,
            "images": summary.num_images,
            "images_without_boxes": summary.num_empty,
            "boxes": summary.num_boxes,
            "boxes_per_class": summary.boxes_per_class,
            "unreadable": summary.num_failures,
            "renamed": summary.renamed,
            "written": list(names),
            "softdet": softdet.__version__,
        }
        write_json(self.summary, content)
        shutil.rmtree(self.shards)
        return summary

    def _written(self) -> list[str] | None:
        """What a finished job has written here; None where there is none."""
        try:
            content = json.loads(self.summary.read_text(encoding="utf-8"))
            return [str(name) for name in content["written"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _delete(self, name: str) -> None:
        target = self.path / Path(name).name
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


def summarise(found: FoundImages, class_names: Sequence[str]) -> Summary:
    """Count what was found."""
    num_images = num_empty = 0
    labels: Counter[int] = Counter()
    renamed = {}
    for image in found:
        if PurePosixPath(image.name).name != image.path.name:
            renamed[image.name] = str(image.path)
        num_images += 1
        num_empty += not len(image.labels)
        labels.update(image.labels.tolist())
    failures = found.failures()
    first = tuple(islice(failures, 5))
    per_class = {class_names[label]: count for label, count in labels.most_common()}
    num_failures = len(first) + sum(1 for _ in failures)
    return Summary(num_images, labels.total(), per_class, num_empty, num_failures, first, renamed)
