import shutil
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image


def copy(own: Any, source: str, target: str, saved_anew: bool) -> None:
    """Put one image of the set in the place of another."""
    place = own.folder / "unlabeled" if target.startswith("unlabeled") else own.folder / "images"
    if saved_anew:
        with Image.open(own.image(source)) as image:
            image.point(lambda value: value * 0.9).save(place / target)
    else:
        shutil.copy(own.image(source), place / target)


@pytest.mark.parametrize(
    ("source", "target", "exact", "near"),
    [
        ("valid_1.png", "labeled_2.png", ("error", "leak"), ("warning", "near-leak")),
        ("valid_1.png", "unlabeled_2.png", ("error", "leak"), ("warning", "near-leak")),
        ("labeled_1.png", "unlabeled_2.png", ("warning", "labeled-in-unlabeled"), ("note", "near-labeled")),
        ("labeled_1.png", "labeled_2.png", ("warning", "same-image-twice"), ("note", "near-duplicates")),
        ("valid_1.png", "valid_2.png", ("warning", "same-image-twice"), ("note", "near-duplicates")),
    ],
)
@pytest.mark.parametrize("saved_anew", [False, True])
def test_a_picture_that_comes_twice(
    own: Any,
    only: Callable[..., Any],
    source: str,
    target: str,
    exact: tuple[str, str],
    near: tuple[str, str],
    saved_anew: bool,
) -> None:
    copy(own, source, target, saved_anew)
    level, code = near if saved_anew else exact
    finding = only(own.examine(), code)
    assert finding.level == level
    assert finding.count == 1
    assert {finding.places[0].file, finding.places[0].detail[2:]} == {source, target}


def test_two_unlabeled_copies_are_a_note(own: Any, only: Callable[..., Any]) -> None:
    folder = own.folder / "unlabeled"
    shutil.copy(folder / "unlabeled_1.png", folder / "unlabeled_2.png")
    assert only(own.examine(), "same-image-twice").level == "note"


def test_a_leak_from_validation_into_test(own: Any) -> None:
    report = own.examine(test=own.folder / "valid.json")
    leak = next(finding for finding in report.findings if finding.code == "leak")
    assert leak.count == 6
    assert leak.message.startswith("test: the same pictures, byte for byte, are in valid")
    assert report.exit_code == 1


def test_empty_pictures_are_not_taken_for_each_other(own: Any) -> None:
    for number, name in enumerate(("labeled_0.png", "valid_0.png")):
        Image.new("RGB", (96, 64), (number, 0, 0)).save(own.image(name))
    assert own.examine().findings == ()
