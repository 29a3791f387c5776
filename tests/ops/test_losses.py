import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import generalized_box_iou, sigmoid_focal_loss

from softdet.ops.box_coding import decode, encode
from softdet.ops.losses import focal_loss, giou_loss, smooth_l1_loss
from softdet.ops.matching import BACKGROUND, IGNORED

NUM_CLASSES = 5


def random_case(seed: int, num_classes: int = NUM_CLASSES) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 40, num_classes, generator=generator) * 3
    return logits, torch.randint(-1, num_classes, (3, 40), generator=generator)


@pytest.mark.parametrize("num_classes", [1, NUM_CLASSES])
def test_focal_loss_is_torchvisions(num_classes: int) -> None:
    logits, labels = random_case(0, num_classes)
    targets = torch.zeros_like(logits)
    for place in (labels >= 0).nonzero().tolist():
        targets[(*place, int(labels[tuple(place)]))] = 1
    expected = sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2.0).sum(-1)
    torch.testing.assert_close(focal_loss(logits, labels), expected)


def test_focal_loss_is_the_papers_formula() -> None:
    logits, labels = random_case(1)
    scores = 1 / (1 + np.exp(-logits.double().numpy()))
    is_class = np.arange(NUM_CLASSES) == labels.numpy()[..., None]
    true_score = np.where(is_class, scores, 1 - scores)
    alpha = np.where(is_class, 0.25, 0.75)
    expected = (-alpha * (1 - true_score) ** 2 * np.log(true_score)).sum(-1)
    np.testing.assert_allclose(focal_loss(logits, labels).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_labels_count_from_0_and_background_is_none_of_them() -> None:
    # Trap 7: every label, the first and the last among them, is the logit of the same number.
    for label in range(NUM_CLASSES):
        logits = torch.full((NUM_CLASSES,), -12.0)
        logits[label] = 12
        assert focal_loss(logits, torch.tensor(label)) < 1e-6
        assert focal_loss(logits, torch.tensor((label + 1) % NUM_CLASSES)) > 1
    assert focal_loss(torch.full((NUM_CLASSES,), -12.0), torch.tensor(BACKGROUND)) < 1e-6


def test_any_negative_label_has_no_class() -> None:
    logits, _ = random_case(2)
    background = focal_loss(logits, torch.full(logits.shape[:-1], BACKGROUND))
    assert torch.equal(focal_loss(logits, torch.full(logits.shape[:-1], IGNORED)), background)


def test_extreme_logits_have_finite_loss_and_gradients() -> None:
    logits = torch.tensor([[200.0, -200], [-200, 200]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([1, 0]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_half_precision_logits_give_a_single_precision_loss() -> None:
    logits, labels = random_case(3)
    loss = focal_loss(logits.bfloat16(), labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, focal_loss(logits.bfloat16().float(), labels))


def test_box_loss_is_smooth_l1_summed_over_the_offsets() -> None:
    generator = torch.Generator().manual_seed(4)
    deltas, targets = torch.randn(2, 30, 4, generator=generator) * 0.3
    distance, beta = np.abs((deltas - targets).double().numpy()), 1 / 9
    expected = np.where(distance < beta, distance**2 / (2 * beta), distance - beta / 2).sum(-1)
    np.testing.assert_allclose(smooth_l1_loss(deltas, targets).numpy(), expected, rtol=1e-5)
    torch.testing.assert_close(
        smooth_l1_loss(deltas, targets).sum(), F.smooth_l1_loss(deltas, targets, beta=beta, reduction="sum")
    )


def test_losses_of_nothing_have_gradients() -> None:
    deltas = torch.zeros(0, 4, requires_grad=True)
    smooth_l1_loss(deltas, torch.zeros(0, 4)).sum().backward()
    assert deltas.grad is not None
    assert focal_loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).shape == (0,)


def test_giou_loss_is_torchvisions_on_boxes_whatever_the_anchor() -> None:
    generator = torch.Generator().manual_seed(5)
    corners = torch.rand(3, 40, 2, generator=generator) * 60
    anchors, boxes, found = torch.cat([corners, corners + 2 + torch.rand(3, 40, 2, generator=generator) * 90], -1)
    deltas, targets = encode(found, anchors), encode(boxes, anchors)
    torch.testing.assert_close(decode(deltas, anchors), found, rtol=1e-4, atol=1e-3)
    expected = 2 * (1 - generalized_box_iou(found, boxes).diagonal())
    torch.testing.assert_close(giou_loss(deltas, targets), expected, rtol=1e-3, atol=1e-4)
    assert giou_loss(targets, targets).max() < 1e-5


def test_giou_loss_of_wild_or_no_offsets_has_finite_gradients() -> None:
    deltas = (torch.tensor([[1.0, -1, 1, -1], [-1, 1, -1, 1]]) * 1e4).requires_grad_()
    loss = giou_loss(deltas, torch.zeros(2, 4)).sum() + giou_loss(torch.zeros(0, 4), torch.zeros(0, 4)).sum()
    loss.backward()
    assert loss.isfinite()
    assert deltas.grad is not None
    assert deltas.grad.isfinite().all()
