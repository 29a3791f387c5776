import numpy as np
import pytest
import torch
from torchvision.ops import clip_boxes_to_image

from softdet.models.criterion import assign
from softdet.models.postprocess import candidates, detect, on_cpu, suppress
from softdet.ops.matching import IGNORED
from softdet.structures import DenseOutput, Instances, Targets

SIZE = (64, 64)
OPTIONS = {"score_threshold": 0.05, "iou_threshold": 0.5, "top_k": 1000}


def instances(boxes: list[list[float]], labels: list[int], scores: list[float]) -> Instances:
    return Instances(torch.tensor(boxes), torch.tensor(labels), torch.tensor(scores))


def slow_candidates(output: DenseOutput, image: int, threshold: float, top_k: int) -> list[tuple]:
    """One (score, label, box) after the other, in float64."""
    found = []
    anchors = output.anchors.double().numpy()
    for a in range(len(anchors)):
        for label, logit in enumerate(output.logits[image, a].double().tolist()):
            score = 1 / (1 + np.exp(-logit))
            if score > threshold:
                found.append((score, label, a))
    found = sorted(found, reverse=True)[:top_k]
    results = []
    for score, label, a in found:
        x1, y1, x2, y2 = anchors[a]
        dx, dy, dw, dh = output.deltas[image, a].double().tolist()
        x, y = (x1 + x2) / 2 + dx * (x2 - x1), (y1 + y2) / 2 + dy * (y2 - y1)
        w, h = np.exp(dw) * (x2 - x1), np.exp(dh) * (y2 - y1)
        box = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, 64)
        if box[2] > box[0] and box[3] > box[1]:
            results.append((score, label, box))
    return results


@pytest.mark.parametrize("top_k", [50, 5000])
def test_candidates_are_those_of_a_slow_loop(make_output, top_k: int) -> None:
    output = make_output()
    for image, found in enumerate(candidates(output, SIZE, score_threshold=0.3, top_k=top_k)):
        expected = slow_candidates(output, image, 0.3, top_k)
        assert len(found) == len(expected) > 10
        np.testing.assert_allclose(found.scores, [row[0] for row in expected], rtol=1e-5)
        np.testing.assert_array_equal(found.labels, [row[1] for row in expected])
        np.testing.assert_allclose(found.boxes, np.stack([row[2] for row in expected]), atol=1e-3)


def test_top_k_keeps_the_highest_pairs_of_each_image(make_output) -> None:
    output = make_output()
    everything = candidates(output, SIZE, score_threshold=0.05, top_k=5000)
    for few, all_of_them in zip(candidates(output, SIZE, score_threshold=0.05, top_k=7), everything, strict=True):
        assert few.scores.tolist() == all_of_them.scores[:7].tolist()


def test_boxes_outside_the_view_are_no_candidates(make_output) -> None:
    output = make_output(1)
    output.deltas[0, :, 0] = 1000.0
    (found,) = candidates(output, SIZE, score_threshold=0.05, top_k=1000)
    assert len(found) == 0


def test_an_empty_image_gives_no_detection(make_output) -> None:
    output = make_output(2)
    output.logits[0] = -20.0
    empty, full = detect(output, SIZE, **OPTIONS)
    assert len(empty) == 0 < len(full)
    assert empty.boxes.shape == (0, 4)


def test_one_pair_of_an_anchor_does_not_hide_another_class(make_output) -> None:
    output = make_output(1)
    output.logits[:] = -20.0
    output.logits[0, 100] = torch.tensor([2.0, -20.0, 3.0])
    (found,) = detect(output, SIZE, **OPTIONS)
    assert found.labels.tolist() == [2, 0]


def test_trap_8_suppression_is_within_each_class() -> None:
    box = [10.0, 10.0, 30.0, 30.0]
    found = suppress(instances([box, box, box], [0, 1, 0], [0.9, 0.8, 0.7]), 0.5)
    assert found.labels.tolist() == [0, 1]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.8]))


def test_trap_8_overlap_counts_no_extra_pixel() -> None:
    # IoU is 66 / 134 = .49; with the +1 of old code it would be .53.
    found = suppress(instances([[0.0, 0, 10, 10], [3.4, 0, 13.4, 10]], [1, 1], [0.9, 0.8]), 0.5)
    assert len(found) == 2


def test_suppression_goes_by_falling_score(make_output) -> None:
    for found in detect(make_output(), SIZE, **OPTIONS):
        assert (found.scores.diff() <= 0).all()
        assert len(found) > 10


def test_batched_is_single(make_output) -> None:
    output = make_output(3)
    for image, together in enumerate(detect(output, SIZE, **OPTIONS)):
        part = DenseOutput(output.logits[image : image + 1], output.deltas[image : image + 1], output.anchors)
        (alone,) = detect(part, SIZE, **OPTIONS)
        for name in ("boxes", "labels", "scores"):
            assert torch.equal(getattr(together, name), getattr(alone, name))


def test_trap_7_perfect_outputs_are_exactly_the_boxes_with_the_first_and_last_label(make_output) -> None:
    output = make_output(2)
    boxes = torch.tensor([[4.0, 4, 28, 30], [30, 34, 62, 60], [3, 6, 29, 29]])
    targets = [Targets(boxes, torch.tensor([0, 2, 2]), boxes[:0]), Targets(boxes[:1], torch.tensor([2]), boxes[:0])]
    assignment = assign(output.anchors, targets, allow_low_quality=True)
    logits = torch.full_like(output.logits, -20.0)
    deltas = torch.zeros_like(output.deltas)
    positive = assignment.positive
    image, anchor = positive.nonzero(as_tuple=True)
    logits[image, anchor, assignment.labels[positive]] = 20.0
    deltas[positive] = assignment.deltas
    assert (assignment.labels == IGNORED).any()

    found = detect(DenseOutput(logits, deltas, output.anchors), SIZE, **OPTIONS)
    for target, seen in zip(targets, found, strict=True):
        order = [int((seen.boxes - box).abs().sum(1).argmin()) for box in target.boxes]
        assert sorted(order) == list(range(len(seen)))
        torch.testing.assert_close(seen.boxes[order], target.boxes, atol=1e-4, rtol=0)
        assert seen.labels[order].tolist() == target.labels.tolist()


def test_detections_stay_inside_the_view(make_output) -> None:
    for found in detect(make_output(), (40, 64), **OPTIONS):
        assert torch.equal(found.boxes, clip_boxes_to_image(found.boxes, (40, 64)))
        assert found.boxes[:, 3].max() == 40


def test_on_cpu_gives_plain_float32(make_output) -> None:
    half = Instances(
        torch.ones(1, 4, dtype=torch.bfloat16, requires_grad=True), torch.tensor([2]), torch.ones(1).half()
    )
    plain = on_cpu(half)
    assert (plain.boxes.dtype, plain.scores.dtype, plain.boxes.requires_grad) == (torch.float32, torch.float32, False)
