"""Rows on disk: nothing is lost or done twice, whatever interrupts the writing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from softdet.data.writers.found import FoundImage
from softdet.deploy.shards import FoundImages, ShardWriter, append_rows, read_rows, require_shards
from softdet.errors import RunError


def image(number: int) -> FoundImage:
    box = np.array([[number, 0.1, number + 1, 2]], np.float32)
    return FoundImage(
        number, f"{number}.png", Path(f"{number}.png"), (4, 5), box, np.array([1]), np.ones(1, np.float32)
    )


def test_shards_are_merged_in_the_order_of_the_list(tmp_path: Path) -> None:
    paths = (tmp_path / "0.jsonl", tmp_path / "1.jsonl")
    for rank, path in enumerate(paths):
        with ShardWriter(path, {"rank": rank}) as writer:
            for place in range(rank, 7, 2):
                if place == 4:
                    writer.failed(place, "4.png is broken")
                else:
                    writer.found(place, image(place))
    found = FoundImages(paths)
    for _ in range(2):
        assert [each.id for each in found] == [0, 1, 2, 3, 5, 6]
        assert list(found.failures()) == ["4.png is broken"]
    assert np.array_equal(list(found)[3].boxes, image(3).boxes)


def test_an_interrupted_shard_is_taken_up_after_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "0.jsonl"
    with ShardWriter(path, {"threshold": 0.5}) as writer:
        assert writer.num_rows == 0
        for place in range(3):
            writer.found(place, image(place))
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with ShardWriter(path, {"threshold": 0.5}) as writer:
        assert writer.num_rows == 2
        writer.found(2, image(2))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("left", [b"", b"{", b'{"threshold": 0.4}\n{"place": 0, "failure": ""}\n'])
def test_what_another_job_has_left_counts_for_nothing(left: bytes, tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_bytes(left)
    with ShardWriter(tmp_path / "0.jsonl", {"threshold": 0.5}) as writer:
        assert writer.num_rows == 0
    assert list(FoundImages((tmp_path / "0.jsonl",))) == []


def test_a_missing_shard_says_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"1 of 1 processes left no .*0\.jsonl.*all of them see"):
        require_shards([tmp_path / "0.jsonl"])


def test_rows_that_are_appended_come_back_in_order(tmp_path: Path) -> None:
    assert list(read_rows(tmp_path / "rows.jsonl")) == []
    append_rows(tmp_path / "rows.jsonl", [image(1), image(2)])
    append_rows(tmp_path / "rows.jsonl", [image(1)])
    assert [each.id for each in read_rows(tmp_path / "rows.jsonl")] == [1, 2, 1]
    assert all(each.path.is_absolute() for each in read_rows(tmp_path / "rows.jsonl"))


def test_a_line_that_was_cut_costs_no_other(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    append_rows(rows, [image(1), image(2)])
    rows.write_bytes(rows.read_bytes()[:-20])
    assert [each.id for each in read_rows(rows)] == [1]
    append_rows(rows, [image(3)])
    assert [each.id for each in read_rows(rows)] == [1, 3]
