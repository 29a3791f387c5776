from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from softdet.data import synthetic
from softdet.data.index_reading import load_labeled, load_unlabeled
from softdet.data.synthetic import CLASS_NAMES, DETAIL, MAX_SIZE, Scene, draw_scene, write_synthetic
from softdet.errors import DataError

SIDE = 64
NUM = {"num_labeled": 5, "num_unlabeled": 7, "num_valid": 4}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(3, index, SIDE) for index in range(120)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    write_synthetic(folder, **NUM, side=SIDE, seed=3)
    return folder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_scene_is_a_pure_function_of_seed_and_index(scenes: list[Scene]) -> None:
    np.random.seed(1)  # noqa: NPY002
    wanted = np.random.random(3)  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    again = draw_scene(3, 17, SIDE)
    assert np.array_equal(np.random.random(3), wanted)  # noqa: NPY002
    for name in ("image", "boxes", "labels"):
        assert np.array_equal(getattr(again, name), getattr(scenes[17], name))
    assert not np.array_equal(draw_scene(4, 17, SIDE).image, again.image)
    assert not np.array_equal(draw_scene(3, 18, SIDE).image, again.image)


def test_scenes_have_the_promised_shapes_and_types(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.image.shape == (SIDE, SIDE, 3)
        assert scene.boxes.shape == (len(scene.labels), 4)
        assert [scene.image.dtype, scene.boxes.dtype, scene.labels.dtype] == [np.uint8, np.float32, np.int64]
    assert {len(scene.labels) for scene in scenes} == {1, 2, 3, 4, 5}


def test_boxes_lie_inside_and_none_is_larger_than_an_outline_can_be(scenes: list[Scene]) -> None:
    boxes = np.concatenate([scene.boxes for scene in scenes])
    assert boxes.min() >= 0
    assert boxes.max() <= SIDE
    assert np.array_equal(boxes * DETAIL, np.round(boxes * DETAIL))
    sides = boxes[:, 2:] - boxes[:, :2]
    # The rim of a polygon covers up to two fine pixels more.
    assert sides.max() <= MAX_SIZE * SIDE + 2 / DETAIL
    assert sides.max(1).min() >= 0.08 * SIDE


def test_all_classes_appear_about_equally_often(scenes: list[Scene]) -> None:
    counts = np.bincount(np.concatenate([scene.labels for scene in scenes]), minlength=len(CLASS_NAMES))
    assert len(counts) == len(CLASS_NAMES)
    assert counts.min() > 0.5 * counts.mean()


def test_objects_are_small_and_large_and_some_overlap() -> None:
    boxes = [draw_scene(0, index).boxes for index in range(60)]
    areas = np.concatenate([np.prod(some[:, 2:] - some[:, :2], 1) for some in boxes])
    assert (areas < 32**2).mean() > 0.25
    assert (areas > 40**2).mean() > 0.15
    overlapping = sum(bool(np.triu(overlaps(some), 1).any()) for some in boxes)
    assert 0.15 < overlapping / len(boxes) < 0.85


def overlaps(boxes: np.ndarray) -> np.ndarray:
    start = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    stop = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    return (stop > start).all(-1)


def test_boxes_are_tight_around_what_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a flat brush, every pixel tells its object, and the boxes can be measured."""

    def paint_flat(rng: object, canvas: Image.Image, piece: synthetic._Piece, *_: object) -> None:
        touched = piece.mask.reduce(DETAIL).point([0] + [255] * 255)
        corner = piece.window[0] // DETAIL, piece.window[1] // DETAIL
        ink = int(np.asarray(canvas).max()) + 1 if piece.kind in CLASS_NAMES else 0
        canvas.paste((ink, 0, 0), corner, touched)

    monkeypatch.setattr(synthetic, "_background", lambda rng, palette, side: Image.new("RGB", (side, side)))
    monkeypatch.setattr(synthetic, "_paint", paint_flat)
    monkeypatch.setattr(synthetic, "_expose", lambda rng, canvas, light: np.asarray(canvas))
    errors = []
    for index in range(60):
        scene = draw_scene(0, index, SIDE)
        for ink, box in enumerate(scene.boxes, 1):
            rows, columns = np.nonzero(scene.image[..., 0] == ink)
            drawn = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            errors.append(np.abs(np.append(np.floor(box[:2]), np.ceil(box[2:])) - drawn).max())
    # A pixel at a seam shows one object only, so the thin tip of a hidden one may seem to end some pixels early.
    assert np.quantile(errors, 0.98) <= 2
    assert np.mean(np.array(errors) == 0) > 0.9


def test_the_labeled_indexes_hold_the_scenes_that_were_drawn(folder: Path) -> None:
    labeled, train, valid = (load_labeled(folder / f"{name}.json") for name in ("labeled", "train", "valid"))
    assert (len(labeled), len(train), len(valid)) == (5, 12, 4)
    for index in (labeled, train, valid):
        assert index.class_names == CLASS_NAMES
        assert index.category_ids == (1, 2, 3, 4, 5, 6)
        assert index.dropped == {}
        assert all(record.path.is_file() and record.size == (SIDE, SIDE) for record in index.images)
    for i, record in enumerate(labeled.images):
        scene = draw_scene(3, i, SIDE)
        assert np.array_equal(record.boxes, scene.boxes)
        assert np.array_equal(record.labels, scene.labels)
        assert np.abs(pixels(record.path).astype(int) - scene.image).mean() < 4


def test_train_is_the_labeled_images_and_the_unlabeled_ones_with_their_boxes(folder: Path) -> None:
    labeled, train = load_labeled(folder / "labeled.json"), load_labeled(folder / "train.json")
    unlabeled = load_unlabeled(folder / "unlabeled")
    assert [record.path for record in train.images] == [
        record.path for index in (labeled, unlabeled) for record in index.images
    ]
    assert all(len(record.labels) for record in train.images)


def test_the_unlabeled_folder_holds_images_and_nothing_else(folder: Path) -> None:
    files = sorted((folder / "unlabeled").iterdir())
    assert [file.name for file in files] == [f"unlabeled_{i:04d}.jpg" for i in range(7)]
    assert all(pixels(file).shape == (SIDE, SIDE, 3) for file in files)
    assert len(load_unlabeled(folder / "unlabeled")) == 7


def test_no_image_stands_in_two_parts(folder: Path) -> None:
    files = sorted(folder.rglob("*.jpg"))
    assert len(files) == sum(NUM.values())
    assert len({file.read_bytes() for file in files}) == len(files)


def test_a_part_keeps_its_images_when_another_grows_and_stale_ones_go(folder: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path, num_labeled=2, num_unlabeled=3, num_valid=4, side=SIDE, seed=3)
    write_synthetic(tmp_path, num_labeled=3, num_unlabeled=1, num_valid=4, side=SIDE, seed=3)
    names = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.jpg"))
    assert len(names) == 3 + 1 + 4
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in names)
    assert (tmp_path / "valid.json").read_bytes() == (folder / "valid.json").read_bytes()


def test_sizes_that_make_no_sense_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'valid': -1"):
        write_synthetic(tmp_path / "new", num_valid=-1)
    with pytest.raises(DataError, match="side is 16"):
        write_synthetic(tmp_path / "new", side=16)
    assert not (tmp_path / "new").exists()
