"""Frames of a video as image files; needs the extra `video`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from softdet.errors import DataError
from softdet.files import write_json

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts"})
_STAMP = "frames.json"
_QUALITY = 95


def write_frames(video: Path, folder: Path, every: int) -> list[Path]:
    """Write each so-many-th frame of a video as `000123.jpg`, by its number from 0.

    Args:
        video: the file.
        folder: where to write; what an earlier call left there for the same file and `every` is taken as it is. Where
            it holds the frames of another video, `NAME_2.mp4` and so on beside it.
        every: from 1.

    Returns:
        The frames' files in order.

    Raises:
        DataError: the extra is missing, the video can't be read or has no frame, the folder holds something else.
    """
    if every < 1:
        raise DataError(f"--every {every}: it is a whole number from 1 (30 takes one frame of 30)")
    stamp = {"video": str(video.resolve()), "bytes": video.stat().st_size, "every": every}
    folder = _folder_of(video, folder)
    if folder.is_dir():
        if _stamp_of(folder) == stamp:
            return sorted(folder.glob("*.jpg"))
        if _stamp_of(folder) is None and any(folder.iterdir()):
            raise DataError(f"{folder} holds files that aren't frames of {video}. Move them, or choose another --out.")
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        num_frames = _decode(video, draft, every)
        if not num_frames:
            raise DataError(f"{video}: no frame could be read. Is the file cut off?")
        write_json(draft / _STAMP, stamp)
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return sorted(folder.glob("*.jpg"))


def _folder_of(video: Path, folder: Path) -> Path:
    number, own = 1, folder
    while (stamp := _stamp_of(own)) is not None and stamp.get("video") not in (str(video.resolve()), video.name):
        number += 1
        own = folder.with_name(f"{folder.stem}_{number}{folder.suffix}")
    return own


def _stamp_of(folder: Path) -> dict[str, Any] | None:
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) else None


def _decode(video: Path, folder: Path, every: int) -> int:
    try:
        import av
    except ImportError as error:
        raise DataError(
            f"{video} is a video, and reading it needs a package that isn't installed: pip install av"
        ) from error
    num_written = 0
    try:
        with av.open(str(video)) as container:
            container.streams.video[0].thread_type = "AUTO"
            for number, frame in enumerate(container.decode(video=0)):
                if number % every == 0:
                    # Telephones store frames as the sensor lies, and beside them how to turn them.
                    upright = frame.to_image().rotate(frame.rotation, expand=True)
                    upright.save(folder / f"{number:06d}.jpg", quality=_QUALITY)
                    num_written += 1
    except (av.error.FFmpegError, IndexError) as error:
        # A video that was cut off still gives the frames before that.
        if not num_written:
            raise DataError(
                f"{video}: can't be read as a video ({error}). Is the file cut off, or no video?"
            ) from error
    return num_written
