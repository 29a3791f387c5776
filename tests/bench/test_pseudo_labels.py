"""What is said of a run's pseudo-labels is what its boxes are against the truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pseudo_labels
from pseudo_labels import SIGNS, look, what_is_found, what_scores_mean, what_tells_places
from softdet.data.datasets import ImageDataset
from softdet.data.index_reading import load_labeled
from softdet.evaluation.detector import Detector, load_detector
from softdet.models.retinanet import RetinaNet
from softdet.structures import DenseOutput, Targets


class Mirror(torch.nn.Module):
    """Ten anchors an object at its place, a sure score of the first class; mirrored images give mirrored boxes."""

    def __init__(self, boxes: torch.Tensor) -> None:
        super().__init__()
        self.boxes = boxes.repeat(10, 1)

    def forward(self, images: torch.Tensor) -> DenseOutput:
        boxes = self.boxes
        if images[0, 0, 0, 0] < images[0, 0, 0, -1]:
            boxes = torch.stack([64 - boxes[:, 2], boxes[:, 1], 64 - boxes[:, 0], boxes[:, 3]], 1)
        logits = torch.full((1, len(boxes), 3), -9.0)
        logits[:, :, 0] = 3.0
        return DenseOutput(logits, torch.zeros(1, len(boxes), 4), boxes)


def test_true_boxes_are_on_their_objects_and_where_their_mirror_image_has_them(tiny_run: Path, squares: Path) -> None:
    card = load_detector(tiny_run / "weights" / "last.safetensors").card
    index = load_labeled(squares / "valid.json")
    sample = ImageDataset(index.images, (64, 64), "letterbox")[0]
    sample.image[:, 0, 0], sample.image[:, 0, -1] = 255, 0
    model: RetinaNet = Mirror(sample.targets.boxes)  # type: ignore[assignment]
    rows = look(Detector(model, card), sample)
    assert len(rows) == len(sample.targets) > 0
    signs = {sign: rows[:, column] for column, sign in enumerate(SIGNS)}
    assert signs["cluster"] == pytest.approx(0, abs=1e-3)
    assert signs["flip"] == pytest.approx(0, abs=1e-5)
    assert signs["score"] == pytest.approx(1 - torch.tensor(3.0).sigmoid().item())
    assert rows[:, -2] == pytest.approx(1)
    assert sorted(rows[:, -1]) == sorted((sample.targets.labels == 0).tolist())


def test_where_no_object_is_labeled_a_box_keeps_its_signs_and_is_on_none(tiny_run: Path, squares: Path) -> None:
    card = load_detector(tiny_run / "weights" / "last.safetensors").card
    sample = ImageDataset(load_labeled(squares / "valid.json").images, (64, 64), "letterbox")[0]
    sample.image[:, 0, 0], sample.image[:, 0, -1] = 255, 0
    model: RetinaNet = Mirror(sample.targets.boxes + torch.tensor([0.0, 0, 3, 0]))  # type: ignore[assignment]
    labeled = look(Detector(model, card), sample)
    rows = look(Detector(model, card), replace(sample, targets=Targets.empty()))
    assert (rows[:, :-2] == labeled[:, :-2]).all()
    assert (rows[:, -2:] == 0).all()


def test_the_lines_are_those_worked_by_hand() -> None:
    # Signs, IoU, right class. The first sign tells the places exactly, the second the wrong way round.
    rows = np.array(
        [
            [0.1, 0.4, 0.0, 0.05, 0.9, 1],
            [0.2, 0.3, 0.0, 0.20, 0.8, 0],
            [0.3, 0.2, 0.0, 0.05, 0.6, 1],
            [0.4, 0.1, 0.0, 0.30, 0.2, 0],
            [0.5, 0.0, 0.0, 0.60, 0.9, 1],
        ]
    )
    found = what_is_found(rows, 4).splitlines()
    places = "0.750 on one with mean IoU 0.767, 0.667 above 0.75"
    assert found[0] == f"above 0.5: 1.00 boxes an object, {places}, 0.667 of these of its class"
    assert found[1].startswith("above 0.9: 0.50 boxes an object, 1.000 on one with mean IoU 0.750")
    scores = what_scores_mean(rows).splitlines()
    assert scores[2] == "  0.3 to 0.5: 1 boxes, mean score 0.400, 1.000 right"
    assert scores[3] == "  0.5 to 0.7: 1 boxes, mean score 0.700, 0.000 right", "on no object"
    assert scores[4] == "  0.7 to 0.9: 1 boxes, mean score 0.800, 0.000 right", "of another class"
    assert scores[5] == "  0.9 to 1.0: 2 boxes, mean score 0.950, 1.000 right"
    told = what_tells_places(rows).splitlines()
    assert told[0] == "4 boxes above 0.5: 0.750 on one with mean IoU 0.767, 0.667 above 0.75"
    assert (
        told[1] == "  cluster  correlation +1.00; its better half: 1.000 on one with mean IoU 0.850, 1.000 above 0.75"
    )
    assert (
        told[2] == "  anchors  correlation -1.00; its better half: 0.500 on one with mean IoU 0.600, 0.000 above 0.75"
    )
    assert told[3].startswith("  flip     correlation +nan"), "a constant tells nothing"


def test_nothing_found_is_said_and_no_traceback() -> None:
    assert what_is_found(np.zeros((0, 6)), 3).startswith("above 0.5: 0.00 boxes an object, - on one")
    assert what_scores_mean(np.zeros((0, 6))).endswith("0.9 to 1.0: 0 boxes, mean score -, - right")
    assert what_tells_places(np.zeros((0, 6))).startswith("0 boxes above 0.5: - on one")


def test_the_command_looks_at_the_unlabeled_images_of_a_run(
    tiny_run: Path, squares: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pseudo_labels.main([str(tiny_run), str(squares / "valid.json"), str(squares / "valid.json")]) == 0
    assert capsys.readouterr().out.startswith("above 0.5: ")


@pytest.mark.parametrize("missing", ["run", "truth"])
def test_what_is_not_there_is_told(
    missing: str, tiny_run: Path, squares: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tiny_run if missing != "run" else squares / "no_run"
    truth = squares / ("valid.json" if missing != "truth" else "none.json")
    assert pseudo_labels.main([str(run), str(truth), str(squares / "valid.json")]) == 2
    assert "error: " in capsys.readouterr().err


def test_images_of_another_set_are_told(tiny_run: Path, squares: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pseudo_labels.main([str(tiny_run), str(squares / "valid.json"), str(squares / "unlabeled")]) == 2
    assert "has no box in an image of" in capsys.readouterr().err
