"""Files are whole or not there."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from softdet.files import digest, whole_file, write_json


def test_a_block_that_ends_well_leaves_its_file_alone_in_the_folder(tmp_path: Path) -> None:
    with whole_file(tmp_path / "new" / "numbers.txt") as draft:
        draft.write_text("12")
        assert not (tmp_path / "new" / "numbers.txt").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["numbers.txt"]
    assert (tmp_path / "new" / "numbers.txt").read_text() == "12"


def write_half_of(path: Path) -> None:
    with whole_file(path) as draft:
        draft.write_text("n")
        raise KeyboardInterrupt


def test_a_block_that_breaks_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "numbers.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_half_of(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_that_names_no_file_or_the_draft_names_the_file(tmp_path: Path) -> None:
    path, other = tmp_path / "numbers.txt", str(tmp_path / "other")
    for named, told in ((None, str(path)), ("draft", str(path)), (other, other)):
        with pytest.raises(OSError, match="No space left") as caught, whole_file(path) as draft:  # noqa: PT012
            error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            error.filename = str(draft) if named == "draft" else named
            raise error
        assert caught.value.filename == told


def test_the_draft_lies_beside_the_file_so_that_moving_it_is_one_step(tmp_path: Path) -> None:
    with whole_file(tmp_path / "numbers.txt") as draft:
        assert draft.parent == tmp_path
        assert str(os.getpid()) in draft.name
        draft.touch()


def test_json_comes_back(tmp_path: Path) -> None:
    content = {"name": "größe", "numbers": [1, 2.5, None]}
    write_json(tmp_path / "a.json", content)
    write_json(tmp_path / "b.json", content, indent=None)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == content
    assert json.loads((tmp_path / "b.json").read_text(encoding="utf-8")) == content
    assert "\n" not in (tmp_path / "b.json").read_text()


def test_json_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def test_a_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"soft teacher")
    assert digest(tmp_path / "a") == hashlib.sha256(b"soft teacher").hexdigest()
    (tmp_path / "a").write_bytes(b"soft teachers")
    assert digest(tmp_path / "a") != hashlib.sha256(b"soft teacher").hexdigest()
