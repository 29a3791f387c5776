"""Unlabeled images in whatever form."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from labeled_sets import random_content, write_coco, write_picture, write_text
from PIL import Image

from softdet.data.sources import video
from softdet.data.sources.parts import Tally
from softdet.data.sources.unlabeled import read_unlabeled
from softdet.errors import DataError


@pytest.fixture
def pile(tmp_path: Path) -> Path:
    for name in ("a.png", "deep/b.JPG", "deep/er/c.webp", ".hidden/d.png"):
        write_picture(tmp_path / "pile" / name, (20, 10), format="PNG")
    write_text(tmp_path / "pile" / "notes.txt", "a.png\n")
    write_text(tmp_path / "pile" / "._a.png", "")
    return tmp_path / "pile"


def names(source: str | Path, out: Path, dropped: Tally | None = None) -> list[str]:
    return [path.name for path in read_unlabeled(source, out / "frames", 30, dropped or Tally())]


def test_a_folder_is_searched_below(pile: Path, tmp_path: Path) -> None:
    assert names(pile, tmp_path / "out") == ["a.png", "b.JPG", "c.webp"]
    assert names(str(pile), tmp_path / "out") == ["a.png", "b.JPG", "c.webp"]


def test_what_was_written_below_the_folder_is_no_source(pile: Path) -> None:
    write_picture(pile / "out" / "images" / "train" / "x.png", (9, 9))
    assert names(pile, pile / "out") == ["a.png", "b.JPG", "c.webp"]


def test_a_source_below_the_folder_to_write_to_keeps_its_images(pile: Path) -> None:
    write_picture(pile / "frames" / "film.mp4" / "x.png", (9, 9))
    for out in (pile, pile.parent):
        assert names(pile / "deep", out) == ["b.JPG", "c.webp"]
    assert names(pile, pile) == ["a.png", "b.JPG", "c.webp"], "but for its frames"


@pytest.mark.parametrize(
    ("pattern", "found"), [("*.png", ["a.png"]), ("**/*.JPG", ["b.JPG"]), ("deep/**", ["b.JPG", "c.webp"])]
)
def test_a_pattern(pattern: str, found: list[str], pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(f"{pile}/{pattern}", tmp_path / "out") == found
    monkeypatch.chdir(pile)
    assert names(pattern, tmp_path / "out") == found


def test_a_way_back_and_down_again_finds_no_output(pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_picture(pile / "out" / "drawings" / "x.png", (9, 9))
    write_picture(pile / "out" / "frames" / "v.mp4" / "y.png", (9, 9))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert names("../pile/**/*.png", Path("../pile/out")) == ["a.png"]


def test_a_list_keeps_its_order_and_counts_what_is_not_there(pile: Path, tmp_path: Path) -> None:
    listed = write_text(tmp_path / "list.txt", f"# mine\n{pile}/deep/b.JPG\n\npile/a.png\ngone.png\npile/a.png\n")
    dropped = Tally()
    assert names(listed, tmp_path / "out", dropped) == ["b.JPG", "a.png"]
    assert dropped.rows() == [("listed images that aren't there", 1, ("gone.png",))]


def test_an_index_and_one_image(pile: Path, tmp_path: Path) -> None:
    assert len(names(write_coco(random_content(0, 4), tmp_path / "coco"), tmp_path / "out")) == 4
    assert names(pile / "a.png", tmp_path / "out") == ["a.png"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("gone", "there is no file or folder .*gone"),
        ("*.bmp", r"no file matches .*\*.bmp"),
        ("pile/*.txt", "no image and no video in it"),
        ("empty.txt", r"empty.txt: none of its 1 lines is a file"),
    ],
)
def test_nothing_there(source: str, said: str, pile: Path, tmp_path: Path) -> None:
    write_text(tmp_path / "empty.txt", "gone.png\n")
    with pytest.raises(DataError, match=said):
        names(str(tmp_path / source), tmp_path / "out")


def test_a_video_without_the_extra_names_the_line_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    write_text(tmp_path / "pile" / "film.MP4", "film")
    with pytest.raises(DataError, match=r"film.MP4 is a video, .* pip install av"):
        names(tmp_path / "pile", tmp_path / "out")
    # Nothing half done is left.
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


# The extra is part of the development environment; without it there is nothing to decode with.
if find_spec("av") is not None:

    def write_film(path: Path, num_frames: int) -> Path:
        import av

        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(num_frames):
                picture = Image.new("RGB", (64, 48), (10 * number, 0, 0))
                for packet in stream.encode(av.VideoFrame.from_image(picture)):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
        return path

    def test_frames_are_written_once_and_anew_when_asked_otherwise(tmp_path: Path) -> None:
        film = write_film(tmp_path / "pile" / "deep" / "film.mp4", 12)
        write_picture(tmp_path / "pile" / "a.png", (9, 9))
        frames = tmp_path / "out" / "frames"
        found = read_unlabeled(tmp_path / "pile", frames, 5, Tally())
        assert [path.name for path in found] == ["a.png", "000000.jpg", "000005.jpg", "000010.jpg"]
        assert found[1].parent == frames / "deep" / "film.mp4"
        with Image.open(found[3]) as picture:
            assert picture.size == (64, 48)
            assert picture.getpixel((9, 9))[0] == pytest.approx(100, abs=12)
        before = found[1].stat().st_mtime_ns
        assert read_unlabeled(tmp_path / "pile", frames, 5, Tally()) == found
        assert found[1].stat().st_mtime_ns == before
        assert len(read_unlabeled(film, frames, 4, Tally())) == 3
        assert json.loads((frames / "film.mp4" / "frames.json").read_text())["every"] == 4

    def test_files_that_are_no_frames_stay(tmp_path: Path) -> None:
        film = write_film(tmp_path / "film.mp4", 3)
        write_text(tmp_path / "out" / "frames" / "film.mp4" / "mine.txt", "mine")
        with pytest.raises(DataError, match=r"holds files that aren't frames of .*film.mp4"):
            names(film, tmp_path / "out")
        with pytest.raises(DataError, match="--every 0"):
            read_unlabeled(film, tmp_path / "out" / "frames", 0, Tally())

    def test_a_film_that_cannot_be_read(tmp_path: Path) -> None:
        film = write_text(tmp_path / "film.mp4", "no film")
        with pytest.raises(DataError, match=r"film.mp4: can't be read as a video .* Is the file cut off"):
            names(film, tmp_path / "out")
        assert not (tmp_path / "out" / "frames" / "film.mp4").exists()


def test_videos_of_one_name_keep_their_frames_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    def decode(film: Path, folder: Path, every: int) -> int:
        decoded.append(film.parent.name)
        for number in range(int(film.read_text())):
            (folder / f"{number:06d}.jpg").write_text(film.parent.name)
        return 1

    monkeypatch.setattr(video, "_decode", decode)
    for camera, length in (("cam1", 2), ("cam2", 3)):
        (tmp_path / camera).mkdir()
        (tmp_path / camera / "clip.mp4").write_text(str(length))

    def frames() -> list[str]:
        files = read_unlabeled(str(tmp_path / "cam*" / "clip.mp4"), tmp_path / "frames", 1, Tally())
        return [file.read_text() for file in files]

    assert frames() == frames() == ["cam1", "cam1", "cam2", "cam2", "cam2"]
    # One call for each, as `predict` makes them.
    for camera, length in (("cam2", 3), ("cam1", 2)):
        assert len(read_unlabeled(tmp_path / camera, tmp_path / "frames", 1, Tally())) == length
    assert decoded == ["cam1", "cam2"]
    # The same video, changed: its frames are written anew, where they were.
    (tmp_path / "cam1" / "clip.mp4").write_text("04")
    assert frames() == ["cam1"] * 4 + ["cam2"] * 3
    assert {folder.name for folder in (tmp_path / "frames").iterdir()} == {"clip.mp4", "clip_2.mp4"}


def test_pictures_in_unread_forms_are_counted(tmp_path: Path) -> None:
    for name in ("0.png", "1.HEIC", "2.avif", "notes.txt"):
        (tmp_path / name).write_text("")
    dropped = Tally()
    assert [file.name for file in read_unlabeled(tmp_path, tmp_path / "frames", 1, dropped)] == ["0.png"]
    assert dropped.rows() == [("pictures in a form that isn't read: convert them to JPEG", 2, ("1.HEIC", "2.avif"))]


def test_a_list_with_the_slashes_of_windows(pile: Path, tmp_path: Path) -> None:
    listed = write_text(tmp_path / "list.txt", "pile\\deep\\b.JPG\npile/a.png\n")
    names = [file.name for file in read_unlabeled(listed, tmp_path / "frames", 1, Tally())]
    assert names == ["b.JPG", "a.png"]
    images = [{"id": 1, "file_name": "pile\\deep\\b.JPG", "width": 20, "height": 10}]
    (tmp_path / "list.json").write_text(json.dumps({"images": images}))
    assert read_unlabeled(tmp_path / "list.json", tmp_path / "frames", 1, Tally()) == [pile / "deep" / "b.JPG"]
