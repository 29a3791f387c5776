"""Which images are suggested: the doubtful, the rare, the new, each once."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from softdet.data.index import load_unlabeled
from softdet.deploy.suggestion import Look, look_over, suggest_images
from softdet.engine.detector import load_detector
from softdet.engine.run import RunFolder

CPU = torch.device("cpu")
COUNTS = torch.tensor([10, 10])


def look(name: str, *doubts: float, labels: list[int] | None = None, shaken: float = 0.0, angle: float = 0.0) -> Look:
    """A look at an image whose feature lies at an angle to (1, 0)."""
    feature = torch.tensor([torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))])
    number = len(doubts)
    where = torch.tensor(labels or [0] * number, dtype=torch.int64)
    return Look(Path(name), where, torch.tensor(doubts), torch.full((number,), shaken), feature)


def names_of(looks: list[Look], labeled: Tensor | None = None, counts: Tensor = COUNTS, number: int = 9) -> list[str]:
    return [str(each.path) for each in suggest_images(looks, labeled, counts, number)]


def test_the_doubtful_come_first_and_each_once() -> None:
    looks = [look("sure", 0.1), look("doubtful", 0.9, angle=1.0), look("two", 0.9, 0.9, angle=2.0)]
    assert names_of(looks) == ["two", "doubtful", "sure"]
    assert names_of(looks, number=1) == ["two"]
    assert names_of([]) == []


def test_a_box_that_the_mirror_does_not_show_is_doubtful_too() -> None:
    assert names_of([look("seen", 0.2, angle=1.0), look("gone", 0.2, shaken=0.8)])[0] == "gone"


def test_boxes_of_rare_classes_count_more() -> None:
    looks = [look("frequent", 0.8), look("rare", 0.7, labels=[1], angle=1.0)]
    assert names_of(looks)[0] == "frequent"
    assert names_of(looks, counts=torch.tensor([30, 3]))[0] == "rare"
    assert names_of(looks, counts=torch.tensor([30, 0]))[0] == "rare"


def test_what_is_like_a_labeled_or_a_suggested_image_waits() -> None:
    looks = [look("known", 0.9), look("new", 0.5, angle=1.0), look("its twin", 0.49, angle=1.0)]
    assert names_of(looks, torch.tensor([[1.0, 0]])) == ["new", "known", "its twin"]


def test_images_in_which_nothing_is_seen_are_told_apart_by_what_is_new() -> None:
    looks = [look("near", angle=0.1), look("far", angle=1.5)]
    assert names_of(looks, torch.tensor([[1.0, 0]])) == ["far", "near"]


def test_the_reason_says_what_was_seen() -> None:
    seen = look("a", 0.9, 0.6, 0.7, 0.1, labels=[1, 1, 0, 0], shaken=0.6)
    (chosen,) = suggest_images([seen], None, torch.tensor([30, 3]), 1)
    assert chosen.reason(("cat", "dog")) == (
        "3 boxes in doubt (dog 2, few labeled; cat 1); 4 boxes that its mirror image doesn't show; "
        "1.00 from the nearest image known"
    )
    (chosen,) = suggest_images([look("b", 0.9)], None, COUNTS, 1)
    assert chosen.reason(("cat", "dog")) == "1 box in doubt (cat 1); 1.00 from the nearest image known"


def test_a_detectors_look(tiny_run: Path, squares: Path) -> None:
    detector, images = load_detector(RunFolder(tiny_run).best), load_unlabeled(squares / "unlabeled").images
    looks = list(look_over(detector, images, device=CPU, batch_size=4))
    (again,) = look_over(detector, images[1:2], device=CPU, batch_size=4)
    assert [each.path for each in looks if each] == [image.path for image in images]
    assert again is not None
    assert looks[1] is not None
    torch.testing.assert_close(again.doubt, looks[1].doubt, atol=1e-4, rtol=0)
    for each in looks:
        assert each is not None
        for values in (each.doubt, each.shaken):
            assert bool(((values >= 0) & (values <= 1)).all())
        torch.testing.assert_close(each.feature, normalize(each.feature, dim=0))


def test_an_image_that_cannot_be_read_is_passed_over(tiny_run: Path, squares: Path, tmp_path: Path) -> None:
    good = load_unlabeled(squares / "unlabeled").images[0]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(good.path.read_bytes())
    (tmp_path / "images" / "b.png").write_bytes(good.path.read_bytes()[:60])
    records = load_unlabeled(tmp_path / "images").images
    looks = list(look_over(load_detector(RunFolder(tiny_run).best), records, device=CPU, batch_size=4))
    assert [each is None for each in looks] == [record.path.name == "b.png" for record in records]
