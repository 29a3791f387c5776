"""Many images' targets in one."""

import torch

from softdet.data.target_batch import TargetBatch
from softdet.structures import Targets


def drawn(num_boxes: int, num_ignored: int) -> Targets:
    return Targets(torch.rand(num_boxes, 4), torch.randint(0, 9, (num_boxes,)), torch.rand(num_ignored, 4))


def test_what_is_joined_comes_apart_again() -> None:
    torch.manual_seed(0)
    for counts in ([(2, 1)], [(0, 0)], [(3, 0), (0, 2), (1, 1), (0, 0)]):
        every = [drawn(*each) for each in counts]
        joined = TargetBatch.of(every)
        assert joined.num_images == len(every)
        for again, one in zip(joined.split(), every, strict=True):
            assert torch.equal(again.boxes, one.boxes)
            assert torch.equal(again.labels, one.labels)
            assert torch.equal(again.ignored, one.ignored)


def test_each_image_gets_its_own_in_whatever_order_they_are() -> None:
    boxes = torch.arange(5.0)[:, None].expand(5, 4)
    joined = TargetBatch(
        boxes, torch.arange(5), torch.tensor([2, 0, 2, 0, 0]), boxes[:3], torch.tensor([1, 2, 1]), num_images=4
    )
    parts = joined.split()
    assert [each.labels.tolist() for each in parts] == [[1, 3, 4], [], [0, 2], []]
    assert [each.boxes[:, 0].tolist() for each in parts] == [[1, 3, 4], [], [0, 2], []]
    assert [each.ignored[:, 0].tolist() for each in parts] == [[], [0, 2], [1], []]


def test_what_is_not_kept_is_ignored() -> None:
    joined = TargetBatch.of([drawn(2, 1), drawn(1, 0)])
    first, second = joined.keep(torch.tensor([False, True, False])).split()
    assert torch.equal(first.boxes, joined.boxes[1:2])
    assert torch.equal(first.labels, joined.labels[1:2])
    assert torch.equal(first.ignored, torch.cat([joined.ignored, joined.boxes[:1]]))
    assert torch.equal(second.ignored, joined.boxes[2:])
    assert len(second) == 0
