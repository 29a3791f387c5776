"""A drawn detection set for the demo and the tests: made from a seed alone, with boxes exact by construction.

The six classes differ by shape only. Colour, texture, size, turn and light are drawn apart from the class, and many
scenes hold strangers (discs, frames, halves, ...) painted by the same brush, so a detector has to learn outlines.
"""

import colorsys
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageStat

from softdet.data.index_writing import write_index
from softdet.errors import DataError

CLASS_NAMES: tuple[str, ...] = ("arrow", "crescent", "cross", "gear", "ring", "star")
STRANGERS = ("disc", "frame", "half", "triangle")

# Outlines are drawn this many times finer than the image; it's also the grid on which boxes lie.
DETAIL = 4
# An outline that would leave less than this share of another, or of itself, in sight is placed anew.
MIN_VISIBLE = 0.6
MIN_SIZE, MAX_SIZE = 0.2, 0.45  # the longer side of an outline, as a share of the image's side
MAX_TILT = math.radians(25)  # most things stand upright in most pictures
# Far apart, so that a part keeps its scenes when another one grows.
PART_SIZE = 2**32

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Scene:
    """One drawn image and what can be seen in it.

    Attributes:
        image: (side, side, 3) uint8 RGB.
        boxes: (N, 4) float32 xyxy in pixels, in steps of a quarter.
        labels: (N,) int64, positions in CLASS_NAMES.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Piece:
    """An outline in its place; window (xyxy), mask and area count fine pixels."""

    kind: str
    window: tuple[int, int, int, int]
    mask: Image.Image
    area: int


def draw_scene(seed: int, index: int, side: int = 128) -> Scene:
    """Draw one scene.

    Args:
        seed: which set, from 0.
        index: which scene of the set, from 0.
        side: rows and columns of the image in pixels, at least 32.

    Returns:
        A scene with 1 to 5 objects. A box is tight around the part that is in the picture and not behind something
        else, as in COCO; of each object's area at least 60% can be seen. Law: a pure function of the arguments; no
        global random state is read or written.
    """
    rng = np.random.default_rng((seed, index))
    palette = _palette(rng)
    canvas = _background(rng, palette, side)
    light = _polar(1, rng.uniform(0, 2 * math.pi))
    kinds = [*rng.choice(CLASS_NAMES, rng.integers(1, 6)), *rng.choice(STRANGERS, rng.integers(0, 2))]

    # Who is seen at each fine pixel: 1 is the background, 2 the first piece; a crop reads 0 outside the picture.
    owners = Image.new("L", (side * DETAIL, side * DETAIL), 1)
    pieces: list[_Piece] = []
    for i in rng.permutation(len(kinds)):
        piece = _place(rng, str(kinds[i]), pieces, owners)
        if piece is not None:
            _paint(rng, canvas, piece, palette, light)
            pieces.append(piece)
            owners.paste(len(pieces) + 1, piece.window, piece.mask)
    boxes, labels = [], []
    for i, piece in enumerate(pieces, 2):
        if piece.kind in CLASS_NAMES:
            edges = np.array(owners.crop(piece.window).point([255 * (owner == i) for owner in range(256)]).getbbox())
            boxes.append((edges + np.tile(piece.window[:2], 2)) / DETAIL)
            labels.append(CLASS_NAMES.index(piece.kind))
    return Scene(_expose(rng, canvas, light), np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64))


def write_synthetic(
    folder: Path,
    *,
    num_labeled: int = 40,
    num_unlabeled: int = 400,
    num_valid: int = 200,
    side: int = 128,
    seed: int = 0,
) -> None:
    """Write a small set as users bring theirs: COCO indexes, their `images/`, and a plain folder `unlabeled/`.

    The three parts hold different scenes. `train.json` lists the labeled and the unlabeled images, both with their
    boxes: what training with all labels would see. An annotation's `area` is that of its box.

    Args:
        folder: made where missing; images that an earlier call wrote there are replaced.
        num_labeled, num_unlabeled, num_valid: images of each part.
        side: rows and columns of each image in pixels.
        seed: another seed gives other scenes.

    Raises:
        DataError: a number of images is below 0, or the side below 32; nothing has been written then.
    """
    counts = {"labeled": num_labeled, "unlabeled": num_unlabeled, "valid": num_valid}
    if side < 32 or min(counts.values()) < 0:
        raise DataError(f"side is {side}, images are {counts}; ask for a side of 32 or more and no number below 0")
    parts: dict[str, list[tuple[str, Scene]]] = {part: [] for part in counts}
    for number, (part, count) in enumerate(counts.items()):
        place = "unlabeled" if part == "unlabeled" else "images"
        (folder / place).mkdir(parents=True, exist_ok=True)
        for stale in (folder / place).glob(f"{part}_*.jpg"):
            stale.unlink()
        for i in range(count):
            scene = draw_scene(seed, number * PART_SIZE + i, side)
            name = f"{place}/{part}_{i:04d}.jpg"
            Image.fromarray(scene.image).save(folder / name, quality=95, subsampling=0)
            parts[part].append((name, scene))
    write_index(folder / "labeled.json", _coco(parts["labeled"]))
    write_index(folder / "train.json", _coco(parts["labeled"] + parts["unlabeled"]))
    write_index(folder / "valid.json", _coco(parts["valid"]))


def _coco(scenes: list[tuple[str, Scene]]) -> dict[str, Any]:
    images, annotations = [], list[dict[str, Any]]()
    for image_id, (name, scene) in enumerate(scenes, 1):
        images.append({"id": image_id, "file_name": name, "height": len(scene.image), "width": len(scene.image)})
        for (x1, y1, x2, y2), label in zip(scene.boxes.tolist(), scene.labels.tolist(), strict=True):
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, "category_id": label + 1, **box})
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _outline(rng: np.random.Generator, kind: str) -> tuple[Floats, ...]:
    """The polygon of one kind, about a unit in radius, then its hole if it has one."""
    circle, square = np.linspace(0, 2 * math.pi, 64), _polar(1, np.arange(4) * math.pi / 2)
    match kind:
        case "arrow":
            shaft, head, neck = rng.uniform(0.14, 0.22), rng.uniform(0.45, 0.62), rng.uniform(0, 0.3)
            upper = np.array([(-1, shaft), (neck, shaft), (neck, head), (1, 0)])
            return (np.concatenate([upper, upper[2::-1] * [1, -1]]),)
        case "crescent":
            shift, radius = rng.uniform(0.4, 0.55), rng.uniform(0.75, 0.85)
            tip = (1 - radius**2 + shift**2) / (2 * shift)
            outer, inner = math.acos(tip), math.acos((tip - shift) / radius)
            bite = _polar(radius, np.linspace(2 * math.pi - inner, inner, 32)) + np.array([shift, 0])
            return (np.concatenate([_polar(1, np.linspace(outer, 2 * math.pi - outer, 48)), bite]),)
        case "cross":
            width = rng.uniform(0.22, 0.34)
            angles = np.arange(4)[:, None] * math.pi / 2 + np.arctan2([-width, width, 1], [1, 1, 1])
            return (_polar(np.tile(np.hypot([1, 1, width], width), 4), angles.ravel()),)
        case "gear":
            teeth, root = int(rng.integers(7, 10)), rng.uniform(0.7, 0.76)
            angles = (np.arange(teeth)[:, None] + np.array([-0.32, -0.18, 0.18, 0.32])).ravel() * 2 * math.pi / teeth
            return _polar(np.tile([root, 1, 1, root], teeth), angles), _polar(rng.uniform(0.22, 0.34), circle)
        case "ring":
            return _polar(1, circle), _polar(rng.uniform(0.6, 0.74), circle)
        case "star":
            return (_polar(np.tile([1, rng.uniform(0.4, 0.5)], 5), np.arange(10) * math.pi / 5),)
        case "disc" | "half":
            return (_polar(1, circle if kind == "disc" else circle[:32]),)
        case "frame":
            return square, square * rng.uniform(0.5, 0.7)
        case _:
            return (_polar(1, np.arange(3) * 2 * math.pi / 3),)


def _polar(radius: float | Floats, angle: float | Floats) -> Floats:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)


def _turn(rng: np.random.Generator, limit: float = math.pi) -> Floats:
    """A rotation by at most `limit`, in radians."""
    return _polar(1, rng.uniform(-limit, limit) + np.array([0, math.pi / 2]))


def _place(rng: np.random.Generator, kind: str, pieces: list[_Piece], owners: Image.Image) -> _Piece | None:
    """Turn, squash, size and put an outline so that it and all before it stay in sight; None where no try fits."""
    side, seen = owners.width, owners.histogram()
    for _ in range(12):
        matrix = np.diag([1, rng.uniform(0.85, 1)]) @ _turn(rng, MAX_TILT)
        polygons = [polygon @ matrix for polygon in _outline(rng, kind)]
        low, high = polygons[0].min(0), polygons[0].max(0)
        scale = side * rng.uniform(MIN_SIZE, MAX_SIZE) / (high - low).max()
        extent = (high - low) * scale
        centre = rng.uniform(0.35 * extent, side - 0.35 * extent)  # up to 15% of a side reaches out of the picture
        # A window of whole image pixels, so that its mask reduces to the image's own grid.
        first, last = np.floor((centre - extent / 2) / DETAIL), np.ceil((centre + extent / 2 + 1) / DETAIL)
        left, top, right, bottom = (np.append(first, last) * DETAIL).astype(int).tolist()
        mask = Image.new("L", (right - left, bottom - top))
        for ink, polygon in zip((255, 0), polygons, strict=False):
            points = (polygon - (low + high) / 2) * scale + centre - first * DETAIL
            ImageDraw.Draw(mask).polygon(points.ravel().tolist(), fill=ink)
        piece = _Piece(kind, (left, top, right, bottom), mask, mask.histogram()[255])
        hidden = owners.crop(piece.window).histogram(mask)
        shares = [(seen[i] - hidden[i]) / other.area for i, other in enumerate(pieces, 2)]
        if min([1 - hidden[0] / piece.area, *shares]) >= MIN_VISIBLE:
            return piece
    return None


def _palette(rng: np.random.Generator) -> Floats:
    """(9, 3) RGB in 0 to 255: three muted colours for the ground, six for the pieces; hues gather around three."""
    hues = rng.random() + rng.choice([0, *rng.uniform(0.2, 0.8, 2)], 9) + rng.normal(0, 0.06, 9)
    saturations = np.append(rng.uniform(0.05, 0.4, 3), rng.uniform(0.3, 0.95, 6))
    values = np.append(rng.uniform(0.1, 0.5, 3), rng.uniform(0.7, 1, 6))
    return 255 * np.array([*map(colorsys.hsv_to_rgb, hues % 1, saturations, values)])


def _noise(rng: np.random.Generator, width: int, height: int, pitch: float) -> Floats:
    """(height, width) in 0 to 1: smooth noise with bumps of about `pitch` pixels."""
    cells = rng.random((math.ceil(height / pitch) + 1, math.ceil(width / pitch) + 1), dtype=np.float32)
    return np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)


def _texture(rng: np.random.Generator, width: int, height: int, pitch: float) -> Floats:
    """(height, width) in 0 to 1: a soft-edged pattern of one of five kinds, with a period of `pitch` pixels."""
    place = np.mgrid[:height, :width] * (2 * math.pi / pitch) + rng.uniform(0, 9, (2, 1, 1))
    x, y = np.tensordot(_turn(rng), place, 1).astype(np.float32)
    match rng.integers(5):
        case 0:
            field = np.sin(x) + rng.uniform(-0.5, 0.5)
        case 1:
            field = np.sin(x) * np.sin(y) * 2
        case 2:
            field = np.cos(x) + np.cos(y) - 1
        case 3:
            field = np.sin(x + 5 * _noise(rng, width, height, 3 * pitch))
        case _:
            field = 6 * _noise(rng, width, height, pitch) - 3
    return (0.5 + field * rng.uniform(0.6, 2)).clip(0, 1)


def _mix(first: Floats, second: Floats, share: Floats) -> Floats:
    return first + (second - first) * share[..., None]


def _bytes(pixels: Floats) -> NDArray[np.uint8]:
    return pixels.clip(0, 255).astype(np.uint8)


def _background(rng: np.random.Generator, palette: Floats, side: int) -> Image.Image:
    """A mottled slope between two colours, a pattern in a third, and some scratches in any."""
    across = np.tensordot(_turn(rng)[0], np.mgrid[:side, :side] / side - 0.5, 1)
    share = 0.5 + across * rng.uniform(0, 0.8) + (_noise(rng, side, side, side * rng.uniform(0.15, 0.5)) - 0.5) * 0.6
    pattern = _texture(rng, side, side, side * rng.uniform(0.05, 0.25)) * rng.uniform(0.1, 0.4)
    canvas = Image.fromarray(_bytes(_mix(_mix(palette[0], palette[1], share), palette[2], pattern)))
    for _ in range(rng.integers(0, 4)):
        veil = Image.new("L", (2 * side, 2 * side))
        points = (rng.uniform(-0.1, 1.1, 2) + rng.normal(0, 0.2, (3, 2)).cumsum(0)) * 2 * side
        ink, width = int(rng.integers(90, 230)), math.ceil(2 * side * rng.uniform(0.005, 0.025))
        ImageDraw.Draw(veil).line(points.ravel().tolist(), ink, width, "curve")
        canvas.paste(tuple(_bytes(rng.choice(palette)).tolist()), (0, 0), veil.reduce(2))
    return canvas


def _paint(rng: np.random.Generator, canvas: Image.Image, piece: _Piece, palette: Floats, light: Floats) -> None:
    """Put a piece on the canvas: a soft shadow, then a textured fill whose edges catch the light."""
    side, alpha = canvas.width, piece.mask.reduce(DETAIL)
    x, y = piece.window[0] // DETAIL, piece.window[1] // DETAIL
    dx, dy = (light * side * rng.uniform(0.01, 0.035)).astype(int).tolist()
    shadow = Image.new("L", canvas.size)
    shadow.paste(int(rng.integers(60, 170)), (x + dx, y + dy), alpha)
    shadow = shadow.filter(ImageFilter.GaussianBlur(side * rng.uniform(0.006, 0.018)))
    canvas.paste(tuple(_bytes(palette[0] * 0.15).tolist()), (0, 0), shadow)
    # Of four colours the one that differs most from what lies below, else nobody could name the shape.
    below = ImageStat.Stat(canvas.crop((x, y, x + alpha.width, y + alpha.height)), alpha).mean
    inks = rng.permutation(palette[3:])
    main = inks[np.abs(inks[:4] - below).sum(1).argmax()]
    texture = _texture(rng, alpha.width, alpha.height, side * rng.uniform(0.04, 0.12)) * rng.uniform(0.05, 0.2)
    soft = np.asarray(alpha.filter(ImageFilter.GaussianBlur(side * rng.uniform(0.008, 0.02))), np.float32) / 255
    down, right = np.gradient(soft)
    relief = 1 + (right * light[0] + down * light[1]) * rng.uniform(0.5, 2)
    canvas.paste(Image.fromarray(_bytes(_mix(main, inks[-1], texture) * relief[..., None])), (x, y), alpha)


def _expose(rng: np.random.Generator, canvas: Image.Image, light: Floats) -> NDArray[np.uint8]:
    """Uneven light, a colour cast, now and then a soft focus, and grain."""
    if rng.random() < 0.3:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.6)))
    rows, columns = np.mgrid[-1 : 1 : canvas.height * 1j, -1 : 1 : canvas.width * 1j]
    falloff = 1 - rng.uniform(0, 0.3) * (columns * light[0] + rows * light[1])
    grain = rng.standard_normal((*falloff.shape, 3), dtype=np.float32) * rng.uniform(0, 5)
    return _bytes(np.asarray(canvas) * falloff[..., None] * rng.uniform(0.8, 1.15) * rng.uniform(0.88, 1.08, 3) + grain)
