from pathlib import Path

import pytest

from softdet.data.checks import require_disjoint
from softdet.data.index import ImageRecord, Index
from softdet.errors import DataError


def index(source: Path, names: list[str]) -> Index:
    images = tuple(ImageRecord.plain(number, source.parent / name) for number, name in enumerate(names))
    return Index(source, images, (), (), {})


def test_lists_without_a_common_image_pass(tmp_path: Path) -> None:
    # The same ids, and the same names in another folder, are other images.
    valid = index(tmp_path / "valid.json", ["valid/1.png", "valid/2.png"])
    require_disjoint(valid, index(tmp_path / "train.json", ["train/1.png", "train/2.png"]), "data.train")


def test_a_shared_image_is_named_with_both_lists_and_the_fix(tmp_path: Path) -> None:
    valid = index(tmp_path / "valid.json", ["1.png", "2.png", "3.png"])
    train = index(tmp_path / "train.json", ["3.png", "4.png", "2.png"])
    with pytest.raises(
        DataError,
        match=r"2 images of data.unlabeled \(.*train.json\) .*data.valid \(.*valid.json\): 3.png, 2.png. .*out",
    ):
        require_disjoint(valid, train, "data.unlabeled")


def test_another_way_to_the_same_file_is_the_same_image(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").touch()
    (tmp_path / "link").symlink_to(tmp_path / "pictures")
    valid = index(tmp_path / "valid.json", ["pictures/1.png"])
    for name in ("link/1.png", "pictures/../pictures/1.png"):
        with pytest.raises(DataError, match="1 images of data"):
            require_disjoint(valid, index(tmp_path / "train.json", [name]), "data.train")
