from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from softdet.data.images import read_image
from softdet.doctor.facts import Facts, examine_file
from softdet.doctor.near import MOST_BITS


def bits_between(one: Facts, other: Facts) -> int:
    assert one.hash is not None
    assert other.hash is not None
    return (one.hash ^ other.hash).bit_count()


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((70, 90)),
        lambda image: image.resize((400, 260)),
        lambda image: ImageEnhance.Brightness(image).enhance(0.7),
        lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    ],
)
def test_the_hash_of_a_copy_hardly_changes(
    tmp_path: Path, draw: Callable[..., Image.Image], change: Callable[[Image.Image], Image.Image]
) -> None:
    for seed in range(5):
        picture = draw(seed, (160, 120))
        picture.save(tmp_path / "a.png")
        change(picture).save(tmp_path / "b.jpg", quality=60)
        distance = bits_between(examine_file(tmp_path / "a.png"), examine_file(tmp_path / "b.jpg"))
        assert distance <= MOST_BITS


def test_other_pictures_differ_in_many_bits(tmp_path: Path, draw: Callable[..., Image.Image]) -> None:
    facts = []
    for seed in range(12):
        draw(seed).save(tmp_path / "a.png")
        facts.append(examine_file(tmp_path / "a.png"))
    assert min(bits_between(a, b) for i, a in enumerate(facts) for b in facts[:i]) > MOST_BITS + 2


def test_a_flat_picture_has_no_hash(tmp_path: Path) -> None:
    Image.new("RGB", (90, 60), (120, 130, 140)).save(tmp_path / "a.png")
    facts = examine_file(tmp_path / "a.png")
    assert (facts.status, facts.hash) == ("good", None)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_seen_upright_as_training_sees_it(
    tmp_path: Path, draw: Callable[..., Image.Image], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    draw(3, (640, 480)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    upright = read_image(tmp_path / "a.jpg")
    upright.save(tmp_path / "b.png")
    seen, expected = examine_file(tmp_path / "a.jpg"), examine_file(tmp_path / "b.png")
    assert seen.upright_size == expected.size
    difference = np.frombuffer(seen.thumb, np.uint8).astype(int) - np.frombuffer(expected.thumb, np.uint8)
    assert np.abs(difference).max() <= 3


def test_grey_has_no_colour_and_brightness_is_the_mean(tmp_path: Path) -> None:
    values = np.tile(np.array([[40, 200]], np.uint8), (50, 25))
    Image.fromarray(values).save(tmp_path / "a.png")
    facts = examine_file(tmp_path / "a.png")
    assert facts.colourfulness == pytest.approx(0)
    assert facts.brightness == pytest.approx(120, abs=1)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert examine_file(tmp_path / "no.png").status == "missing"
    assert examine_file(tmp_path).status == "unreadable"


def test_the_digest_is_that_of_the_bytes(tmp_path: Path, draw: Callable[..., Image.Image]) -> None:
    draw(1).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    assert examine_file(tmp_path / "a.png") == examine_file(tmp_path / "b.png")
    with (tmp_path / "b.png").open("ab") as file:
        file.write(b"x")
    one, other = examine_file(tmp_path / "a.png"), examine_file(tmp_path / "b.png")
    assert one.digest != other.digest
    assert replace(one, digest=b"") == replace(other, digest=b"")
