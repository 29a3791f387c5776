import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from softdet.doctor import gathering
from softdet.doctor.cache import FactCache, cache_folder
from softdet.doctor.facts import Facts
from softdet.doctor.gathering import gather, stamps_of


@pytest.fixture
def paths(tmp_path: Path, draw: Callable[..., Image.Image]) -> list[Path]:
    names = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(names):
        draw(number).save(path)
    Image.new("L", (9, 9)).save(names[2])
    names[3].write_text("no picture")
    return names


def test_facts_come_back_as_they_were(tmp_path: Path, paths: list[Path]) -> None:
    first = gather(paths, stamps_of(paths), FactCache(tmp_path / "cache"))
    cache = FactCache(tmp_path / "cache")
    assert cache.load(paths, stamps_of(paths)) == dict(enumerate(first))


def test_known_files_are_not_opened_again(tmp_path: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FactCache(tmp_path / "cache")
    first = gather(paths, stamps_of(paths), cache)
    opened: list[Path] = []

    def examine(path: Path) -> Facts:
        opened.append(path)
        return Facts("empty")

    monkeypatch.setattr(gathering, "examine_file", examine)
    assert gather(paths, stamps_of(paths), cache) == first
    assert opened == []
    os.utime(paths[1], ns=(1, 1))
    assert gather(paths, stamps_of(paths), cache)[1] == Facts("empty")
    assert opened == [paths[1]]


def test_a_missing_file_is_not_kept(tmp_path: Path, paths: list[Path]) -> None:
    cache, gone = FactCache(tmp_path / "cache"), tmp_path / "gone.png"
    assert gather([gone], stamps_of([gone]), cache)[0].status == "missing"
    assert cache.load([gone], stamps_of([gone])) == {}


def test_a_folder_that_is_none_is_no_cache_and_no_error(tmp_path: Path, paths: list[Path]) -> None:
    (tmp_path / "file").write_text("")
    cache = FactCache(tmp_path / "file" / "cache")
    assert len(gather(paths, stamps_of(paths), cache)) == 4
    assert cache.load(paths, stamps_of(paths)) == {}


def test_a_damaged_file_is_no_cache_and_no_error(tmp_path: Path, paths: list[Path]) -> None:
    gather(paths, stamps_of(paths), FactCache(tmp_path / "cache"))
    (file,) = (tmp_path / "cache").glob("*.sqlite")
    file.write_bytes(b"no database at all" * 100)
    assert len(gather(paths, stamps_of(paths), FactCache(tmp_path / "cache"))) == 4


def test_progress_is_told(tmp_path: Path, paths: list[Path]) -> None:
    told: list[tuple[int, int]] = []
    gather(paths, stamps_of(paths), None, lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_folder_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "softdet"


def test_a_name_that_is_no_utf_8_is_kept_too(tmp_path: Path, draw: Callable[..., Image.Image]) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    with path.open("wb") as file:
        draw(0).save(file, format="PNG")
    first = gather([path], stamps_of([path]), FactCache(tmp_path / "cache"))
    assert FactCache(tmp_path / "cache").load([path], stamps_of([path])) == {0: first[0]}
