import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from itertools import islice
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from softdet.data.datasets import ImageDataset
from softdet.data.index import ImageRecord
from softdet.data.loaders import Order, _serve_a_run_that_stops, image_batches, train_batches
from softdet.structures import LabeledBatch, TrainBatch, UnlabeledBatch

NUM_LABELED, NUM_UNLABELED = 10, 7
CANVAS = (8, 8)


def dataset(folder: Path, number: int, missing: Sequence[int] = ()) -> ImageDataset:
    """Images whose grey is their number, with as many boxes as that, at most 3; the missing ones have no file."""
    folder.mkdir()
    records = []
    for i in range(number):
        path = folder / f"{i}.png"
        if i not in missing:
            Image.new("RGB", (8, 4), (i, i, i)).save(path)
        boxes = np.array([[0, 0, 1 + i, 2]] * (i % 4), np.float32).reshape(-1, 4)
        labels = np.full(i % 4, i, np.int64)
        records.append(ImageRecord(i, path, (4, 8), boxes, labels, boxes[:1]))
    return ImageDataset(records, CANVAS, "letterbox")


@pytest.fixture
def batches(tmp_path: Path) -> partial:
    labeled, unlabeled = dataset(tmp_path / "labeled", NUM_LABELED), dataset(tmp_path / "unlabeled", NUM_UNLABELED)
    return partial(train_batches, labeled, unlabeled, seed=3, batch_size=4, unlabeled_batch_size=8, unlabeled_from=2)


def numbers(batch: UnlabeledBatch | None) -> list[int]:
    """Which images these are."""
    return [] if batch is None else batch.images[:, 0, 0, 0].tolist()


def rows(batches: Sequence[TrainBatch]) -> list[object]:
    """All that some batches hold, image by image, wherever they were cut."""
    found: list[object] = []
    for kind in ("labeled", "unlabeled"):
        for batch in (getattr(each, kind) for each in batches):
            for i in range(0 if batch is None else len(batch)):
                row = [getattr(batch, name)[i].tolist() for name in ("images", "content", "positions", "readable")]
                if isinstance(batch, LabeledBatch):
                    targets = batch.targets[i]
                    row += [targets.boxes.tolist(), targets.labels.tolist(), targets.ignored.tolist()]
                found.append((kind, batches[0].step, row))
    return found


def test_weights_say_how_often_an_image_comes() -> None:
    weights = np.array([1.0, 2.5, 1.0, 4.0, 1.5])
    order = Order(5, 3, 11, weights=weights)
    passes = [[order[10 * number + place] for place in range(10)] for number in range(200)]
    counts = np.array([np.bincount(each, minlength=5) for each in passes])
    assert (np.floor(weights) <= counts).all()
    assert (counts <= np.ceil(weights)).all()
    assert counts.mean(0) == pytest.approx(weights, abs=0.1)
    assert passes[0] != passes[1]
    # Any place can be asked for first, as a resumed run does.
    assert Order(5, 3, 11, weights=weights)[1234] == order[1234]


def test_a_batch_holds_the_images_with_their_own_targets(batches: partial) -> None:
    for (batch,) in batches(range(5)):
        for i, number in enumerate(numbers(batch.labeled)):
            targets = batch.labeled.targets[i]
            assert targets.boxes.tolist() == [[0, 0, 1 + number, 2]] * (number % 4)
            assert targets.labels.tolist() == [number] * (number % 4)
            assert targets.ignored.tolist() == [[0, 0, 1 + number, 2]][: number % 4]
            assert targets.labels.dtype == torch.int64
        assert batch.labeled.positions.tolist() == list(range(4))
        assert batch.labeled.content.tolist() == [[4, 8]] * 4
        assert batch.labeled.readable.all()
        assert batch.labeled.images.dtype == torch.uint8


def test_unlabeled_images_come_from_their_first_step_on_and_bear_no_targets(batches: partial) -> None:
    served = [batch.unlabeled for (batch,) in batches(range(5))]
    assert [batch is None for batch in served] == [True, True, False, False, False]
    assert type(served[2]) is UnlabeledBatch
    assert "targets" not in {field.name for field in fields(UnlabeledBatch)}
    assert served[2].positions.tolist() == list(range(8))


def test_fewer_images_than_a_batch_takes(batches: partial) -> None:
    counts = Counter(number for (batch,) in batches(range(2, 9)) for number in numbers(batch.unlabeled))
    assert counts == dict.fromkeys(range(NUM_UNLABELED), 8), "7 steps of 8 are 8 passes over 7 images"


def test_a_run_without_unlabeled_images(tmp_path: Path) -> None:
    labeled = dataset(tmp_path / "labeled", 3)
    served = list(
        train_batches(labeled, None, range(3), seed=0, batch_size=2, unlabeled_batch_size=2, unlabeled_from=0)
    )
    assert [batch.unlabeled for (batch,) in served] == [None] * 3


def test_a_burn_in_beyond_the_end_serves_labeled_images_alone(batches: partial) -> None:
    assert [batch.unlabeled for (batch,) in batches(range(3), unlabeled_from=50)] == [None] * 3


def test_two_workers_serve_what_none_does_and_hold_few_files_open(batches: partial) -> None:
    # Each tensor that comes from a worker holds a file; three for each image would soon be more than allowed.
    descriptors = Path("/proc/self/fd")
    # Labeled images alone, for the time that each worker takes to start; unlabeled ones are a part of their batches.
    batches = partial(batches, range(4), batch_size=40, unlabeled_from=4)
    alone = list(batches())
    before = len(list(descriptors.iterdir())) if descriptors.is_dir() else 0
    helped = list(batches(num_workers=2))
    held = len(list(descriptors.iterdir())) if descriptors.is_dir() else 0
    assert list(map(rows, helped)) == list(map(rows, alone))
    assert len(rows(helped[-1])) == 40
    assert held - before < 40


@pytest.mark.parametrize("start", [1, 2, 3, 6])
def test_starting_at_a_step_goes_on_as_if_never_stopped(batches: partial, start: int) -> None:
    whole = list(map(rows, batches(range(7))))
    assert list(map(rows, batches(range(start, 7)))) == whole[start:]


@pytest.mark.parametrize(("world_size", "accumulate"), [(2, 1), (1, 2), (2, 2), (4, 1), (1, 4)])
def test_ranks_and_micro_batches_put_together_are_the_batch_of_one_process(
    batches: partial, world_size: int, accumulate: int
) -> None:
    cut = [
        list(batches(range(5), rank=rank, world_size=world_size, accumulate=accumulate)) for rank in range(world_size)
    ]
    for step, (whole,) in enumerate(batches(range(5))):
        parts = [part for rank in cut for part in rank[step]]
        assert len(parts) == world_size * accumulate
        assert {len(part.labeled) for part in parts} == {4 // len(parts)}
        assert rows(parts) == rows([whole])


def test_an_unreadable_image_is_marked_and_named(tmp_path: Path) -> None:
    labeled, unlabeled = dataset(tmp_path / "labeled", 4, [2]), dataset(tmp_path / "unlabeled", 4, [1])
    ((batch,),) = train_batches(
        labeled, unlabeled, range(1), seed=0, batch_size=4, unlabeled_batch_size=4, unlabeled_from=0
    )
    for part, name in ((batch.labeled, "2.png"), (batch.unlabeled, "1.png")):
        assert part is not None
        assert sorted(part.readable.tolist()) == [False, True, True, True]
        assert numbers(part)[part.readable.tolist().index(False)] == 128
        assert len(part.failures) == 1
        assert name in part.failures[0]


@pytest.mark.parametrize("number", [1, 2, 7, 50])
def test_the_endless_order_holds_each_image_once_a_pass(number: int) -> None:
    order = Order(number, seed=1, stream=11)
    passes = [[order[place] for place in range(k * number, (k + 1) * number)] for k in range(4)]
    assert all(sorted(each) == list(range(number)) for each in passes)
    if number >= 7:
        assert len(set(map(tuple, passes))) == 4, "each pass has an order of its own"


def test_the_order_depends_on_the_place_alone() -> None:
    order = Order(20, seed=1, stream=11)
    forward = [order[place] for place in range(60)]
    assert [order[place] for place in reversed(range(60))] == forward[::-1]
    assert Order(20, seed=1, stream=11)[37] == forward[37]


def test_seeds_and_streams_have_orders_of_their_own() -> None:
    orders = [Order(20, seed, stream) for seed in (1, 2) for stream in (11, 12)]
    assert len({tuple(islice((order[place] for place in range(20)), 20)) for order in orders}) == 4


def test_only_the_serving_images_come_once_a_pass() -> None:
    order = Order(9, seed=1, stream=11, serving=[8, 2, 5, 6])
    passes = [[order[place] for place in range(k * 4, (k + 1) * 4)] for k in range(5)]
    assert all(sorted(each) == [2, 5, 6, 8] for each in passes)
    everyone = Order(9, seed=1, stream=11, serving=range(9))
    assert [everyone[place] for place in range(27)] == [Order(9, seed=1, stream=11)[place] for place in range(27)]


@pytest.mark.parametrize("start", [0, 2, 5])
def test_which_images_serve_is_asked_when_the_first_are_due(batches: partial, start: int) -> None:
    asked_at: list[int] = []
    steps: list[int] = []

    def serving() -> list[int]:
        asked_at.append(len(steps))
        return [1, 4, 6]

    seen = Counter[int]()
    for (batch,) in batches(range(start, 8), serving=serving):
        steps.append(batch.step)
        seen.update(numbers(batch.unlabeled))
    assert asked_at == [max(0, 2 - start)]
    assert set(seen) == {1, 4, 6}
    assert max(seen.values()) - min(seen.values()) <= 1
    whole = [numbers(batch.unlabeled) for (batch,) in batches(range(8), serving=lambda: [1, 4, 6])]
    assert [numbers(batch.unlabeled) for (batch,) in batches(range(start, 8), serving=serving)] == whole[start:]


def test_who_serves_changes_no_labeled_batch(batches: partial) -> None:
    some = [rows([batch])[:4] for (batch,) in batches(range(4), serving=lambda: [3])]
    assert some == [rows([batch])[:4] for (batch,) in batches(range(4))]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_images_in_a_given_order_bear_their_places(tmp_path: Path, num_workers: int) -> None:
    images = dataset(tmp_path / "images", 6, missing=[4])
    served = list(image_batches(images, [5, 0, 4, 2, 1], 2, num_workers))
    assert [batch.positions.tolist() for batch in served] == [[5, 0], [4, 2], [1]]
    assert [numbers(batch) for batch in served] == [[5, 0], [128, 2], [1]]
    assert [batch.readable.tolist() for batch in served] == [[True, True], [False, True], [True]]
    assert list(image_batches(images, [], 2, num_workers)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_loader_processes_outlive_a_signal_to_all_of_a_run(tmp_path: Path, number: signal.Signals) -> None:
    # Ctrl-C and SLURM reach every process, and the run needs its workers to come to the end of its step.
    served = image_batches(dataset(tmp_path / "images", 8), range(8), 1, 1)
    next(served)
    (worker,) = multiprocessing.active_children()
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    assert worker.pid is not None
    for pid in (worker.pid, server):
        os.kill(pid, number)
    assert len(list(served)) == 7
    # Workers end when the process they came from does.
    assert os.waitpid(server, os.WNOHANG) == (0, 0)


def test_a_loader_process_that_was_asked_to_end_does_so_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    # Else an exit that waits for it might hang.
    alarms: list[int] = []
    monkeypatch.setattr(signal, "alarm", alarms.append)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _serve_a_run_that_stops(0)
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert alarms == [30]


def test_another_seed_serves_other_batches(batches: partial) -> None:
    assert [numbers(b.labeled) for (b,) in batches(range(3))] != [
        numbers(b.labeled) for (b,) in batches(range(3), seed=4)
    ]
