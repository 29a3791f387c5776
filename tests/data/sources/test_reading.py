"""Every format gives back what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from labeled_sets import NAMES, WRITERS, boxes_of, random_content, write_picture, write_text

from softdet.data.sources.reading import read_labeled
from softdet.errors import DataError


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", WRITERS)
def test_a_random_set_comes_back_from_each_format(name: str, seed: int, tmp_path: Path) -> None:
    # VOC counts whole pixels from 1.
    original = random_content(seed, 9, whole=name == "VOC")
    labeled = read_labeled(WRITERS[name](original, tmp_path / "set"))
    found: dict[str, Any] = {}
    for content in labeled.parts.values():
        assert [category["name"] for category in content["categories"]] == (sorted(NAMES) if name == "VOC" else NAMES)
        assert all(Path(image["file_name"]).is_file() for image in content["images"])
        found |= boxes_of(content)
    wanted = boxes_of(original)
    assert found.keys() == wanted.keys()
    for image, boxes in wanted.items():
        assert [each[0] for each in found[image]] == [each[0] for each in boxes]
        for (_, one), (_, other) in zip(found[image], boxes, strict=True):
            assert one == pytest.approx(other, abs=1e-3)
    assert not labeled.dropped.counts
    assert set(labeled.parts) == ({"train"} if name == "COCO" else {"train", "valid"})


def test_coco_ids_stay(tmp_path: Path) -> None:
    original = random_content(4, 5)
    content = read_labeled(WRITERS["COCO"](original, tmp_path)).parts["train"]
    assert [image["id"] for image in content["images"]] == [image["id"] for image in original["images"]]
    assert [each["id"] for each in content["annotations"]] == [each["id"] for each in original["annotations"]]


def test_nothing_that_can_be_used(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "0 .5 .5 .1 .1")
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"no image of it can be used. 1 images that can't be read \(a.jpg\)"):
        read_labeled(tmp_path)


def test_names_are_lent_to_a_set_without_any(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", (10, 10))
    write_text(tmp_path / "a.txt", "1 .5 .5 .4 .4")
    lent = read_labeled(tmp_path, ["ace", "king"]).parts["train"]
    assert boxes_of(lent)["a.png"][0][0] == "king"
    bare = read_labeled(tmp_path)
    assert [category["name"] for category in bare.parts["train"]["categories"]] == ["0", "1"]
    assert "sets without class names" in next(iter(bare.noted.counts))
