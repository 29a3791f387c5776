import json
import os
from pathlib import Path

import pytest

from softdet.data.index_writing import relative_path, write_index
from softdet.errors import DataError


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.json"
    write_index(path, {"images": ["old"]})

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_index(path, {"images": ["new"]})
    assert json.loads(path.read_text()) == {"images": ["old"]}
    assert [file.name for file in tmp_path.iterdir()] == ["index.json"]


def test_a_write_replaces_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    write_index(path, {"images": ["old"]})
    # A second name of the file shows whether it was replaced or written over.
    (tmp_path / "same.json").hardlink_to(path)
    write_index(path, {"images": ["new"]})
    assert json.loads((tmp_path / "same.json").read_text()) == {"images": ["old"]}
    assert json.loads(path.read_text()) == {"images": ["new"]}


def test_content_that_is_no_json_touches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    write_index(path, {"images": ["old"]})
    with pytest.raises(TypeError):
        write_index(path, {"images": [object()]})
    assert json.loads(path.read_text()) == {"images": ["old"]}


def test_a_folder_that_cannot_be_made_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="can't be written"):
        write_index(tmp_path / "file" / "index.json", {"images": []})


def test_a_linked_root_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "coco").symlink_to(tmp_path / "disk", target_is_directory=True)
    assert relative_path(tmp_path / "coco", tmp_path) == "coco"


def test_the_way_starts_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "disk" / "deep", target_is_directory=True)
    way = relative_path(tmp_path / "coco", tmp_path / "data")
    assert way == "../../coco"
    assert (tmp_path / "data" / way).resolve() == tmp_path / "coco"
