import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from softdet.ops.affine import compose, invert, keeps_upright, transform_boxes, warp

FLIP = torch.tensor([[-1.0, 0, 20], [0, 1, 0], [0, 0, 1]])


def random_maps(number: int, seed: int, *, turned: bool = True, scales: tuple[float, float] = (0.8, 1.5)) -> Tensor:
    """Affine maps: scale, shift, every other one mirrored; and turned and sheared where asked for."""
    rng = np.random.default_rng(seed)
    maps = np.tile(np.eye(3), (number, 1, 1))
    for i in range(number):
        linear = np.diag(rng.uniform(*scales) * rng.uniform(0.97, 1.03, 2) * ((-1) ** i, 1))
        if turned:
            angle, shear = rng.uniform(-0.6, 0.6), rng.uniform(-0.2, 0.2)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            linear = turn @ np.array([[1, shear], [0, 1]]) @ linear
        maps[i, :2, :2] = linear
        maps[i, :2, 2] = np.array([12, 10]) - linear @ np.array([12, 10]) + rng.uniform(-4, 4, 2)
    return torch.from_numpy(maps).float()


def random_boxes(number: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 100, (number, 2))
    return torch.from_numpy(np.concatenate([corners, corners + rng.uniform(1, 50, (number, 2))], 1)).float()


def bilinear(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], fill: float) -> np.ndarray:
    """The slow truth: each output pixel's centre, sent back, reads the four input pixels around it."""
    channels, height, width = image.shape
    inverse = np.linalg.inv(matrix.astype(np.float64))
    output = np.zeros((channels, *size))
    for row in range(size[0]):
        for column in range(size[1]):
            x, y, _ = inverse @ np.array([column + 0.5, row + 0.5, 1]) - 0.5
            left, top = int(np.floor(x)), int(np.floor(y))
            for i, weight_y in ((top, 1 - (y - top)), (top + 1, y - top)):
                for j, weight_x in ((left, 1 - (x - left)), (left + 1, x - left)):
                    inside = 0 <= i < height and 0 <= j < width
                    output[:, row, column] += weight_y * weight_x * (image[:, i, j] if inside else fill)
    return output


def noise(number: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_the_identity_moves_no_box() -> None:
    boxes = random_boxes(50, 0)
    assert torch.equal(transform_boxes(boxes, torch.eye(3)), boxes)


def test_scales_flips_and_quarter_turns_keep_boxes_upright() -> None:
    quarter = torch.tensor([[0.0, -1, 20], [1, 0, 0], [0, 0, 1]])
    upright = random_maps(8, 1, turned=False)
    assert keeps_upright(torch.cat([upright, quarter @ upright, quarter @ quarter @ upright])).all()
    assert not keeps_upright(random_maps(8, 1)).any()
    # The box around a moved box is then the moved box: there and back is where it was.
    boxes = random_boxes(50, 0)
    there = transform_boxes(boxes, quarter @ upright[0])
    torch.testing.assert_close(transform_boxes(there, invert(quarter @ upright[0])), boxes, atol=1e-3, rtol=0)


def test_moving_twice_is_moving_by_the_product() -> None:
    boxes = random_boxes(50, 0)
    for first, second in zip(random_maps(20, 1, turned=False), random_maps(20, 2, turned=False), strict=True):
        twice = transform_boxes(transform_boxes(boxes, first), second)
        torch.testing.assert_close(twice, transform_boxes(boxes, compose(second, first)), atol=1e-3, rtol=1e-5)


def test_two_flips_leave_a_box_where_it_is() -> None:
    boxes = random_boxes(50, 3)
    once = transform_boxes(boxes, FLIP)
    assert torch.equal(once[:, 0], 20 - boxes[:, 2])
    torch.testing.assert_close(transform_boxes(once, FLIP), boxes)


def test_a_turned_box_is_the_box_around_its_four_corners() -> None:
    boxes = random_boxes(20, 4)
    for matrix in random_maps(20, 5):
        moved = transform_boxes(boxes, matrix)
        for box, around in zip(boxes.tolist(), moved.tolist(), strict=True):
            corners = np.array([[x, y, 1] for x in box[::2] for y in box[1::2]]) @ matrix.double().numpy().T
            expected = [*corners[:, :2].min(0), *corners[:, :2].max(0)]
            np.testing.assert_allclose(around, expected, atol=1e-3)


def test_half_precision_does_not_move_boxes() -> None:
    boxes, matrix = random_boxes(10, 6), random_maps(1, 7)[0]
    exact = transform_boxes(boxes, matrix)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(transform_boxes(boxes, matrix), exact)


def test_no_boxes_stay_no_boxes() -> None:
    assert transform_boxes(torch.zeros(0, 4), FLIP).shape == (0, 4)


def test_a_map_and_its_inverse_are_the_identity() -> None:
    maps = random_maps(50, 8)
    torch.testing.assert_close(compose(invert(maps), maps), torch.eye(3).expand(50, 3, 3), atol=1e-5, rtol=0)


def test_compose_does_the_first_map_first() -> None:
    shift = torch.tensor([[1.0, 0, 5], [0, 1, 0], [0, 0, 1]])
    scale = torch.diag(torch.tensor([2.0, 2, 1]))
    assert compose(scale, shift)[0, 2] == 10
    assert compose(shift, scale)[0, 2] == 5


def test_the_identity_changes_no_pixel() -> None:
    images = noise(2, 18, 22)
    torch.testing.assert_close(warp(images, torch.eye(3).repeat(2, 1, 1), (18, 22), 0.5), images, atol=1e-5, rtol=0)


def test_two_flips_leave_every_pixel_where_it_is() -> None:
    images = noise(1, 18, 20)
    once = warp(images, FLIP[None], (18, 20), 0.5)
    torch.testing.assert_close(once, images.flip(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(warp(once, FLIP[None], (18, 20), 0.5), images, atol=1e-5, rtol=0)


def test_a_whole_shift_moves_pixels_and_fills_the_rest() -> None:
    images = noise(1, 10, 12)
    shift = torch.tensor([[[1.0, 0, 3], [0, 1, 2], [0, 0, 1]]])
    moved = warp(images, shift, (14, 11), 0.25)
    expected = torch.full((1, 3, 14, 11), 0.25)
    expected[:, :, 2:12, 3:] = images[..., :8]
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)


def test_warp_against_slow_bilinear_sampling() -> None:
    images, maps = noise(6, 20, 24), random_maps(6, 9)
    warped = warp(images, maps, (16, 18), 0.5)
    for image, matrix, got in zip(images, maps, warped, strict=True):
        expected = bilinear(image.numpy(), matrix.numpy(), (16, 18), 0.5)
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-4)


def test_far_below_1_the_half_size_copy_is_sampled() -> None:
    images, maps = noise(4, 32, 40), random_maps(4, 10, scales=(0.4, 0.62))
    warped = warp(images, maps, (16, 18), 0.5)
    doubling = np.diag([2.0, 2, 1])
    for image, matrix, got in zip(F.avg_pool2d(images, 2), maps, warped, strict=True):
        expected = bilinear(image.numpy(), matrix.numpy() @ doubling, (16, 18), 0.5)
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("side", [24, 28, 36])
def test_shrinking_is_closer_to_the_antialiased_truth_than_bilinear_sampling(side: int) -> None:
    # Trap 5: sampling at single points skips pixels, and fine texture turns into other texture.
    image = noise(1, 64, 64)
    truth = F.interpolate(image, (side, side), mode="bilinear", antialias=True)[0].numpy()
    shrink = torch.diag(torch.tensor([side / 64, side / 64, 1.0]))
    warped = warp(image, shrink[None], (side, side), 0.5)[0].numpy()
    plain = bilinear(image[0].numpy(), shrink.numpy(), (side, side), 0.5)
    inner = np.s_[:, 2:-2, 2:-2]
    assert np.abs(warped - truth)[inner].mean() < 0.6 * np.abs(plain - truth)[inner].mean()


def test_zooming_samples_the_whole_image() -> None:
    image = noise(1, 16, 16)
    enlarged = warp(image, torch.diag(torch.tensor([2.0, 2, 1]))[None], (32, 32), 0.5)[..., 2:-2, 2:-2]
    truth = F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)[..., 2:-2, 2:-2]
    torch.testing.assert_close(enlarged, truth, atol=1e-4, rtol=0)


def test_batched_is_single() -> None:
    images = noise(6, 20, 24)
    maps = torch.cat([random_maps(3, 11), random_maps(3, 12, scales=(0.4, 0.62))])[[0, 3, 1, 4, 2, 5]]
    together = warp(images, maps, (16, 18), 0.5)
    alone = torch.cat([warp(images[i : i + 1], maps[i : i + 1], (16, 18), 0.5) for i in range(6)])
    assert torch.equal(together, alone)
