from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

ORIENTATION = 0x0112


def cut(path: Any) -> None:
    path.write_bytes(path.read_bytes()[:-400])


SPOILT: list[tuple[str, Callable[[Any], None]]] = [
    ("file-missing", lambda path: path.unlink()),
    ("file-empty", lambda path: path.write_bytes(b"")),
    ("file-unreadable", lambda path: path.write_text("<html>no such page</html>")),
    ("file-cut-off", cut),
]


@pytest.mark.parametrize(("code", "spoil"), SPOILT, ids=[code for code, _ in SPOILT])
def test_a_file_that_cannot_be_read(
    own: Any, only: Callable[..., Any], code: str, spoil: Callable[[Any], None]
) -> None:
    spoil(own.image("labeled_2.png"))
    finding = only(own.examine(), code)
    assert (finding.level, finding.places[0].file) == ("error", "labeled_2.png")


@pytest.mark.parametrize(("code", "spoil"), SPOILT[1:], ids=[code for code, _ in SPOILT[1:]])
def test_an_unlabeled_one_is_a_warning(
    own: Any, only: Callable[..., Any], code: str, spoil: Callable[[Any], None]
) -> None:
    spoil(own.folder / "unlabeled" / "unlabeled_2.png")
    finding = only(own.examine(), code)
    assert (finding.level, finding.places[0].file) == ("warning", "unlabeled_2.png")


def test_a_jpeg_that_is_cut_off(own: Any, only: Callable[..., Any], draw: Callable[..., Image.Image]) -> None:
    path = own.folder / "unlabeled" / "photo.jpg"
    draw(900, (640, 480)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    assert only(own.examine(), "file-cut-off").places[0].file == "photo.jpg"


def test_a_size_that_differs(own: Any, only: Callable[..., Any]) -> None:
    own.content["labeled"]["images"][1] |= {"width": 192, "height": 128}
    finding = only(own.examine(), "size-differs")
    assert finding.level == "error"
    assert finding.places[0].detail == "the list says 192x128, the file has 96x64"


@pytest.mark.parametrize(
    ("orientation", "stated", "codes"),
    [
        (6, (64, 96), ["exif-turned"]),
        (6, (96, 64), []),
        (3, (64, 96), ["exif-unsure"]),
        (1, (64, 96), []),
    ],
)
def test_exif(
    own: Any, draw: Callable[..., Image.Image], orientation: int, stated: tuple[int, int], codes: list[str]
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    draw(5).save(own.image("turned.jpg"), exif=exif, quality=95)
    entry = own.content["labeled"]["images"][5]
    entry |= {"file_name": "turned.jpg", "height": stated[0], "width": stated[1]}
    own.box(10, bbox=[5, 10, 30, 30])
    own.box(11, bbox=[25, 10, 30, 30])
    report = own.examine()
    assert [finding.code for finding in report.findings] == codes
    assert all(finding.places[0].file == "turned.jpg" for finding in report.findings)


@pytest.mark.parametrize(
    ("code", "name", "convert"),
    [
        ("wrong-extension", "odd.jpg", lambda image: image),
        ("transparent", "odd.png", lambda image: image.convert("RGBA")),
        ("many-bits", "odd.png", lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 99)),
        ("uncommon-colours", "odd.tif", lambda image: image.convert("CMYK")),
    ],
)
def test_uncommon_kinds_are_notes(
    own: Any, only: Callable[..., Any], draw: Callable[..., Image.Image], code: str, name: str, convert: Any
) -> None:
    kind = "TIFF" if name.endswith("tif") else "PNG"
    convert(draw(901)).save(own.folder / "unlabeled" / name, format=kind)
    finding = only(own.examine(), code)
    assert (finding.level, finding.places[0].file) == ("note", name)


def test_gigantic_pictures(own: Any) -> None:
    # Of one bit a pixel, so that it takes no time.
    Image.new("1", (8000, 6000)).save(own.folder / "unlabeled" / "huge.png")
    Image.new("1", (20000, 10000)).save(own.folder / "unlabeled" / "larger.png")
    findings = {finding.code: finding.places[0] for finding in own.examine().findings}
    assert findings["gigantic"].detail == "8000x6000"
    assert findings["file-too-large"].file == "larger.png"
