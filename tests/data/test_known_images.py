"""Images that come back under other names, and labels that come back without their images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from labeled_sets import write_picture
from PIL import Image

from softdet.data.known_images import KnownImages, with_images
from softdet.data.sources.finding import images_below
from softdet.errors import DataError


def known(tmp_path: Path, *names: str) -> KnownImages:
    for name in names:
        path = tmp_path / "pool" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return KnownImages((name, tmp_path / "pool" / name) for name in names)


@pytest.mark.parametrize(
    ("came_back", "is_"),
    [
        ("pool/a/1.png", "a/1.png"),
        ("out/images/a/1.png", "a/1.png"),
        ("out/images/B/1.jpg", None),
        ("out/images/b/1.png", "b/1.png"),
        ("out/images/1.png", None),
        ("out/images/2.png", "2.png"),
        ("out/images/2.jpg", "2.png"),
        ("upload/1/f3c1a2b4-2.png", "2.png"),
        ("out/3.png", None),
    ],
)
def test_an_image_is_known_by_its_file_or_the_end_of_its_path(came_back: str, is_: str | None, tmp_path: Path) -> None:
    images = known(tmp_path, "a/1.png", "b/1.png", "2.png")
    found = images.find(tmp_path / came_back)
    assert found == (None if is_ is None else (tmp_path / "pool" / is_).resolve())


def test_labels_with_their_images_stay_where_they_are(tmp_path: Path) -> None:
    known(tmp_path, "1.png")
    with with_images(tmp_path / "pool", KnownImages(())) as place:
        assert place == tmp_path / "pool"


def test_a_lone_file_gets_the_images_beside_it_for_a_while(tmp_path: Path) -> None:
    images = known(tmp_path, "a/1.png", "2.png")
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "annotations.xml").write_text("<annotations/>")
    with with_images(tmp_path / "back" / "annotations.xml", images) as place:
        assert place.read_text() == "<annotations/>"
        assert (place.parent / "images" / "a" / "1.png").read_bytes() == b"a/1.png"
        assert (place.parent / "images" / "2.png").resolve() == (tmp_path / "pool" / "2.png").resolve()
    assert not place.parent.exists()
    assert (tmp_path / "pool" / "2.png").is_file()


def test_a_folder_of_other_pictures_beside_the_file_is_not_taken_for_its_images(tmp_path: Path) -> None:
    images = known(tmp_path, "1.png", "2.png")
    (tmp_path / "back" / "images").mkdir(parents=True)
    corrected = tmp_path / "back" / "corrected.json"
    corrected.write_text('{"images": [{"file_name": "images\\\\caf\\u00e9.png"}]}')
    (tmp_path / "back" / "images" / "other.png").write_text("")
    with with_images(corrected, images) as place:
        assert (place.parent / "images" / "1.png").read_bytes() == b"1.png"
    (tmp_path / "back" / "images" / "café.png").write_text("")
    with with_images(corrected, images) as place:
        assert place == corrected


@pytest.mark.parametrize("is_file", [True, False])
def test_an_error_speaks_of_the_labels_where_people_have_them(tmp_path: Path, *, is_file: bool) -> None:
    images = known(tmp_path, "1.png")
    labels = tmp_path / "back" / "1.txt"
    labels.parent.mkdir()
    labels.write_text("0 1 1")
    corrected = labels if is_file else labels.parent
    with pytest.raises(DataError) as caught, with_images(corrected, images) as place:
        raise DataError(f"{place if is_file else place / '1.txt'}:1: three numbers")
    assert str(caught.value) == f"{labels}:1: three numbers"


@pytest.mark.parametrize("folder", ["labels/train", "obj_train_data"])
def test_yolos_text_files_get_the_images_that_they_speak_of(folder: str, tmp_path: Path) -> None:
    images = known(tmp_path, "1.png", "2.png")
    (tmp_path / "back" / folder).mkdir(parents=True)
    (tmp_path / "back" / folder / "2.txt").write_text("")
    (tmp_path / "back" / "train.txt").write_text("")
    with with_images(tmp_path / "back", images) as place:
        linked = [path.relative_to(place).as_posix() for path in place.rglob("*.png")]
        assert linked == [f"{folder.replace('labels', 'images')}/2.png"]


def test_of_pictures_of_one_name_each_is_known_by_its_content(tmp_path: Path) -> None:
    known(tmp_path, "cam1/1.png", "cam2/1.png", "2.png")
    pool = tmp_path / "pool"
    images = KnownImages((path.name, path) for path in (pool / "cam1/1.png", pool / "cam2/1.png", pool / "2.png"))
    back = tmp_path / "back" / "images"
    back.mkdir(parents=True)
    (back / "1.png").hardlink_to(pool / "cam1" / "1.png")
    assert images.find(back / "1.png") == (pool / "cam1" / "1.png").resolve()
    assert images.find(tmp_path / "elsewhere" / "1.png") is None
    (back / "2.png").write_text("another picture")
    assert images.find(back / "2.png") is None


@pytest.mark.parametrize("text", ['<image name="1.png"/>', "<annotations/>"])
def test_a_shared_name_without_its_image_is_an_error_where_it_is_asked_for(text: str, tmp_path: Path) -> None:
    known(tmp_path, "cam1/1.png", "cam2/1.png", "2.png")
    pool = tmp_path / "pool"
    images = KnownImages((path.name, path) for path in (pool / "cam1/1.png", pool / "cam2/1.png", pool / "2.png"))
    corrected = tmp_path / "back" / "annotations.xml"
    corrected.parent.mkdir()
    corrected.write_text(text)
    if "1.png" in text:
        with (
            pytest.raises(DataError, match=r"1\.png may be .*cam1.* or .*cam2") as caught,
            with_images(corrected, images),
        ):
            pass
        assert "softdet_merge_" not in str(caught.value)
    else:
        with with_images(corrected, images) as place:
            assert [path.name for path in (place.parent / "images").iterdir()] == ["2.png"]


def test_one_picture_that_moved_or_was_copied_is_no_other(tmp_path: Path) -> None:
    known(tmp_path, "1.png")
    copy = tmp_path / "copy" / "1.png"
    copy.parent.mkdir()
    copy.write_bytes((tmp_path / "pool" / "1.png").read_bytes())
    images = KnownImages(("1.png", path) for path in (tmp_path / "gone" / "1.png", tmp_path / "pool" / "1.png", copy))
    assert images.find(tmp_path / "back" / "1.png") == images.named("1.png") == copy.resolve()


def test_a_stated_folder_tells_pictures_of_one_name_apart(tmp_path: Path) -> None:
    known(tmp_path, "cam1/1.png", "cam2/1.png", "2.png")
    pool = tmp_path / "pool"
    of_the_list = [(name.rpartition("/")[2], pool / name) for name in ("cam1/1.png", "cam2/1.png", "2.png")]
    images = KnownImages([*of_the_list, *((name, pool / name) for name in ("cam1/1.png", "cam2/1.png"))])
    corrected = tmp_path / "back" / "annotations.xml"
    corrected.parent.mkdir()
    corrected.write_text('<image name="cam1/1.png"/><image name="cam2/1.png"/>')
    with with_images(corrected, images) as place:
        linked = {path.relative_to(place.parent / "images").as_posix() for path in images_below(place.parent)}
        assert linked == {"cam1/1.png", "cam2/1.png", "2.png"}


def test_a_picture_that_a_tool_wrote_anew_is_known_by_its_looks(tmp_path: Path) -> None:
    for name, colour in (("1.png", 30), ("2.png", 200)):
        write_picture(tmp_path / "pool" / name, (40, 30), colour)
    images = KnownImages((name, tmp_path / "pool" / name) for name in ("1.png", "2.png"))
    (tmp_path / "back").mkdir()
    with Image.open(tmp_path / "pool" / "1.png") as picture:
        picture.convert("RGB").save(tmp_path / "back" / "1.jpg", quality=80)
        picture.convert("RGB").resize((20, 15)).save(tmp_path / "back" / "2.jpg")
    assert images.find(tmp_path / "back" / "1.jpg") == (tmp_path / "pool" / "1.png").resolve()
    assert images.find(tmp_path / "back" / "2.jpg") is None, "another size, so other boxes"
    shutil.copy(tmp_path / "back" / "1.jpg", tmp_path / "back" / "2.png")
    assert images.find(tmp_path / "back" / "2.png") is None, "another picture"


def test_a_thing_that_moved_before_a_still_camera_makes_another_picture(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    scene = Image.fromarray(noise).resize((640, 480))
    for place, (x, y) in (("pool", (50, 60)), ("back", (400, 300))):
        (tmp_path / place).mkdir()
        frame = scene.copy()
        frame.paste((200, 30, 30), (x, y, x + 120, y + 80))
        frame.save(tmp_path / place / "1.png")
        frame.save(tmp_path / place / "same.jpg", quality=75)
    images = KnownImages([("1.png", tmp_path / "pool" / "1.png")])
    assert images.find(tmp_path / "back" / "1.png") is None
    (tmp_path / "pool" / "same.jpg").rename(tmp_path / "back" / "1.jpg")
    assert images.find(tmp_path / "back" / "1.jpg") == (tmp_path / "pool" / "1.png").resolve()


@pytest.mark.parametrize("names", [("1.jpg", "1.png"), ("1.png", "1.jpg")])
def test_the_pictures_of_a_lone_file_are_all_there_whatever_it_states(names: tuple[str, str], tmp_path: Path) -> None:
    images = known(tmp_path, *names, "deep/2.png")
    back = tmp_path / "back"
    back.mkdir()
    (back / "1.xml").write_text("<annotation><filename>1.jpg</filename></annotation>")
    (back / "list.json").write_text('{"images": [{"file_name": "2.png"}]}')
    with with_images(back, images) as place:
        found = {path.relative_to(place / "images").as_posix() for path in images_below(place)}
        assert found == {"1.jpg", "1.png", "deep/2.png"}
