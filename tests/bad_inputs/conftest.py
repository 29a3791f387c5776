"""A place of its own for each mistake, and what must hold of every one: told without a traceback, nothing changed."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Command = Callable[..., int]


class Place:
    """A folder with the set of squares, and ways to spoil it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        return (self.path / name).read_bytes()

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file, and the folders on the way."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def cut(self, name: str, length: int = 200) -> None:
        """Keep the beginning of a file."""
        self.write(name, self.read(name)[:length])

    def replace(self, name: str, old: str, new: str) -> None:
        """Change the text of a file."""
        assert old.encode() in self.read(name)
        self.write(name, self.read(name).replace(old.encode(), new.encode()))

    def edit(self, name: str, change: Callable[[Any], Any]) -> None:
        """Change the content of a JSON file."""
        content = json.loads(self.read(name))
        change(content)
        self.write(name, json.dumps(content))

    def pictures(self, folder: str, num: int) -> None:
        """Draw 0.png, 1.png ... of noise."""
        rng = np.random.default_rng(0)
        (self.path / folder).mkdir(parents=True, exist_ok=True)
        for number in range(num):
            pixels = rng.integers(0, 255, (80, 100, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(self.path / folder / f"{number}.png")

    def state(self) -> dict[str, bytes | None]:
        """All files and folders."""
        found = sorted(self.path.rglob("*"))
        return {str(path.relative_to(self.path)): path.read_bytes() if path.is_file() else None for path in found}


@pytest.fixture
def place(squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy of the squares, where the command runs."""
    folder = tmp_path / "here"
    shutil.copytree(squares, folder)
    for config in folder.glob("*.yaml"):
        config.write_text(config.read_text().replace(str(squares), str(folder)))
    monkeypatch.chdir(folder)
    return Place(folder)


@pytest.fixture
def place_with_run(place: Place, squares: Path, tiny_run: Path) -> Place:
    """The same, with a finished run in it."""
    from softdet.config import load_config, save_config

    run = place.path / "run"
    shutil.copytree(tiny_run, run)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(squares), str(place.path)))
    save_config(load_config(config, [f"model.exp_path={run}"]), config)
    return place


@pytest.fixture
def refuses(softdet: Command, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Run a command that must be refused: `refuses(place, arguments, parts of what is said...)`."""

    def check(place: Place, arguments: str, *said: str, code: int = 2) -> None:
        before = place.state()
        capsys.readouterr()
        assert softdet(*shlex.split(arguments)) == code
        told = capsys.readouterr()
        # A terminal breaks the lines of usage errors.
        text = " ".join((told.out + told.err).replace("│", " ").split())
        assert "Traceback" not in text
        for part in said:
            assert part in text
        assert place.state() == before

    return check
