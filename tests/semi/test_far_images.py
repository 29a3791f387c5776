"""Features, their distances, and how far is too far."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from softdet.data.datasets import ImageDataset
from softdet.data.index_reading import load_unlabeled
from softdet.models.retinanet import RetinaNet, build_retinanet
from softdet.semi.far_images import Distances, distances_among, image_features, nearest_labeled

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
WEIGHTS = SHARED / "weights" / "mobilenetv2_100-imagenet-fp16.safetensors"


def cloud(number: int, seed: int, centre: int = 0, width: float = 0.2) -> Tensor:
    """Directions around one axis of sixteen."""
    noise = torch.randn(number, 16, generator=torch.Generator().manual_seed(seed))
    return normalize(torch.eye(16)[centre] + width * noise)


def measure(labeled: Tensor, unlabeled: Tensor) -> Distances:
    return Distances(*nearest_labeled(unlabeled, labeled), distances_among(labeled))


def distances(unlabeled: list[float], labeled: list[float]) -> Distances:
    return Distances(torch.tensor(unlabeled), torch.zeros(len(unlabeled), dtype=torch.int64), torch.tensor(labeled))


@pytest.mark.parametrize("num_labeled", [1, 2, 3, 4, 30])
def test_distances_are_those_of_a_slow_loop(num_labeled: int) -> None:
    labeled, unlabeled = cloud(num_labeled, 1), cloud(12, 2, width=0.5)
    count = max(1, min(3, num_labeled - 1))
    found = measure(labeled, unlabeled)
    for row, one in enumerate(unlabeled):
        to_each = sorted((1 - float(one @ other), place) for place, other in enumerate(labeled))
        assert float(found.unlabeled[row]) == pytest.approx(sum(d for d, _ in to_each[:count]) / count, abs=1e-6)
        assert int(found.nearest[row]) == to_each[0][1]
    assert len(found.labeled) == (num_labeled if num_labeled > 1 else 0)
    for row in range(len(found.labeled)):
        to_others = sorted(1 - float(labeled[row] @ labeled[k]) for k in range(num_labeled) if k != row)
        assert float(found.labeled[row]) == pytest.approx(sum(to_others[:count]) / count, abs=1e-6)


def test_an_images_distance_is_its_own_however_many_there_are() -> None:
    labeled, unlabeled = cloud(5, 1), cloud(500, 2)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    together, shuffled = measure(labeled, unlabeled), measure(labeled, unlabeled[order])
    torch.testing.assert_close(shuffled.unlabeled, together.unlabeled[order])
    assert torch.equal(shuffled.nearest, together.nearest[order])
    torch.testing.assert_close(measure(labeled, unlabeled[490:]).unlabeled, together.unlabeled[490:])


def test_the_limit_is_what_labeled_images_or_the_bulk_of_the_others_reach() -> None:
    # The median is 2, the deviations 2 1 0 1 2, their median 1.
    unlabeled = [0.0, 1, 2, 3, 4]
    assert distances(unlabeled, [0.1, 0.2]).limit == pytest.approx(2 + 2.5 * 1.4826)
    assert distances(unlabeled, [0.1, 7.0]).limit == pytest.approx(0.1 + 0.99 * 6.9)
    assert distances(unlabeled, []).limit == pytest.approx(2 + 2.5 * 1.4826)
    # A hundred labeled images and one odd one: that one vouches for nobody.
    assert distances(unlabeled, [0.1] * 200 + [50.0]).limit == pytest.approx(2 + 2.5 * 1.4826)


def test_only_images_beyond_the_limit_are_far() -> None:
    found = distances([0.1] * 5 + [0.12, 0.13, 0.14, 0.3, 0.5], [0.1, 0.2, 0.3])
    assert found.limit == pytest.approx(0.298)
    assert found.far.tolist() == [False] * 8 + [True] * 2


def test_copies_of_labeled_frames_make_nothing_else_far() -> None:
    # Most are all but copies of each other: their deviation is nearly 0, and that of the rest no reason.
    found = distances([0.010] * 60 + [0.013] * 10 + [0.03] * 2, [0.010, 0.012])
    assert found.far.tolist() == [False] * 70 + [True] * 2


@pytest.mark.parametrize("seed", range(20))
def test_less_than_half_is_ever_far(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    number = int(torch.randint(1, 9, (), generator=generator))
    found = Distances(torch.rand(number, generator=generator) ** 4, torch.zeros(number), torch.zeros(3))
    assert 2 * int(found.far.sum()) < number


def test_no_unlabeled_image_at_all() -> None:
    found = measure(cloud(4, 0), cloud(0, 0))
    assert found.far.shape == found.nearest.shape == (0,)
    assert not found.is_another_world


def test_foreign_images_are_far_and_images_alike_are_not() -> None:
    labeled, alike, foreign = cloud(20, 1), cloud(200, 2), cloud(20, 3, centre=1)
    found = measure(labeled, torch.cat([alike, foreign]))
    assert found.far[200:].all()
    assert found.far[:200].float().mean() < 0.02
    assert not found.is_another_world
    assert measure(labeled, alike).far.float().mean() < 0.02


def test_a_pool_that_is_foreign_as_a_whole_is_another_world() -> None:
    labeled, alike, foreign = cloud(20, 1), cloud(50, 2), cloud(60, 3, centre=1)
    assert measure(labeled, foreign).is_another_world
    assert measure(labeled, torch.cat([alike, foreign])).is_another_world
    assert not measure(labeled, alike).is_another_world
    assert not measure(labeled[:1], foreign).is_another_world, "one labeled image says nothing about their spread"


def features_by_hand(model: RetinaNet, image: Tensor, rows: int, columns: int) -> Tensor:
    """Of a picture that fills so many cells of stride 16, twice as many as of stride 32."""
    _, middle, deep = model.backbone(((image - model.mean) / model.std)[None])
    mean = middle[0, :, :rows, :columns].mean((1, 2))
    maximum = deep[0, :, : max(1, rows // 2), : max(1, columns // 2)].amax((1, 2))
    return torch.cat([mean / mean.norm(), maximum / maximum.norm()]) / 2**0.5


def test_features_are_the_mean_of_stride_16_and_the_maximum_of_stride_32(make_model) -> None:
    model = make_model(freeze_batchnorm=False).eval()
    images = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    content = torch.tensor([[64.0, 96.0], [32.0, 64.0], [3.0, 2.0]])
    features = image_features(model, images, content)
    with torch.no_grad():
        expected = [features_by_hand(model, images[i], *cells) for i, cells in enumerate([(4, 6), (2, 4), (1, 1)])]
    torch.testing.assert_close(features, torch.stack(expected), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    assert features.shape[1] == sum(model.backbone.channels[1:])
    assert not features.requires_grad


# Defined only where the pictures are: a test that skips says nothing.
if WEIGHTS.is_file() and (SHARED / "data" / "raccoon").is_dir():

    @pytest.mark.real
    def test_raccoons_among_cards_are_further_than_cards() -> None:
        model = build_retinanet(
            arch="mobilenetv2_100", num_classes=1, pretrained=WEIGHTS, freeze_batchnorm=True, fpn_channels=16
        ).eval()

        def look(name: str, count: int) -> Tensor:
            names = json.loads((SHARED / "data" / name).read_text())["images"][:count]
            folder = (SHARED / "data" / name).parent
            kept = {entry["file_name"] for entry in names}
            records = [r for r in load_unlabeled(folder / "train.json").images if r.path.name in kept]
            samples = [ImageDataset(records, (96, 96), "letterbox")[i] for i in range(len(records))]
            images = torch.stack([sample.image for sample in samples]).float() / 255
            return image_features(model, images, torch.tensor([sample.content for sample in samples]).float())

        labeled, cards = look("cards/labeled_10_fold1.json", 30), look("cards/unlabeled_10_fold1.json", 40)
        raccoons = look("raccoon/train.json", 8)
        found = measure(labeled, torch.cat([cards, raccoons]))
        is_further = found.unlabeled[40:, None] > found.unlabeled[None, :40]
        assert is_further.float().mean() > 0.95
        assert found.far[:40].sum() <= 2
