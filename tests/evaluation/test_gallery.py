from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from softdet.data.index import ImageRecord
from softdet.data.index_reading import load_unlabeled
from softdet.evaluation.detector import load_detector
from softdet.evaluation.gallery import Gallery, choose_images, fates_of
from softdet.evaluation.run import RunFolder
from softdet.report.looks import Look, append_look, read_looks
from softdet.semi.labeling import Labeler
from softdet.semi.pseudo_labels import PseudoLabels
from softdet.semi.teacher import Teacher
from softdet.semi.thresholds import ScoreThresholds, UncertaintyThreshold
from softdet.structures import Instances


@pytest.fixture
def make_labeler(tiny_run: Path) -> Callable[..., Labeler]:
    model = load_detector(RunFolder(tiny_run).best).model

    def make(**changes: Any) -> Labeler:
        plain: dict[str, Any] = {
            "score_thresholds": ScoreThresholds(0.5, (1.0, 1.0)),
            "box_score_threshold": None,
            "uncertainty_threshold": UncertaintyThreshold(0.1),
            "background": "soft",
            "doubtful_threshold": 0.3,
            "box_reliability": "cluster",
            "empty_image_weight": 0.0,
        }
        return Labeler(Teacher(model, 0.9), **plain | changes)

    return make


@pytest.fixture
def make_gallery(tiny_run: Path, squares: Path, tmp_path: Path, make_labeler: Callable[..., Labeler]) -> Any:
    card = load_detector(RunFolder(tiny_run).best).card

    def make(records: list[ImageRecord] | None = None, **changes: Any) -> Gallery:
        chosen = choose_images(load_unlabeled(squares / "unlabeled").images, 4, 0) if records is None else records
        return Gallery(
            make_labeler(**changes),
            chosen,
            card,
            class_targets="hard",
            teaches_places=True,
            file=tmp_path / "gallery.jsonl",
            thumbnails=tmp_path / "gallery",
            device=torch.device("cpu"),
            batch_size=3,
        )

    return make


def test_the_fates_are_what_the_labeler_teaches(make_labeler: Callable[..., Labeler]) -> None:
    scores, uncertainty = torch.tensor([0.9, 0.8, 0.5, 0.4, 0.2]), torch.tensor([0.05, 0.5, 0.05, 0.05, 0.05])
    boxes = torch.tensor([[1.0, 1, 9, 9]]).repeat(5, 1) + torch.arange(5)[:, None]
    labels = PseudoLabels(Instances(boxes, torch.zeros(5, dtype=torch.int64), scores), uncertainty)
    plain = make_labeler()
    assert fates_of(plain, labels, teaches_classes=True) == ["both", "class", "dropped", "dropped", "dropped"]
    careful = make_labeler(background="ignore", box_score_threshold=0.35)
    fates = fates_of(careful, labels, teaches_classes=True)
    assert fates == ["both", "class", "place", "place", "dropped"]
    ignored = fates_of(make_labeler(background="ignore"), labels, teaches_classes=True)
    assert ignored == ["both", "class", "ignored", "ignored", "dropped"]
    assert fates_of(plain, labels, teaches_classes=False) == ["place", "dropped", "dropped", "dropped", "dropped"]
    turned = fates_of(plain, labels, teaches_classes=True, teaches_places=False)
    assert turned == ["class", "class", "dropped", "dropped", "dropped"]
    for labeler in (plain, careful):
        (verdict,) = labeler.judge([labels])
        fates = fates_of(labeler, labels, teaches_classes=True)
        assert verdict.teaches_class.tolist() == [fate in ("both", "class") for fate in fates]
        assert verdict.teaches_place.tolist() == [fate in ("both", "place") for fate in fates]


def test_a_look_holds_numbers_of_the_images_and_their_thumbnails(make_gallery: Any, tmp_path: Path) -> None:
    gallery = make_gallery()
    gallery.look(gallery.labeler.teacher.model, 7)
    [look] = read_looks(tmp_path / "gallery.jsonl")
    assert look.step == 7
    assert look.thresholds == (0.5, 0.5)
    assert len(look.images) == 4
    for watched in look.images:
        with Image.open(tmp_path / "gallery" / watched.image) as small:
            assert max(small.size) <= 320
        assert Path(watched.source).is_file()
        assert all(0 <= value <= 1 for seen in watched.teacher for value in seen.corners)
        assert [seen.score for seen in watched.teacher] == sorted((s.score for s in watched.teacher), reverse=True)
    # Teacher and student are the same model here, and see the same boxes, by two ways of finding them.
    pairs = [(w.teacher[0].corners, w.student[0].corners) for w in look.images if w.teacher and w.student]
    assert pairs
    for one, other in pairs:
        assert one == pytest.approx(other, abs=0.02)


def test_a_resumed_run_writes_no_step_twice(make_gallery: Any, tmp_path: Path) -> None:
    file = tmp_path / "gallery.jsonl"
    first = make_gallery()
    for step in (10, 20, 30):
        first.look(first.labeler.teacher.model, step)
    resumed = make_gallery()
    resumed.look(first.labeler.teacher.model, 20)
    assert [look.step for look in read_looks(file)] == [10, 20]
    assert len(file.read_text().splitlines()) == 2


def test_an_image_that_cant_be_read_is_passed_over(make_gallery: Any, squares: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    records = [ImageRecord.plain(0, broken), *load_unlabeled(squares / "unlabeled").images[:1]]
    gallery = make_gallery(records)
    gallery.look(gallery.labeler.teacher.model, 1)
    [look] = read_looks(tmp_path / "gallery.jsonl")
    assert len(look.images) == 1


def test_nothing_is_written_before_the_first_look(make_gallery: Any, tmp_path: Path) -> None:
    make_gallery()
    assert list(tmp_path.iterdir()) == []


def test_the_same_images_are_chosen_for_a_seed(squares: Path) -> None:
    images = load_unlabeled(squares / "unlabeled").images
    assert choose_images(images, 3, 1) == choose_images(images, 3, 1)
    assert len(choose_images(images, 99, 1)) == len(images)
    assert len({tuple(r.id for r in choose_images(images, 3, seed)) for seed in range(9)}) > 1


def test_a_run_keeps_a_gallery_and_pictures(tiny_run: Path) -> None:
    run = RunFolder(tiny_run)
    assert [look.step for look in read_looks(run.gallery)] == [12, 16, 24]
    assert (run.pictures / "train_batch.jpg").is_file()
    assert (run.pictures / "valid_predictions.jpg").is_file()
    assert {"ap.svg", "losses.svg", "health.svg", "confusion.svg"} <= {path.name for path in run.plots.iterdir()}


def test_looking_changes_nothing_of_the_training(
    softdet: Callable[..., int], squares: Path, tiny_run: Path, tmp_path: Path
) -> None:
    without = tmp_path / "without"
    overrides = [f"model.exp_path={without}", "params.gallery_images=0"]
    assert softdet("train", "--config", squares / "tiny.yaml", *overrides) == 0
    weights, same = load_file(RunFolder(tiny_run).last), load_file(RunFolder(without).last)
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert not RunFolder(without).gallery.exists()


def test_a_line_that_was_cut_off_doesnt_count(tmp_path: Path) -> None:
    file = tmp_path / "gallery.jsonl"
    append_look(file, Look(1, (0.5,), "hard", ()))
    file.write_text(file.read_text() + '{"step": 2, "thres')
    assert [look.step for look in read_looks(file)] == [1]
