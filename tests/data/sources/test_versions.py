"""Roboflow's versions of a picture, by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from softdet.data.sources.versions import version_keys, versions_among


@pytest.mark.parametrize(
    ("image", "picture", "is_pair"),
    [
        ("back/cat_jpg.rf.0a1b.jpg", "pool/cat.jpg", True),
        ("back/my-cat-1_png.rf.0a1b.jpg", "pool/my cat.1.png", True),
        ("back/cat_jpg.rf.0a1b.jpg", "pool/cat_jpg.rf.ffff.jpg", True),
        ("back/cat.jpg", "pool/cat_jpg.rf.ffff.jpg", True),
        ("back/cat.jpg", "pool/cat.jpg", False),
        ("back/cat_jpg.rf.0a1b.jpg", "pool/cat.png", False),
        ("back/cat_jpg.rf.0a1b.jpg", "pool/dog.jpg", False),
        ("back/\u56fe_jpg.rf.0a1b.jpg", "pool/\u7167.jpg", False),
    ],
)
def test_pairs(image: str, picture: str, is_pair: bool) -> None:
    assert versions_among([Path(image)], [Path(picture)], [Path(picture)]) == ({Path(image)} if is_pair else set())


def test_a_name_that_several_pictures_have_tells_nothing() -> None:
    pool = [Path("cam1/1.jpg"), Path("cam2/1.jpg")]
    assert versions_among([Path("back/1_jpg.rf.0a.jpg")], pool, pool) == set()
    many = [Path(f"pool/image_jpg.rf.{number:02}.jpg") for number in range(11)]
    assert versions_among([Path("back/image_jpg.rf.0a.jpg")], many, many) == set()


def test_versions_in_one_folder_have_one_key_and_other_pictures_their_own() -> None:
    names = ("a/cat.jpg", "a/cat_jpg.rf.1.jpg", "a/cat_jpg.rf.2.jpg", "b/cat.jpg", "a/x 1.jpg", "a/x-1.jpg")
    first, *others = version_keys([Path(name) for name in names])
    assert others[:2] == [first, first]
    assert len({first, *others[2:]}) == 4
