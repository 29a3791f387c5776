"""Which image comes when. The order is a pure function of (seed, step), so a loader can start at any step."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import starmap
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from softdet.data.datasets import ImageDataset, Sample
from softdet.structures import LabeledBatch, Targets, TrainBatch, UnlabeledBatch

_Batch = TypeVar("_Batch")
_Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]  # what `Targets` holds
_GRACE = 30  # seconds, as schedulers give before they kill
_LABELED, _UNLABELED = 11, 12  # keep the two shuffles apart


class Order:
    """An endless shuffle: pass after pass over the images, each pass in an order of its own.

    Args:
        num_images: how many there are.
        seed: of the run.
        stream: tells shuffles of the same seed apart.
        serving: the images that take part, by their numbers; None for all of them.
        weights: how often each of those comes, one to the other; None for all alike. A pass is as long as their sum,
            rounded, and has each image as often as its weight says, rounded up in some passes and down in others.
    """

    def __init__(
        self,
        num_images: int,
        seed: int,
        stream: int,
        serving: Sequence[int] | None = None,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        self.num_images = num_images if serving is None else len(serving)
        self.seed = seed
        self.stream = stream
        self.serving = serving
        self.weights = weights
        self.pass_length = self.num_images if weights is None else round(float(weights.sum()))
        self._pass: tuple[int, np.ndarray] | None = None

    def __getitem__(self, place: int) -> int:
        """The image at a place of the endless sequence."""
        number, offset = divmod(place, self.pass_length)
        if self._pass is None or self._pass[0] != number:
            self._pass = (number, self._shuffle(np.random.default_rng([self.seed, self.stream, number])))
        number = int(self._pass[1][offset])
        return number if self.serving is None else self.serving[number]

    def _shuffle(self, rng: np.random.Generator) -> NDArray[np.int64]:
        if self.weights is None:
            return rng.permutation(self.num_images)
        # Systematic sampling: points at equal distances on the weights laid end to end.
        ends = self.weights.cumsum() * (self.pass_length / self.weights.sum())
        points = rng.random() + np.arange(self.pass_length)
        return rng.permutation(np.searchsorted(ends[:-1], points, side="right"))


class StepSampler(Sampler[list[tuple[int, int]]]):
    """The micro-batches of one rank, from one step to another.

    Args:
        order: of the images.
        batch_size: images per optimizer step, over all ranks and micro-batches.
        steps: the range of steps.
        num_slices: ranks times micro-batches.
        slices: which of them are this rank's.
        first_step: the step at which the sequence starts (unlabeled images are first asked for after the burn-in).
    """

    def __init__(
        self, order: Order, batch_size: int, steps: range, num_slices: int, slices: range, first_step: int = 0
    ) -> None:
        assert batch_size % num_slices == 0, "the config has checked it"
        self.order = order
        self.batch_size = batch_size
        self.steps = steps
        self.slice_size = batch_size // num_slices
        self.slices = slices
        self.first_step = first_step

    def __len__(self) -> int:
        return len(self.steps) * len(self.slices)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self.steps:
            start = (step - self.first_step) * self.batch_size
            for number in self.slices:
                positions = range(number * self.slice_size, (number + 1) * self.slice_size)
                yield [(self.order[start + position], position) for position in positions]


class _Placed(torch.utils.data.Dataset[tuple[Sample, int]]):
    """Samples together with their position in the global batch."""

    def __init__(self, images: ImageDataset) -> None:
        self.images = images

    def __getitem__(self, key: tuple[int, int]) -> tuple[Sample, int]:
        index, position = key
        return self.images[index], position


def train_batches(
    labeled: ImageDataset,
    unlabeled: ImageDataset | None,
    steps: range,
    *,
    seed: int,
    batch_size: int,
    unlabeled_batch_size: int,
    unlabeled_from: int,
    accumulate: int = 1,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    weights: NDArray[np.float64] | None = None,
    serving: Callable[[], Sequence[int] | None] = lambda: None,
) -> Iterator[list[TrainBatch]]:
    """Yield, for each step, this rank's micro-batches.

    Args:
        labeled: images with targets.
        unlabeled: images without, or None.
        steps: the range of steps to serve.
        seed: of the run.
        batch_size: labeled images per step, over all ranks and micro-batches.
        unlabeled_batch_size: unlabeled images per step, likewise.
        unlabeled_from: the first step that asks for unlabeled images.
        accumulate: micro-batches per step and rank.
        rank: of this process.
        world_size: number of processes.
        num_workers: loader processes for each of the two kinds of images; 0 decodes in this one.
        weights: of the labeled images, see `Order`.
        serving: asked once, when the first unlabeled images are due: which of them serve, None for all. It must give
            the same at every start of the same run.

    Law: the batches of all ranks and micro-batches, put together, are the one batch of a single process.
    """
    num_slices = world_size * accumulate
    slices = range(rank * accumulate, (rank + 1) * accumulate)
    later = range(max(steps.start, unlabeled_from), steps.stop)

    labeled_order = Order(len(labeled), seed, _LABELED, weights=weights)
    labeled_sampler = StepSampler(labeled_order, batch_size, steps, num_slices, slices)
    labeled_batches = starmap(_with_targets, _load(labeled, labeled_sampler, _collate_labeled, num_workers))
    unlabeled_batches: Iterator[UnlabeledBatch] = iter(())
    for step in steps:
        asks = unlabeled is not None and step in later
        # Not before: which images serve is found out at the end of the burn-in.
        if unlabeled is not None and step == later.start:
            order = Order(len(unlabeled), seed, _UNLABELED, serving())
            sampler = StepSampler(order, unlabeled_batch_size, later, num_slices, slices, first_step=unlabeled_from)
            unlabeled_batches = _load(unlabeled, sampler, _collate_unlabeled, num_workers)
        yield [
            TrainBatch(step, next(labeled_batches), next(unlabeled_batches) if asks else None)
            for _ in range(accumulate)
        ]


def image_batches(
    images: ImageDataset, places: Sequence[int], batch_size: int, num_workers: int
) -> Iterator[UnlabeledBatch]:
    """Yield images in a given order, each once, with its place in the list as its position.

    Args:
        images: to choose from.
        places: which of them.
        batch_size: images at once.
        num_workers: loader processes; 0 decodes in this one.
    """
    keys = [(place, place) for place in places]
    batches = [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]
    return _load(images, batches, _collate_unlabeled, num_workers)


def _load(
    images: ImageDataset,
    sampler: Iterable[list[tuple[int, int]]],
    collate: Callable[[Sequence[tuple[Sample, int]]], _Batch],
    num_workers: int,
) -> Iterator[_Batch]:
    context = _clean_processes() if num_workers else None
    return iter(
        DataLoader(
            _Placed(images),
            batch_sampler=sampler,
            num_workers=num_workers,
            collate_fn=collate,
            multiprocessing_context=context,
            worker_init_fn=_serve_a_run_that_stops if num_workers else None,
        )
    )


def _clean_processes() -> BaseContext:
    """How loader processes are started: forking one that runs torch's threads can hang, so never from this process.

    Where the system has it, from a server that has imported torch once: a spawned worker imports it anew, and a run
    starts four of them and more.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "softdet.data.worker_server"])
    return context


def _serve_a_run_that_stops(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach all processes; the run saves its state, and needs its workers for that."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        # Not for ever: a process that ends with an error may wait for the workers that it has sent this.
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE))


def _collate_unlabeled(placed: Sequence[tuple[Sample, int]]) -> UnlabeledBatch:
    samples = [sample for sample, _ in placed]
    return UnlabeledBatch(
        images=torch.stack([sample.image for sample in samples]),
        content=torch.tensor([sample.content for sample in samples]),
        positions=torch.tensor([position for _, position in placed]),
        readable=torch.tensor([sample.failure is None for sample in samples]),
        failures=tuple(sample.failure for sample in samples if sample.failure),
    )


def _collate_labeled(placed: Sequence[tuple[Sample, int]]) -> tuple[UnlabeledBatch, list[_Arrays]]:
    # A tensor that comes from a worker holds a file open; with three of them for each image, a large batch would
    # soon hold more than a process may. Arrays travel inside the message.
    targets = [sample.targets for sample, _ in placed]
    return _collate_unlabeled(placed), [(t.boxes.numpy(), t.labels.numpy(), t.ignored.numpy()) for t in targets]


def _with_targets(batch: UnlabeledBatch, arrays: list[_Arrays]) -> LabeledBatch:
    targets = tuple(Targets(*map(torch.from_numpy, parts)) for parts in arrays)
    return LabeledBatch(batch.images, batch.content, batch.positions, batch.readable, batch.failures, targets)
