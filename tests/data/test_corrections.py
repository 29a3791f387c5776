"""What became of a detector's boxes: nothing is counted twice, and rounding is no change."""

from __future__ import annotations

import numpy as np
import pytest

from softdet.data.corrections import Boxes, count_changes

BOX = [10.0, 10.0, 50.0, 40.0]


def boxes(*each: tuple[str, list[float]]) -> Boxes:
    return Boxes(np.array([corners for _, corners in each], np.float32).reshape(-1, 4), [name for name, _ in each])


def shifted(by: float) -> list[float]:
    return [value + by for value in BOX]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([("a", BOX)], [("a", BOX)], {"kept": 1}),
        ([("a", BOX)], [("a", shifted(0.6))], {"kept": 1}),
        ([("a", BOX)], [("a", shifted(3))], {"moved": 1}),
        ([("a", BOX)], [("b", BOX)], {"renamed": 1}),
        ([("a", BOX)], [("a", shifted(60))], {"deleted": 1, "added": 1}),
        ([("a", BOX)], [], {"deleted": 1}),
        ([], [("a", BOX)], {"added": 1}),
        ([], [], {}),
        # Two of one place and different classes each find their own.
        ([("a", BOX), ("b", BOX)], [("b", shifted(2)), ("a", BOX)], {"kept": 1, "moved": 1}),
        # A box of two pixels that rounding has moved by half of itself.
        ([("a", [5, 5, 7, 7])], [("a", [6, 6, 8, 8])], {"kept": 1}),
        # The nearer one stays.
        ([("a", BOX)], [("a", shifted(6)), ("a", BOX)], {"kept": 1, "added": 1}),
    ],
)
def test_a_change_has_its_name(
    before: list[tuple[str, list[float]]], after: list[tuple[str, list[float]]], expected: dict[str, int]
) -> None:
    changes = count_changes(boxes(*before), boxes(*after))
    assert {name: count for name, count in changes.items() if count} == expected


def test_every_box_is_counted_once() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        sides = []
        for _ in range(2):
            corners = rng.uniform(0, 60, (int(rng.integers(0, 7)), 2, 2))
            array = np.concatenate([corners.min(1), corners.max(1)], 1).astype(np.float32)
            sides.append(Boxes(array, rng.choice(["a", "b"], len(array)).tolist()))
        before, after = sides
        changes = count_changes(before, after)
        common = changes["kept"] + changes["moved"] + changes["renamed"]
        assert common + changes["deleted"] == len(before.names)
        assert common + changes["added"] == len(after.names)
