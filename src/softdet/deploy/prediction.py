"""Detect in pictures of any source: each process its share, rows streamed to files, taken up after an interruption."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from PIL import Image

from softdet.data.datasets import Sample
from softdet.data.images import canvas_scale, read_image, to_canvas
from softdet.data.pictures import Picture, list_pictures
from softdet.data.sources.parts import Tally
from softdet.data.writers.found import FoundImage
from softdet.deploy.job_folder import JobFolder
from softdet.deploy.processes import from_first, wait_for_all
from softdet.deploy.shards import ShardWriter
from softdet.errors import DataError, SoftdetError
from softdet.evaluation.detector import Detector, DetectorCard, load_detector
from softdet.evaluation.inference import detect_samples, own_size
from softdet.files import digest
from softdet.report.drawing import draw_boxes
from softdet.structures import Instances, Targets

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")
# Pictures are decoded so many batches ahead, in so many threads.
_BATCHES_AHEAD = 2
_NUM_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Job:
    """What one process of a job works on.

    Attributes:
        folder: where all of them write.
        detector: of the job.
        weights: its file.
        pictures: of all processes.
        threshold: the lowest score to keep.
        drawings: also draw what was found.
        rank: number of this process.
        world_size: how many there are.
        dropped: pictures that were listed and aren't there; the first process knows.
    """

    folder: JobFolder
    detector: Detector
    weights: Path
    pictures: list[Picture]
    threshold: float
    drawings: bool
    rank: int
    world_size: int
    dropped: Tally

    @property
    def share(self) -> range:
        """The places of this process's pictures: each so-many-th, so that all shares are alike."""
        return range(self.rank, len(self.pictures), self.world_size)


def open_job(
    weights: Path,
    sources: Sequence[str | Path],
    out: Path,
    *,
    threshold: float | None = None,
    drawings: bool = False,
    every: int = 30,
    overwrite: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> Job:
    """Claim the folder and list the pictures; the first process does it for all.

    Args:
        weights: a detector's file.
        sources: see `list_pictures`.
        out: the folder to write to; an interrupted job of the same kind is taken up there.
        threshold: the lowest score to keep; None takes the detector's operating point.
        drawings: also draw what was found.
        every: of a video's frames, each so-many-th is taken.
        overwrite: replace what an earlier job has written there.
        rank: number of this process.
        world_size: how many there are.

    Raises:
        WeightsError: the detector can't be read.
        RunError: `out` is taken.
        DataError: a source is none.
    """
    detector = load_detector(weights)
    lowest = detector.card.operating_threshold if threshold is None else threshold
    job = Job(JobFolder(out), detector, weights, [], lowest, drawings, rank, world_size, Tally())
    listed: list[Picture] | SoftdetError = []
    if rank == 0:
        try:
            job.folder.claim(overwrite=overwrite)
            listed = list_pictures(sources, frames=job.folder.frames, every=every, dropped=job.dropped)
            job.folder.clear_other(world_size, _stamp(replace(job, pictures=listed)))
        except SoftdetError as error:
            job.folder.leave()
            listed = error
    listed = from_first(listed)
    if isinstance(listed, SoftdetError):
        raise listed
    return replace(job, pictures=listed)


def work(job: Job, *, device: torch.device, batch_size: int) -> Iterator[int]:
    """Detect in this process's share of the pictures, and wait for the others.

    Args:
        job: from `open_job`.
        device: where to compute.
        batch_size: images per forward pass.

    Yields:
        How many of the share are done, first those that an interrupted job has left. Then, for every process, all that
        was found is in `job.folder.found(job.world_size)`.
    """
    card = with_threshold(job.detector.card, job.threshold)
    model = job.detector.model.to(device)
    read = partial(_read, card=card, keep=job.drawings)
    shard = job.folder.shard(job.rank, job.world_size)
    with ShardWriter(shard, _stamp(job)) as writer, ThreadPoolExecutor(_NUM_THREADS) as pool:
        yield writer.num_rows
        places = job.share[writer.num_rows :]
        loaded = _ahead(pool, read, map(job.pictures.__getitem__, places), _BATCHES_AHEAD * batch_size)
        for batch in _batches(zip(places, loaded, strict=True), batch_size):
            samples = [each.sample for _, each in batch if each.sample is not None]
            found = iter(detect_samples(model, card, samples, device=device) if samples else [])
            results = [None if each.sample is None else _keep(next(found), job.threshold) for _, each in batch]
            if job.drawings:
                drawn = zip(batch, results, strict=True)
                list(pool.map(lambda pair: _draw(job, pair[0][0], pair[0][1].image, pair[1]), drawn))
            for (place, each), result in zip(batch, results, strict=True):
                if each.sample is None or result is None:
                    writer.failed(place, each.failure)
                else:
                    writer.found(place, as_found(job.pictures[place], result, own_size(each.sample)))
            writer.flush()
            yield writer.num_rows
    wait_for_all()


def with_threshold(card: DetectorCard, threshold: float) -> DetectorCard:
    """A card whose detections reach down to a score."""
    return replace(card, score_threshold=min(threshold, card.score_threshold))


def as_found(picture: Picture, instances: Instances, size: tuple[int, int]) -> FoundImage:
    """Detections of a picture, as the writers take them."""
    return FoundImage(
        picture.id,
        picture.name,
        picture.path,
        size,
        instances.boxes.numpy(),
        instances.labels.numpy(),
        instances.scores.numpy(),
    )


def sample_of(image: Image.Image, card: DetectorCard) -> Sample:
    """An RGB image on the detector's canvas."""
    pixels, content = to_canvas(image, card.image_size, card.resize)
    return Sample(pixels, content, canvas_scale((image.height, image.width), content), Targets.empty())


class _Loaded(NamedTuple):
    sample: Sample | None
    image: Image.Image | None
    failure: str = ""


def _read(picture: Picture, card: DetectorCard, keep: bool) -> _Loaded:
    try:
        image = read_image(picture.path, picture.size)
    except DataError as error:
        return _Loaded(None, None, str(error))
    return _Loaded(sample_of(image, card), image if keep else None)


def _keep(instances: Instances, threshold: float) -> Instances:
    return instances[instances.scores >= threshold]


def _draw(job: Job, place: int, image: Image.Image | None, found: Instances | None) -> None:
    if image is None or found is None:
        return
    path = (job.folder.drawings / job.pictures[place].name).with_suffix(".jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    names = job.detector.card.class_names
    drawn = draw_boxes(image, found.boxes.tolist(), found.labels.tolist(), names, found.scores.tolist())
    drawn.save(path, quality=90)


def _stamp(job: Job) -> dict[str, Any]:
    listed = hashlib.sha256()
    for picture in job.pictures:
        listed.update(f"{picture.id}\0{picture.name}\0{picture.path}\n".encode(errors="surrogateescape"))
    return {
        "weights": digest(job.weights),
        "threshold": job.threshold,
        "drawings": job.drawings,
        "pictures": listed.hexdigest(),
        "rank": job.rank,
        "world_size": job.world_size,
    }


def _ahead(pool: Executor, function: Callable[[_Item], _Made], items: Iterable[_Item], count: int) -> Iterator[_Made]:
    """What a function makes of each item, in order; the next ones are being made meanwhile."""
    waiting: deque[Future[_Made]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
