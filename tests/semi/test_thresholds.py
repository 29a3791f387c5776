import pytest
import torch

from softdet.semi.thresholds import UncertaintyThreshold


def rows(*pairs: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(pairs).view(-1, 2)


def test_before_the_first_box_everything_is_believed() -> None:
    threshold = UncertaintyThreshold(None)
    assert threshold.value == float("inf")
    threshold.observe(torch.zeros(0, 2))
    assert threshold.value == float("inf")


def test_the_median_of_the_boxes_above_nine_tenths() -> None:
    threshold = UncertaintyThreshold(None)
    threshold.observe(rows((0.95, 0.1), (0.91, 0.3), (0.99, 0.2), (0.9, 9.0), (0.2, 7.0), (0.1, 8.0)))
    assert threshold.value == pytest.approx(0.2)


def test_the_median_of_the_top_tenth_where_no_box_is_above() -> None:
    threshold = UncertaintyThreshold(None)
    scores = torch.linspace(0.05, 0.9, 50)
    uncertainty = torch.arange(50.0)
    mixed = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    threshold.observe(torch.stack([scores, uncertainty], 1)[mixed])
    assert threshold.value == 47.0, "the median of 45 to 49"


def test_a_single_box_is_its_own_median() -> None:
    threshold = UncertaintyThreshold(None)
    threshold.observe(rows((0.07, 0.4)))
    assert threshold.value == pytest.approx(0.4)


def test_a_fixed_value_is_never_read_off() -> None:
    threshold = UncertaintyThreshold(0.0)
    threshold.observe(rows((0.95, 0.1)))
    assert threshold.value == 0.0


def test_old_boxes_are_forgotten() -> None:
    threshold = UncertaintyThreshold(None)
    threshold.observe(torch.tensor([[0.95, 1.0]]).expand(4096, 2))
    for _ in range(4):
        threshold.observe(torch.tensor([[0.95, 3.0]]).expand(1000, 2))
    assert threshold.value == 3.0
    threshold.observe(torch.tensor([[0.95, 5.0]]).expand(4096, 2))
    assert threshold.recent.unique(dim=0).tolist() == [[pytest.approx(0.95), 5.0]]


def test_a_restored_threshold_goes_on_where_it_was() -> None:
    straight, resumed = UncertaintyThreshold(None), UncertaintyThreshold(None)
    straight.observe(rows((0.95, 0.1), (0.96, 0.5)))
    resumed.load_state_dict(straight.state_dict())
    assert resumed.value == straight.value
    for threshold in (straight, resumed):
        threshold.observe(rows((0.97, 0.9)))
    assert resumed.value == straight.value == pytest.approx(0.5)


def test_remembering_keeps_no_graph() -> None:
    threshold = UncertaintyThreshold(None)
    threshold.observe(rows((0.95, 0.1)).requires_grad_())
    assert not threshold.recent.requires_grad
