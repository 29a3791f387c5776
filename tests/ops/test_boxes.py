import pytest
import torch
from torchvision.ops import clip_boxes_to_image

from softdet.ops.boxes import intersection_over_first, visible_share


def test_the_share_of_the_first_box_inside_the_second() -> None:
    first = torch.tensor([[0.0, 0, 10, 10], [5, 5, 15, 15]])
    second = torch.tensor([[0.0, 0, 5, 10], [0, 0, 100, 100], [20, 20, 30, 30]])
    expected = torch.tensor([[0.5, 1, 0], [0, 1, 0]])
    torch.testing.assert_close(intersection_over_first(first, second), expected)


def test_the_share_against_counted_cells() -> None:
    corners = torch.randint(0, 20, (2, 30, 2), generator=torch.Generator().manual_seed(0))
    sides = torch.randint(1, 12, (2, 30, 2), generator=torch.Generator().manual_seed(1))
    first, second = torch.cat([corners, corners + sides], -1)
    cells = torch.zeros(2, 30, 32, 32)
    for group, boxes in enumerate((first, second)):
        for row, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
            cells[group, row, y1:y2, x1:x2] = 1
    covered = torch.einsum("nhw,mhw->nm", cells[0], cells[1]) / cells[0].sum((1, 2))[:, None]
    torch.testing.assert_close(intersection_over_first(first.float(), second.float()), covered)


def test_a_box_without_area_has_no_share_of_anything() -> None:
    nothing = torch.tensor([[3.0, 3, 3, 8]])
    assert intersection_over_first(nothing, torch.tensor([[0.0, 0, 10, 10]])).item() == 0
    assert visible_share(nothing, (10, 10)).item() == 0


@pytest.mark.parametrize(("num_first", "num_second"), [(0, 3), (3, 0), (0, 0)])
def test_no_boxes(num_first: int, num_second: int) -> None:
    assert intersection_over_first(torch.zeros(num_first, 4), torch.ones(num_second, 4)).shape == (
        num_first,
        num_second,
    )
    assert visible_share(torch.zeros(0, 4), (5, 5)).shape == (0,)


def test_the_visible_share_counts_rows_and_columns_the_right_way_round() -> None:
    boxes = torch.tensor([[15.0, 0, 25, 10], [0, 5, 10, 15], [2, 2, 4, 4], [30, 30, 40, 40], [15, 5, 25, 15]])
    torch.testing.assert_close(visible_share(boxes, (10, 20)), torch.tensor([0.5, 0.5, 1, 0, 0.25]))


def test_clipping_leaves_the_last_pixel_whole() -> None:
    # Pixel i covers [i, i + 1): the right edge of the last of 20 columns lies at 20, not at 19.
    assert clip_boxes_to_image(torch.tensor([[-3.0, -3, 50, 50]]), (10, 20)).tolist() == [[0, 0, 20, 10]]
