from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from softdet.data.datasets import ImageDataset, stored_canvas
from softdet.data.index import ImageRecord

CANVAS = (64, 64)


def record(path: Path, boxes: list[list[float]], ignored: list[list[float]] | None = None) -> ImageRecord:
    """A 40 x 20 picture in which the boxes are white."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    for x1, y1, x2, y2 in np.array(boxes).reshape(-1, 4).astype(int):
        pixels[y1:y2, x1:x2] = 255
    Image.fromarray(pixels).save(path)
    labels = np.arange(len(boxes))
    regions = np.array(ignored or [], np.float32).reshape(-1, 4)
    return ImageRecord(path.stem, path, (20, 40), np.array(boxes, np.float32).reshape(-1, 4), labels, regions)


def test_boxes_and_regions_come_in_stored_pixels(tmp_path: Path) -> None:
    sample = ImageDataset(
        [record(tmp_path / "a.png", [[0, 0, 40, 20], [10, 5, 20, 15]], [[5, 5, 10, 10]])], CANVAS, "letterbox"
    )[0]
    assert (sample.content, sample.scale, sample.failure) == ((32, 64), (1.6, 1.6), None)
    torch.testing.assert_close(sample.targets.boxes, torch.tensor([[0.0, 0, 64, 32], [16, 8, 32, 24]]))
    torch.testing.assert_close(sample.targets.ignored, torch.tensor([[8.0, 8, 16, 16]]))
    assert sample.targets.labels.tolist() == [0, 1]


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_a_box_stays_around_its_object(tmp_path: Path, resize: str) -> None:
    box = [10.0, 5, 30, 15]
    sample = ImageDataset([record(tmp_path / "a.png", [box])], CANVAS, resize)[0]  # type: ignore[arg-type]
    bright = sample.image[0, : sample.content[0]] > 128
    rows, columns = bright.nonzero().unbind(1)
    around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(around, sample.targets.boxes[0], atol=0.75)
    own = sample.targets.boxes[0].numpy() / np.array([*sample.scale, *sample.scale])
    np.testing.assert_allclose(own, box, rtol=1e-6)


def test_an_image_without_boxes(tmp_path: Path) -> None:
    targets = ImageDataset([record(tmp_path / "a.png", [])], CANVAS, "letterbox")[0].targets
    assert (targets.boxes.shape, targets.labels.dtype, targets.ignored.shape) == ((0, 4), torch.int64, (0, 4))


def test_an_unreadable_image_is_grey_teaches_nothing_and_says_why(tmp_path: Path) -> None:
    gone = record(tmp_path / "a.png", [[0, 0, 9, 9]], [[1, 1, 5, 5]])
    gone.path.unlink()
    sample = ImageDataset([gone], CANVAS, "letterbox")[0]
    assert sample.failure is not None
    assert "a.png: there is no such image" in sample.failure
    assert (sample.image == 128).all()
    assert (tuple(sample.image.shape), sample.content) == ((3, *CANVAS), CANVAS)
    assert (len(sample.targets.boxes), len(sample.targets.ignored)) == (0, 0)


def test_an_image_that_does_not_fit_its_index_is_a_failure_too(tmp_path: Path) -> None:
    other = record(tmp_path / "a.png", [[0, 0, 9, 9]])
    Image.new("RGB", (7, 7)).save(other.path)
    failure = ImageDataset([other], CANVAS, "letterbox")[0].failure
    assert failure is not None
    assert "the index says 40x20" in failure


@pytest.mark.parametrize(("num_cached", "kept"), [(0, 0), (2, 2), (9, 3)])
def test_the_cache_keeps_as_many_images_as_it_may(tmp_path: Path, num_cached: int, kept: int) -> None:
    records = [record(tmp_path / f"{i}.png", [[0, 0, 9 + i, 9]]) for i in range(3)]
    dataset = ImageDataset(records, CANVAS, "letterbox", num_cached)
    first = [dataset[i] for i in range(3)]
    for each in records:
        each.path.unlink()
    second = [dataset[i] for i in range(3)]
    assert [sample.failure is None for sample in second] == [i < kept for i in range(3)]
    assert all(torch.equal(first[i].image, second[i].image) for i in range(kept))
    assert len(dataset) == 3


def test_a_picture_that_could_not_be_read_once_is_read_anew(tmp_path: Path) -> None:
    missing = record(tmp_path / "a.png", [[0, 0, 9, 9]])
    content = missing.path.read_bytes()
    dataset = ImageDataset([missing], CANVAS, "letterbox", num_cached=1)
    missing.path.unlink()
    assert dataset[0].failure is not None
    missing.path.write_bytes(content)
    assert dataset[0].failure is None


@pytest.mark.parametrize("size", [(320, 320), (96, 128), (97, 33), (1, 1), (799, 1333)])
def test_the_stored_canvas_is_even_and_a_quarter_larger(size: tuple[int, int]) -> None:
    for stored, side in zip(stored_canvas(size), size, strict=True):
        assert stored % 2 == 0
        assert stored >= 2
        assert abs(stored - 1.25 * side) <= 1
