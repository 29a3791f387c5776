from collections.abc import Callable
from typing import Any

import pytest


def files(finding: Any) -> list[str]:
    return [place.file for place in finding.places]


@pytest.mark.parametrize(
    ("box", "code", "level"),
    [
        ([5, 10, 0, 30], "box-no-area", "warning"),
        ([5, 10, 30, -3], "box-no-area", "warning"),
        ([5, 10, 30, float("nan")], "box-not-finite", "error"),
        ([5, 10, "30", 30], "box-not-finite", "error"),
        ([5, 10, 30], "box-not-finite", "error"),
        (None, "box-not-finite", "error"),
        ([96, 10, 30, 30], "box-outside", "error"),
        ([-40, 10, 30, 30], "box-outside", "error"),
        ([80, 10, 30, 30], "box-reaches-outside", "warning"),
        ([5, 10, 30, 2], "box-tiny", "warning"),
    ],
)
def test_a_bad_box_is_named_with_its_image(own: Any, only: Callable[..., Any], box: Any, code: str, level: str) -> None:
    own.box(6, bbox=box)
    finding = only(own.examine(), code)
    assert files(finding) == ["labeled_3.png"]
    assert "annotation 7, cat" in finding.places[0].detail
    assert finding.level == level
    assert finding.count == 1


def test_an_ignored_region_is_not_judged(own: Any) -> None:
    for number, box in enumerate(([5, 10, 0, 30], [500, 10, 30, 30], [5, 10, 1, 1], [5, 10, 30, float("nan")])):
        own.box(2 * number, bbox=box, **({"iscrowd": 1} if number % 2 else {"ignore": 1}))
    assert own.examine().findings == ()


def test_a_box_over_the_border_by_a_rounding_is_no_finding(own: Any) -> None:
    own.box(0, bbox=[66.5, 34.2, 30, 30])
    assert own.examine().findings == ()


@pytest.mark.parametrize(
    ("box", "category", "code"),
    [
        ([5, 10, 30, 30], 0, "box-twice"),
        ([5.3, 10, 30, 30], 0, "box-nearly-twice"),
        ([5, 10, 30, 30], 1, "box-two-classes"),
    ],
)
def test_an_object_boxed_twice(own: Any, only: Callable[..., Any], box: Any, category: int, code: str) -> None:
    extra = {"id": 99, "image_id": 3, "category_id": category, "bbox": box}
    own.content["labeled"]["annotations"].append(extra)
    finding = only(own.examine(), code)
    assert files(finding) == ["labeled_2.png"]
    assert "annotation 99" in finding.places[0].detail


def test_two_classes_that_overlap_less_are_a_rider_and_his_horse(own: Any, only: Callable[..., Any]) -> None:
    # IoU .935, which of one class is a slip.
    extra = {"id": 99, "image_id": 3, "category_id": 1, "bbox": [6, 10, 30, 30]}
    own.content["labeled"]["annotations"].append(extra)
    assert own.examine().findings == ()
    extra["category_id"] = 0
    only(own.examine(), "box-nearly-twice")


def test_two_objects_side_by_side_are_not_one_boxed_twice(own: Any) -> None:
    own.content["labeled"]["annotations"].append({"id": 99, "image_id": 3, "category_id": 0, "bbox": [8, 10, 30, 30]})
    assert own.examine().findings == ()


def test_parts_of_the_image_in_the_place_of_pixels(own: Any) -> None:
    for number in range(12):
        own.box(number, bbox=[0.2, 0.3, 0.4, 0.5])
    codes = [finding.code for finding in own.examine().findings]
    assert codes[0] == "boxes-normalised"


def test_corners_in_the_place_of_width_and_height_are_suspected(own: Any) -> None:
    for number in range(12):
        own.box(number, bbox=[50, 20, 90, 60])
    finding = next(each for each in own.examine().findings if each.code == "box-reaches-outside")
    assert "x1, y1, x2, y2" in finding.message
