from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from softdet.errors import DataError
from softdet.report.sheets import SIDE, save_sheet, valid_sheet
from softdet.report.tags import place_tags
from softdet.report.thumbnails import kept_thumbnail, thumbnail_of


def test_a_sheet_shows_truth_above_detections(make_facts: Callable[..., Any], tmp_path: Path) -> None:
    facts = make_facts()
    sheet = valid_sheet(facts.diagnosis.images, facts.class_names)
    assert sheet is not None
    assert sheet.width == 4 * SIDE
    save_sheet(tmp_path / "pictures" / "sheet.jpg", sheet)
    with Image.open(tmp_path / "pictures" / "sheet.jpg") as written:
        assert written.format == "JPEG"
    upper, lower = np.array(sheet)[: sheet.height // 2], np.array(sheet)[sheet.height // 2 :]
    assert not np.array_equal(upper, lower)


def test_no_picture_that_can_be_read_is_no_sheet(make_facts: Callable[..., Any]) -> None:
    facts = make_facts()
    for image in facts.diagnosis.images:
        image.path.unlink()
    assert valid_sheet(facts.diagnosis.images, facts.class_names) is None


def test_thumbnails_are_small_and_keep_their_shape(picture_at: Callable[..., Path], tmp_path: Path) -> None:
    large = thumbnail_of(picture_at(tmp_path / "large.png", 0, (800, 400)), None, 320)
    assert (large.width, large.height) == (320, 160)
    small = thumbnail_of(picture_at(tmp_path / "small.png", 0, (64, 48)), None, 320)
    assert (small.width, small.height) == (64, 48)
    assert large.uri.startswith("data:image/jpeg;base64,")
    (tmp_path / "kept.jpg").write_bytes(large.jpeg)
    assert kept_thumbnail(tmp_path / "kept.jpg") == large
    with pytest.raises(DataError):
        thumbnail_of(tmp_path / "none.png", None, 320)


def test_words_dont_cover_each_other_and_stay_inside() -> None:
    corners = [(10.0, 50.0), (12.0, 52.0), (14.0, 51.0), (180.0, 2.0)]
    places = place_tags(corners, ["nine 0.9"] * 4, 12, (200, 200))
    heights = sorted(y for _, y in places[:3])
    assert min(after - before for before, after in pairwise(heights)) >= 12
    assert all(x >= 0 and y >= 12 for x, y in places)
    assert places[3][0] + 0.58 * 12 * len("nine 0.9") <= 200
