"""Which unlabeled images serve: named, left out, remembered, and the same in two processes as in one."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image

from softdet.data.datasets import ImageDataset
from softdet.data.index import ImageRecord
from softdet.engine import unlabeled_pool
from softdet.engine.unlabeled_pool import UnlabeledPool
from softdet.models.retinanet import RetinaNet

NUM_LABELED, NUM_ALIKE, NUM_FOREIGN = 10, 20, 3
FOREIGN = list(range(NUM_ALIKE, NUM_ALIKE + NUM_FOREIGN))


def draw(path: Path, seed: int, *, foreign: bool) -> ImageRecord:
    """Dark noise with a red square; or stripes in white and blue."""
    rng = np.random.default_rng(seed)
    height, width = 72, 96
    pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
    if foreign:
        pixels[:] = 255
        pixels[:, :: 4 + seed % 3, :2] = 0
    else:
        x, y = (int(corner) for corner in rng.integers(4, 36, 2))
        pixels[y : y + 30, x : x + 30] = (200, 20, 20)
    Image.fromarray(pixels).save(path)
    return ImageRecord.plain(path.stem, path, (height, width))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """Labeled images, then unlabeled ones of which the last three are foreign."""
    folder = tmp_path_factory.mktemp("pool")
    labeled = [draw(folder / f"labeled_{i}.png", i, foreign=False) for i in range(NUM_LABELED)]
    alike = [draw(folder / f"alike_{i}.png", 100 + i, foreign=False) for i in range(NUM_ALIKE)]
    foreign = [draw(folder / f"foreign_{i}.png", 200 + i, foreign=True) for i in range(NUM_FOREIGN)]
    return labeled, alike + foreign


@pytest.fixture(scope="module")
def model(make_model: Callable[..., RetinaNet]) -> RetinaNet:
    return make_model().eval()


@pytest.fixture
def make_pool(records: tuple[list[ImageRecord], list[ImageRecord]], tmp_path: Path) -> Callable[..., UnlabeledPool]:
    """A pool of these images with changes: `make_pool(labeled=..., unlabeled=..., **arguments of UnlabeledPool)`."""

    def make(
        labeled: list[ImageRecord] | None = None, unlabeled: list[ImageRecord] | None = None, **changes: Any
    ) -> UnlabeledPool:
        mine, others = (
            ImageDataset(given if given is not None else drawn, (80, 80), "letterbox")
            for given, drawn in ((labeled, records[0]), (unlabeled, records[1]))
        )
        options: dict[str, Any] = {"num_unlabeled": len(others), "action": "leave_out", "size": (64, 64), "seed": 3}
        options |= {"file": tmp_path / "far_images.csv", "batch_size": 5, "num_workers": 0}
        return UnlabeledPool(mine, others, **options | {"device": torch.device("cpu")} | changes)

    return make


def listed(pool: UnlabeledPool) -> list[dict[str, str]]:
    with pool.file.open(newline="") as file:
        return list(csv.DictReader(file))


def test_far_images_are_named_with_their_nearest_labeled_image(
    make_pool: Callable[..., UnlabeledPool], model: RetinaNet
) -> None:
    pool, said = make_pool(action="flag"), list[str]()
    pool.look(model, said.append)
    rows = listed(pool)
    assert list(rows[0]) == ["file", "distance", "nearest_labeled"]
    assert {row["file"] for row in rows} == {str(pool.pool.records[place].path) for place in FOREIGN}
    numbers = [float(row["distance"]) for row in rows]
    assert numbers == sorted(numbers, reverse=True)
    assert {row["nearest_labeled"] for row in rows} <= {str(record.path) for record in pool.labeled.records}
    assert len(said) == 1
    assert said[0].startswith(f"far images: 3 of 23 unlabeled images look unlike the labeled ones; {pool.file} names")
    assert "soft_teacher.far_images=leave_out" in said[0]
    assert pool.serving() is None, "it only flags"


def test_left_out_images_serve_no_more(make_pool: Callable[..., UnlabeledPool], model: RetinaNet) -> None:
    pool, said = make_pool(), list[str]()
    assert pool.serving() is None
    pool.look(model, said.append)
    assert pool.serving() == list(range(NUM_ALIKE))
    assert len(said) == 1
    assert "left out from here on" in said[0]


def test_where_all_are_alike_the_list_is_empty_and_all_serve(
    make_pool: Callable[..., UnlabeledPool], records: tuple[list[ImageRecord], list[ImageRecord]], model: RetinaNet
) -> None:
    pool, said = make_pool(unlabeled=records[1][:NUM_ALIKE]), list[str]()
    pool.look(model, said.append)
    assert said == ["far images: none of 20 unlabeled images looks unlike the labeled ones"]
    assert pool.file.read_text() == "file,distance,nearest_labeled\n"
    assert pool.serving() is None


def test_a_pool_that_is_foreign_as_a_whole_is_said_to_be(
    make_pool: Callable[..., UnlabeledPool], records: tuple[list[ImageRecord], list[ImageRecord]], model: RetinaNet
) -> None:
    pool, said = make_pool(unlabeled=records[1][NUM_ALIKE - 2 :]), list[str]()
    pool.look(model, said.append)
    assert "the pool as a whole lies further from the labeled images" in said[0]
    assert pool.serving() is None


def test_it_looks_once_and_a_resumed_run_not_at_all(make_pool: Callable[..., UnlabeledPool], model: RetinaNet) -> None:
    pool, said = make_pool(), list[str]()
    undecided = pool.state_dict()
    pool.look(model, said.append)
    decision = pool.state_dict()
    pool.file.unlink()
    # Another model would decide otherwise.
    broken = RetinaNet.__new__(RetinaNet)
    pool.look(broken, said.append)
    resumed = make_pool()
    resumed.load_state_dict(decision)
    resumed.look(broken, said.append)
    assert resumed.serving() == pool.serving() == list(range(NUM_ALIKE))
    assert len(said) == 1
    assert not pool.file.exists()

    resumed.load_state_dict(undecided)
    resumed.look(model, said.append)
    assert resumed.state_dict() == decision


def test_another_action_or_other_images_are_decided_on_anew(
    make_pool: Callable[..., UnlabeledPool], records: tuple[list[ImageRecord], list[ImageRecord]], model: RetinaNet
) -> None:
    flagged = make_pool(action="flag")
    flagged.look(model, lambda line: None)
    assert flagged.serving() is None
    resumed = make_pool(action="leave_out")
    resumed.load_state_dict(flagged.state_dict())
    resumed.look(model, lambda line: None)
    assert resumed.state_dict()["left_out"] == FOREIGN
    # The foreign ones come first now.
    other = make_pool(unlabeled=records[1][::-1])
    other.load_state_dict(resumed.state_dict())
    other.look(model, lambda line: None)
    assert other.state_dict()["left_out"] == list(range(NUM_FOREIGN))


def test_of_a_large_pool_a_sample_by_the_seed_is_looked_at_unless_images_are_left_out(
    make_pool: Callable[..., UnlabeledPool], model: RetinaNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unlabeled_pool, "MAX_LOOKED_AT", 22)
    read: list[set[int]] = []
    for changes in ({"action": "flag"}, {"action": "flag"}, {"action": "flag", "seed": 4}, {"action": "leave_out"}):
        pool, said = make_pool(**changes), list[str]()
        places: set[int] = set()
        pool.pool._read = _noting(pool.pool, places)  # type: ignore[method-assign]
        pool.look(model, said.append)
        read.append(places)
        if changes["action"] == "flag":
            assert len(places) == 22
            assert "of 22 unlabeled images looked at, of 23, look unlike" in said[0]
        else:
            assert said[0] == ("far images: looking at all 23 unlabeled images, to leave the far ones out")
    assert read[0] == read[1] != read[2]
    assert len(read[3]) == 23


def _noting(images: ImageDataset, places: set[int]) -> Callable[[ImageRecord], Any]:
    read = images._read

    def noted(record: ImageRecord) -> Any:
        places.add(list(images.records).index(record))
        return read(record)

    return noted


def test_labeled_images_that_serve_too_are_neither_looked_at_nor_left_out(
    make_pool: Callable[..., UnlabeledPool], records: tuple[list[ImageRecord], list[ImageRecord]], model: RetinaNet
) -> None:
    unlabeled = records[1]
    # Foreign ones at the end, which would be left out if they were looked at.
    pool = make_pool(unlabeled=unlabeled + unlabeled[-2:], num_unlabeled=len(unlabeled))
    pool.look(model, lambda _: None)
    assert pool.serving() == [*range(NUM_ALIKE), len(unlabeled), len(unlabeled) + 1]
    assert len(listed(pool)) == NUM_FOREIGN


def test_what_cannot_be_read_is_passed_over(
    make_pool: Callable[..., UnlabeledPool],
    records: tuple[list[ImageRecord], list[ImageRecord]],
    model: RetinaNet,
    tmp_path: Path,
) -> None:
    missing = ImageRecord.plain("missing", tmp_path / "missing.png", (64, 64))
    pool, said = make_pool([missing, *records[0]], [missing, *records[1]]), list[str]()
    pool.look(model, said.append)
    assert pool.serving() == list(range(1 + NUM_ALIKE))
    assert "3 of 23 unlabeled images" in said[0]
    assert all(row["nearest_labeled"] != str(missing.path) for row in listed(pool))

    pool = make_pool([missing], records[1])
    pool.look(model, said.append)
    assert pool.serving() is None, "nothing to compare with"
    assert "not looked for" in said[-1]


def test_a_teacher_that_broke_leaves_nothing_out(make_pool: Callable[..., UnlabeledPool], make_model: Any) -> None:
    broken = make_model().eval()
    torch.nn.init.constant_(next(broken.parameters()), torch.nan)
    pool, said = make_pool(), list[str]()
    pool.look(broken, said.append)
    assert pool.serving() is None
    assert said == ["far images: not looked for; no labeled image can be read, or the teacher's features aren't finite"]


def one_rank(rank: int, folder: Path) -> None:
    """A process of two."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    pools, model = torch.load(folder / "pools.pt", weights_only=False)
    for pool in pools:
        pool.rank = rank
        pool.look(model, lambda _: None)
    torch.save([pool.state_dict() for pool in pools], folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_decide_as_one(
    make_pool: Callable[..., UnlabeledPool],
    records: tuple[list[ImageRecord], list[ImageRecord]],
    model: RetinaNet,
    tmp_path: Path,
) -> None:
    # One labeled image: a process without any of its own.
    pools = [make_pool(), make_pool(labeled=records[0][:1], file=tmp_path / "single.csv")]
    torch.save((pools, model), tmp_path / "pools.pt")
    expected = []
    for pool in pools:
        pool.look(model, lambda _: None)
        expected.append((pool.state_dict(), pool.file.read_text()))
        pool.file.unlink()
    torch.multiprocessing.spawn(one_rank, args=(tmp_path,), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first == second == [decision for decision, _ in expected]
    assert [pool.file.read_text() for pool in pools] == [text for _, text in expected]
    assert expected[0][0]["left_out"] == FOREIGN
