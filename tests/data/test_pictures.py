"""The pictures of a job: every kind of source, each file once, and names that no two outputs share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from softdet.data.pictures import Picture, list_pictures, unique_names
from softdet.data.sources.parts import Tally
from softdet.errors import DataError


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10)).save(path)
    return path


def listed(*sources: str | Path, frames: Path = Path("never"), every: int = 1) -> list[Picture]:
    return list_pictures(sources, frames=frames, every=every, dropped=Tally())


def test_a_folders_pictures_are_named_by_their_way(tmp_path: Path) -> None:
    picture(tmp_path / "b" / "day" / "1.PNG")
    picture(tmp_path / "b" / "2.jpg")
    assert [(each.id, each.name) for each in listed(tmp_path / "b")] == [(1, "2.jpg"), (2, "day/1.PNG")]


def test_files_patterns_lists_and_folders_may_be_mixed_and_a_file_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.png", "a/2.jpg", "b/3.png", "c/4.png"):
        picture(tmp_path / name)
    (tmp_path / "list.txt").write_text("b/3.png\nb/none.png\n")
    dropped = Tally()
    sources = ["a/*.png", "list.txt", "a", "c/4.png"]
    found = list_pictures(sources, frames=tmp_path / "out" / "frames", every=1, dropped=dropped)
    assert [each.path.resolve() for each in found] == [
        (tmp_path / name).resolve() for name in ("a/1.png", "b/3.png", "a/2.jpg", "c/4.png")
    ]
    assert [each.id for each in found] == [1, 2, 3, 4]
    assert dropped.counts.total() == 1


def test_no_name_leads_out_of_the_folder_that_outputs_go_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lists/here.png", "pool/there.png", "pool/deep/er.png", "work/own.png"):
        picture(tmp_path / name)
    (tmp_path / "lists" / "all.txt").write_text("here.png\n../pool/there.png\n")
    monkeypatch.chdir(tmp_path / "work")
    for sources in (["../lists/all.txt"], ["../*/*.png", "own.png"], ["../pool", "../lists/here.png"]):
        found = listed(*sources)
        assert len(found) > 1
        assert not any(".." in Path(each.name).parts or Path(each.name).is_absolute() for each in found)
    coco = tmp_path / "work" / "all.json"
    entries = [
        {"id": number, "file_name": name, "width": 20, "height": 10}
        for number, name in enumerate(("own.png", "../pool/there.png"))
    ]
    coco.write_text(json.dumps({"images": entries}))
    assert sorted(each.name for each in listed(coco)) == ["pool/there.png", "work/own.png"]


def test_a_coco_json_gives_its_ids_and_sizes(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "x.png")
    images = [{"id": 70, "file_name": "x.png", "width": 20, "height": 10}]
    (tmp_path / "some.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    (each,) = listed(tmp_path / "some.json")
    assert (each.id, each.name, each.size) == (70, "x.png", (10, 20))


def test_names_are_unique_endings_and_capital_letters_aside() -> None:
    names = ["1.jpg", "1.png", "a/1.png", "A/1.jpg", "1_2.jpg"]
    unique = list(unique_names(names))
    assert unique == ["1.jpg", "1_2.png", "a/1.png", "A/1_2.jpg", "1_2_2.jpg"]
    assert len({name.rpartition(".")[0].lower() for name in unique}) == len(names)


def test_the_same_name_in_two_sources_stays_two(tmp_path: Path) -> None:
    sources = [picture(tmp_path / folder / "1.png").parent for folder in ("a", "b")]
    assert [each.name for each in listed(*sources)] == ["1.png", "1_2.png"]


def test_a_videos_frames_are_named_by_the_video(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for shade in range(5):
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (shade * 40,) * 3))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found = listed(tmp_path / "clip.mp4", frames=tmp_path / "out" / "frames", every=2)
    assert [each.name for each in found] == [f"clip.mp4/{number:06d}.jpg" for number in (0, 2, 4)]
    assert all(each.path.is_file() for each in found)


def test_sources_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source, reason in (("none.jpg", "no file or folder"), ("empty", "no image"), ("*.png", "no file matches")):
        with pytest.raises(DataError, match=reason) as error:
            listed(tmp_path / source)
        assert str(tmp_path / source) in str(error.value)
