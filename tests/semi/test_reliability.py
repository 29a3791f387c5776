import numpy as np
import pytest
import torch

from softdet.models.postprocess import candidates, suppress
from softdet.ops.box_coding import encode
from softdet.semi.reliability import anchor_uncertainty, background_weights, cluster_uncertainty
from softdet.structures import DenseOutput, Instances


def instances(boxes: list[list[float]], labels: list[int], scores: list[float]) -> Instances:
    return Instances(torch.tensor(boxes).view(-1, 4), torch.tensor(labels, dtype=torch.int64), torch.tensor(scores))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    inter = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def slow_cluster(found: Instances, before: Instances) -> list[float]:
    result = []
    boxes = before.boxes.double().numpy()
    for box, label in zip(found.boxes.double().numpy(), found.labels.tolist(), strict=True):
        cluster, weights = [], []
        for other, other_label, score in zip(boxes, before.labels.tolist(), before.scores.tolist(), strict=True):
            if other_label == label and score >= 0.05 and overlap(box, other) >= 0.6:
                cluster.append(other)
                weights.append(score)
        mean = np.average(cluster, axis=0, weights=weights)
        deviation = np.sqrt(np.average((np.array(cluster) - mean) ** 2, axis=0, weights=weights))
        width, height = box[2] - box[0], box[3] - box[1]
        result.append(float(np.mean(deviation / [width, height, width, height])))
    return result


def test_background_weighs_one_minus_the_highest_class(make_output) -> None:
    logits = make_output(2).logits
    scores = 1 / (1 + np.exp(-logits.double().numpy()))
    np.testing.assert_allclose(background_weights(logits), 1 - scores.max(-1), atol=1e-6)


def test_background_weights_go_from_0_for_a_sure_object_to_1_for_nothing() -> None:
    logits = torch.tensor([[[30.0, -30.0], [-30.0, -30.0], [-30.0, 0.0]]])
    torch.testing.assert_close(background_weights(logits), torch.tensor([[0.0, 1.0, 0.5]]))
    assert background_weights(logits.bfloat16()).dtype == torch.float32


def test_cluster_uncertainty_is_that_of_a_slow_loop(make_output) -> None:
    output = make_output(2)
    output = DenseOutput(output.logits, output.deltas * 0.3, output.anchors)
    for before in candidates(output, (64, 64), score_threshold=0.01, top_k=1000):
        found = suppress(before, 0.5)
        uncertainty = cluster_uncertainty(found, before)
        np.testing.assert_allclose(uncertainty, slow_cluster(found, before), atol=1e-5)
        assert (uncertainty > 0).sum() > 10


def test_two_boxes_by_hand() -> None:
    # Weights 2/3 and 1/3, one pixel apart along x: std is sqrt(2) / 3 of 10 on two of the four coordinates.
    before = instances([[0.0, 0, 10, 20], [1, 0, 11, 20]], [1, 1], [0.6, 0.3])
    uncertainty = cluster_uncertainty(before[torch.tensor([0])], before)
    torch.testing.assert_close(uncertainty, torch.tensor([2**0.5 / 3 / 10 / 2]))


@pytest.mark.parametrize(
    ("box", "label", "score"),
    [([1.0, 0, 11, 20], 0, 0.3), ([1.0, 0, 11, 20], 1, 0.049), ([3.0, 0, 13, 20], 1, 0.3)],
    ids=["another class", "too low a score", "too far away"],
)
def test_what_does_not_belong_to_the_cluster_is_left_out(box: list[float], label: int, score: float) -> None:
    before = instances([[0.0, 0, 10, 20], box], [1, label], [0.6, score])
    assert cluster_uncertainty(before[torch.tensor([0])], before).item() == 0


def test_cluster_uncertainty_knows_neither_scale_nor_place(make_output) -> None:
    (before,) = candidates(make_output(1), (64, 64), score_threshold=0.3, top_k=200)
    found = suppress(before, 0.5)
    expected = cluster_uncertainty(found, before)
    for scale, shift in ((8.0, 0.0), (1.0, 1000.0)):
        moved = Instances(before.boxes * scale + shift, before.labels, before.scores)
        where = Instances(found.boxes * scale + shift, found.labels, found.scores)
        torch.testing.assert_close(cluster_uncertainty(where, moved), expected, atol=2e-4, rtol=1e-3)


def test_anchor_uncertainty_is_that_of_a_slow_loop(make_output) -> None:
    output = make_output(2)
    anchors = output.anchors.double().numpy()
    sides, centres = anchors[:, 2:] - anchors[:, :2], (anchors[:, 2:] + anchors[:, :2]) / 2
    found = instances([[5.3, 7.1, 30.2, 33.3], [40, 41.7, 51.1, 50.9]], [0, 2], [0.9, 0.8])
    for image in range(2):
        deltas = output.deltas[image].double().numpy()
        middle, half = centres + deltas[:, :2] * sides, np.exp(deltas[:, 2:]) * sides / 2
        decoded = np.concatenate([middle - half, middle + half], 1)
        expected = []
        for box in found.boxes.double().numpy():
            overlaps = [overlap(box, anchor) for anchor in anchors]
            nearest = np.argsort(overlaps)[::-1][:10]
            width, height = box[2] - box[0], box[3] - box[1]
            expected.append(np.mean(decoded[nearest].std(0) / [width, height, width, height]))
        np.testing.assert_allclose(anchor_uncertainty(found, output, image), expected, rtol=1e-4)


def test_anchors_that_all_decode_to_one_box_are_certain(make_output) -> None:
    output = make_output(1)
    box = torch.tensor([10.0, 12, 40, 38])
    deltas = encode(box.expand_as(output.anchors), output.anchors)[None]
    uncertainty = anchor_uncertainty(instances([box.tolist()], [0], [0.9]), output._replace(deltas=deltas), 0)
    assert uncertainty.item() < 1e-5


def test_an_image_without_boxes_has_no_uncertainty(make_output) -> None:
    nothing = instances([], [], [])
    assert cluster_uncertainty(nothing, nothing).shape == (0,)
    assert anchor_uncertainty(nothing, make_output(1), 0).shape == (0,)
