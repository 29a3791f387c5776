import pytest
import torch

from softdet.semi.thresholds import ScoreThresholds, UncertaintyThreshold


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


def detections(**scores_by_label: list[float]) -> torch.Tensor:
    pairs = [(int(label[1:]), score) for label, scores in scores_by_label.items() for score in scores]
    return torch.tensor(pairs).view(-1, 2)


def test_each_class_keeps_as_many_boxes_an_image_as_the_labels_hold() -> None:
    thresholds = ScoreThresholds(None, (2.0, 0.5))
    seen = detections(_0=[0.9, 0.8, 0.7, 0.6, 0.5, 0.4], _1=[0.3, 0.25, 0.2])
    thresholds.observe(seen, num_images=2)
    labels = seen[:, 0].long()
    kept = seen[:, 1] > thresholds.of(labels)
    assert labels[kept].bincount(minlength=2).tolist() == [4, 1], "2.0 and 0.5 an image, of two images"
    assert seen[kept, 1].tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.3])


def test_a_class_that_is_found_too_rarely_keeps_all_that_is_not_noise() -> None:
    thresholds = ScoreThresholds(None, (3.0,))
    thresholds.observe(detections(_0=[0.9, 0.2, 0.06]), num_images=4)
    assert thresholds.value.tolist() == pytest.approx([0.1])


def test_a_class_without_a_label_or_a_detection_teaches_nothing() -> None:
    thresholds = ScoreThresholds(None, (0.0, 1.0))
    thresholds.observe(detections(_0=[0.99]), num_images=4)
    assert thresholds.value.tolist() == [1.0, 1.0]


def test_the_thresholds_follow_the_recent_images_alone() -> None:
    thresholds = ScoreThresholds(None, (1.0,))
    for score in (0.9, 0.3):
        for _ in range(128):
            thresholds.observe(detections(_0=[score] * 16), num_images=8)
    assert int(thresholds.num_images.sum()) == 1024
    assert thresholds.value.tolist() == pytest.approx([0.3]), "the images of .9 are forgotten"
    assert len(thresholds.rows) == 16 * 128


def test_a_step_of_very_many_images_is_not_forgotten_at_once() -> None:
    thresholds = ScoreThresholds(None, (1.0,))
    for score in (0.5, 0.3):
        thresholds.observe(torch.tensor([[0.0, score]] * 3000), 2000)
    assert int(thresholds.num_images.sum()) == 2000
    assert thresholds.value.tolist() == pytest.approx([0.3])


def test_a_fixed_score_is_the_same_for_all_classes() -> None:
    thresholds = ScoreThresholds(0.7, (1.0, 2.0))
    thresholds.observe(detections(_0=[0.99]), num_images=1)
    assert thresholds.of(torch.tensor([1, 0, 1])).tolist() == pytest.approx([0.7] * 3)


def test_a_fixed_score_is_the_configs_and_not_the_checkpoints() -> None:
    """Whoever goes on with another config than the checkpoint's must not teach by the old threshold unseen."""
    thresholds = ScoreThresholds(fixed=0.9, density=[0.5, 0.5])
    thresholds.load_state_dict(ScoreThresholds(fixed=0.5, density=[0.5, 0.5]).state_dict())
    assert thresholds.value.tolist() == [pytest.approx(0.9), pytest.approx(0.9)]


def test_score_thresholds_go_on_where_they_were_saved() -> None:
    def halves(thresholds: ScoreThresholds, first: int, last: int) -> None:
        for step in range(first, last):
            generator = torch.Generator().manual_seed(step)
            found = torch.stack([torch.arange(10.0) % 2, torch.rand(10, generator=generator)], 1)
            thresholds.observe(found, num_images=3)

    whole, before, after = (ScoreThresholds(None, (1.0, 0.4)) for _ in range(3))
    halves(whole, 0, 500)
    halves(before, 0, 200)
    after.load_state_dict(before.state_dict())
    halves(after, 200, 500)
    assert torch.equal(after.value, whole.value)
    assert torch.equal(after.rows, whole.rows)
