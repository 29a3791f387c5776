import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from softdet.data.images import canvas_scale, read_image, to_canvas
from softdet.errors import DataError

WIDTH, HEIGHT = 40, 20
ORIENTATION = 0x0112


def scene() -> np.ndarray:
    """Red, green, blue and white quarters: no turn and no flip leaves it as it is."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:10, :20], pixels[:10, 20:], pixels[10:, :20], pixels[10:, 20:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), 255
    return pixels


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def with_orientation(path: Path, orientation: int, pixels: np.ndarray | None = None) -> Path:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return save(path, Image.fromarray(scene() if pixels is None else pixels), exif=exif)


def test_a_plain_image_comes_as_it_is(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(scene()))
    for size in (None, (HEIGHT, WIDTH)):
        image = read_image(path, size)
        assert image.mode == "RGB"
        assert np.array_equal(image, scene())


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_every_exif_orientation_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    path = with_orientation(tmp_path / "a.png", orientation)
    upright = UPRIGHT[orientation](scene())
    assert np.array_equal(read_image(path), upright)
    assert np.array_equal(read_image(path, upright.shape[:2]), upright)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_an_index_that_states_the_stored_size_gets_the_stored_image(tmp_path: Path, orientation: int) -> None:
    path = with_orientation(tmp_path / "a.png", orientation)
    assert np.array_equal(read_image(path, (HEIGHT, WIDTH)), scene())


def test_a_square_image_is_turned_since_its_size_matches_that_way(tmp_path: Path) -> None:
    square = scene()[:, 10:30]
    path = with_orientation(tmp_path / "a.png", 6, square)
    assert np.array_equal(read_image(path, (20, 20)), np.rot90(square, -1))


def test_a_size_that_matches_neither_way_is_an_error_with_all_sizes(tmp_path: Path) -> None:
    path = with_orientation(tmp_path / "turned.png", 6)
    with pytest.raises(DataError, match=r"turned.png: the index says 7x9 .* file has 40x20, upright 20x40.*mend"):
        read_image(path, (9, 7))
    path = save(tmp_path / "plain.png", Image.fromarray(scene()))
    with pytest.raises(
        DataError, match=r"plain.png: the index says 20x40 \(width x height\), the file has 40x20\. Was"
    ):
        read_image(path, (WIDTH, HEIGHT))


def test_sloppy_exif_data_do_not_cost_the_picture(tmp_path: Path) -> None:
    # The image width as text: Pillow reads it, but can't write it anew.
    entries = [(0x0100, 2, 2, b"x\0\0\0"), (ORIENTATION, 3, 1, struct.pack("<HH", 6, 0))]
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries))
    exif += b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries) + bytes(4)
    path = save(tmp_path / "a.jpg", Image.fromarray(scene()), exif=exif, quality=100, subsampling=0)
    difference = np.asarray(read_image(path), int) - np.rot90(scene(), -1)
    assert np.abs(difference).max() < 60


def ramp(most: int, dtype: type) -> np.ndarray:
    return np.linspace(0, most, WIDTH).round().astype(dtype)[None].repeat(HEIGHT, 0)


def palette(*, transparent: bool) -> Image.Image:
    image = Image.fromarray(np.arange(WIDTH, dtype=np.uint8)[None].repeat(HEIGHT, 0) % 2).convert("P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    if transparent:
        image.info["transparency"] = 1
    return image


def layered(mode: str) -> Image.Image:
    image = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 0)).convert(mode)
    image.paste((0,) * (len(image.getbands()) - 1) + (255,), (0, 0, 20, HEIGHT))
    return image


RED, BLUE, BLACK, WHITE = (255, 0, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)


@pytest.mark.parametrize(
    ("name", "image", "first", "last"),
    [
        ("grey.png", Image.fromarray(ramp(255, np.uint8)), BLACK, WHITE),
        ("bit.png", Image.fromarray(ramp(255, np.uint8)).convert("1", dither=Image.Dither.NONE), BLACK, WHITE),
        ("palette.png", palette(transparent=False), RED, BLUE),
        ("palette.gif", palette(transparent=False), RED, BLUE),
        ("transparent.png", palette(transparent=True), RED, WHITE),
        ("rgba.png", layered("RGBA"), BLACK, WHITE),
        ("la.png", layered("LA"), BLACK, WHITE),
        ("sixteen.png", Image.fromarray(ramp(65535, np.uint16)), BLACK, WHITE),
        ("sixteen.tif", Image.fromarray(ramp(65535, np.uint16)), BLACK, WHITE),
        ("twelve.png", Image.fromarray(ramp(4095, np.uint16)), BLACK, WHITE),
        ("eight_of_sixteen.png", Image.fromarray(ramp(100, np.uint16)), BLACK, (99, 99, 99)),
        ("long.tif", Image.fromarray(ramp(65535, np.int32)), BLACK, WHITE),
        ("negative.tif", Image.fromarray(ramp(65535, np.int32) - 5), BLACK, WHITE),
        ("float.tif", Image.fromarray(ramp(255, np.float32) / 255), BLACK, WHITE),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_mode_becomes_rgb(
    tmp_path: Path, name: str, image: Image.Image, first: tuple[int, ...], last: tuple[int, ...]
) -> None:
    read = read_image(save(tmp_path / name, image), (HEIGHT, WIDTH))
    assert read.mode == "RGB"
    assert read.getpixel((0, 5)) == first
    assert read.getpixel((WIDTH - 1, 5)) == last


@pytest.mark.parametrize(("most", "kind"), [(65535, np.uint16), (4095, np.uint16), (65535, np.int32), (1, np.float32)])
def test_deep_images_keep_their_greys(tmp_path: Path, most: int, kind: type) -> None:
    values = np.linspace(0, most, WIDTH).astype(kind)[None].repeat(HEIGHT, 0)
    read = np.asarray(read_image(save(tmp_path / "a.tif", Image.fromarray(values))))
    np.testing.assert_allclose(read[0, :, 0], np.linspace(0, 255, WIDTH), atol=1)


def test_cmyk_keeps_its_colours(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.new("CMYK", (WIDTH, HEIGHT), (0, 255, 255, 0)), quality=95)
    assert np.abs(np.asarray(read_image(path), int) - (255, 0, 0)).max() <= 4


def test_an_ending_that_lies_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(scene()).save(path, "PNG")
    assert np.array_equal(read_image(path), scene())


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", encoded("JPEG")[:1500], encoded("PNG")[:1500], encoded("WEBP")[:200], encoded("GIF")[:5]],
    ids=["empty", "text", "half a JPEG", "half a PNG", "half a WebP", "five bytes"],
)
def test_what_is_no_whole_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken.jpg: can't be read as an image .*cut off.*take it out of the list"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_bytes_raise_nothing_but_data_errors(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010E] = 6, "a text"
    rng = np.random.default_rng(0)
    path = tmp_path / "a.img"
    failed = 0
    for kind in ("PNG", "JPEG", "TIFF"):
        buffer = io.BytesIO()
        Image.fromarray(scene()).save(buffer, kind, exif=exif)
        for _ in range(150):
            content = bytearray(buffer.getvalue())
            for place in rng.integers(0, min(len(content), 300), 4):
                content[place] = rng.integers(256)
            path.write_bytes(content)
            try:
                read_image(path)
            except DataError:
                failed += 1
    assert failed > 100


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.png: there is no such image. Was it moved"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(DataError, match="can't be read as an image"):
        read_image(tmp_path)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(scene()))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT // 3)
    with pytest.raises(DataError, match=r"a.png: too large to be opened .*bomb"):
        read_image(path)


def test_letterbox_keeps_the_shape_and_fills_with_grey() -> None:
    pixels, content = to_canvas(Image.fromarray(scene()), (64, 64), "letterbox")
    assert pixels.dtype == torch.uint8
    assert (tuple(pixels.shape), content) == ((3, 64, 64), (32, 64))
    assert (pixels[:, 32:] == 128).all()
    assert pixels[:, 0, 0].tolist() == [255, 0, 0]
    assert pixels[:, 31, 63].tolist() == [255, 255, 255]
    assert pixels[:, 0, 63].tolist() == [0, 255, 0]


def test_stretch_fills_the_canvas() -> None:
    pixels, content = to_canvas(Image.fromarray(scene()), (64, 48), "stretch")
    assert content == (64, 48)
    assert pixels[:, 63, 47].tolist() == [255, 255, 255]
    assert canvas_scale((HEIGHT, WIDTH), content) == (48 / 40, 64 / 20)


def test_an_image_of_the_canvas_size_is_not_touched() -> None:
    pixels, _ = to_canvas(Image.fromarray(scene()), (HEIGHT, WIDTH), "letterbox")
    assert np.array_equal(pixels.permute(1, 2, 0), scene())


def test_shrinking_is_antialiased() -> None:
    board = (np.indices((600, 600)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    pixels, _ = to_canvas(Image.fromarray(board), (96, 96), "letterbox")
    assert (pixels.int() - 128).abs().max() <= 3


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (3, 7), (33, 1001)])
@pytest.mark.parametrize("canvas", [(64, 64), (50, 120)])
def test_images_of_any_size_stay_inside_the_canvas(size: tuple[int, int], canvas: tuple[int, int]) -> None:
    pixels, (rows, columns) = to_canvas(Image.new("RGB", size[::-1], "white"), canvas, "letterbox")
    assert 1 <= rows <= canvas[0]
    assert 1 <= columns <= canvas[1]
    assert rows == canvas[0] or columns == canvas[1], "as large as fits"
    assert (pixels[:, :rows, :columns] == 255).all()
    assert (pixels == 255).sum() == 3 * rows * columns


def test_the_scale_leads_a_box_to_its_pixels() -> None:
    picture = np.zeros((90, 150, 3), np.uint8)
    picture[30:60, 45:120] = 255
    pixels, content = to_canvas(Image.fromarray(picture), (80, 80), "letterbox")
    x, y = canvas_scale((90, 150), content)
    rows, columns = (pixels[0] > 128).nonzero().unbind(1)
    bottom = content[0]
    found = [columns.min(), rows.min(), columns.max() + 1, rows[rows < bottom].max() + 1]
    np.testing.assert_allclose(found, [45 * x, 30 * y, 120 * x, 60 * y], atol=0.75)
