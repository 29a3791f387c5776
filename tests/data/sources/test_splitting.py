"""Stratified, grouped, seeded."""

from __future__ import annotations

import numpy as np
import pytest

from softdet.data.sources.classes import with_one_class_list
from softdet.data.sources.parts import Tally
from softdet.data.sources.splitting import grouped, joined, stratified
from softdet.errors import DataError


def random_labels(seed: int, num_images: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((num_images, 6)) < np.array([0.7, 0.4, 0.2, 0.1, 0.05, 0.02])


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("shares", [(0.8, 0.2), (0.7, 0.2, 0.1)])
def test_each_image_is_on_one_side_and_each_class_on_all(seed: int, shares: tuple[float, ...]) -> None:
    labels = random_labels(seed, 150)
    sides = stratified(labels, range(150), shares, seed)
    assert sorted(index for side in sides for index in side) == list(range(150))
    assert [len(side) for side in sides] == pytest.approx([share * 150 for share in shares], abs=3)
    for column in labels.T:
        counts = [column[side].sum() for side in sides]
        if column.sum() >= len(shares):
            assert min(counts) >= 1
        elif column.any():
            assert counts[0] >= 1
        assert counts == pytest.approx([share * column.sum() for share in shares], abs=max(2, 0.05 * column.sum()))


def test_the_seed_decides() -> None:
    labels = random_labels(0, 60)
    once, again, other = (stratified(labels, range(60), (0.8, 0.2), seed) for seed in (1, 1, 2))
    assert once == again != other


@pytest.mark.parametrize("num_images", [2, 3, 4, 5])
def test_tiny_sets_keep_one_on_each_side(num_images: int) -> None:
    train, valid = stratified(np.ones((num_images, 1), bool), range(num_images), (0.8, 0.2), 0)
    assert (len(train), len(valid)) == (num_images - 1, 1)


def test_a_class_of_two_images_is_on_both_sides_and_one_of_one_is_trained_on() -> None:
    labels = np.zeros((40, 3), bool)
    labels[:, 0] = True
    labels[[3, 30], 1] = True
    labels[7, 2] = True
    for seed in range(20):
        train, valid = stratified(labels, range(40), (0.8, 0.2), seed)
        assert labels[train][:, 1].sum() == labels[valid][:, 1].sum() == 1
        assert 7 in train


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 12, 200).tolist()
    train, valid = stratified(random_labels(seed, 200), groups, (0.8, 0.2), seed)
    assert not {groups[index] for index in train} & {groups[index] for index in valid}
    assert 15 <= len(valid) <= 75


def test_images_without_a_box_are_shared_out_too() -> None:
    labels = np.zeros((20, 1), bool)
    labels[:10] = True
    _, valid = stratified(labels, range(20), (0.8, 0.2), 0)
    assert sum(index >= 10 for index in valid) == 2


def test_groups_by_a_pattern() -> None:
    names = ["site1/a.png", "site2/b.png", "site1/c.png", "d.png"]
    assert grouped(names, None) == [0, 1, 2, 3]
    assert grouped(names, r"^(site\d)/") == [0, 1, 0, 2]
    assert grouped(names, r"site\d") == [0, 1, 0, 2]


def test_groups_with_a_key_in_common_are_one() -> None:
    assert joined([0, 1, 2, 3], "abcd") == [0, 1, 2, 3]
    assert joined([0, 1, 2, 3], "abca") == [0, 1, 2, 0]
    assert joined([0, 0, 1, 1, 2], "abbcc") == [0, 0, 0, 0, 0], "through others"
    assert joined([], "") == []


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "is no regular expression"),
        ("^video", "matches none of 2 images, such as a1.png"),
        ("^a", "puts all 2 images into one group, 'a'"),
    ],
)
def test_a_pattern_that_does_not_do(pattern: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        grouped(["a1.png", "a2.png"], pattern)


def content(
    *categories: tuple[int | str, str], boxes: tuple[int | str, ...] = ()
) -> dict[str, list[dict[str, object]]]:
    return {
        "images": [],
        "annotations": [{"category_id": number} for number in boxes],
        "categories": [{"id": number, "name": name} for number, name in categories],
    }


def test_all_splits_get_the_same_classes_by_name() -> None:
    noted = Tally()
    first, second = with_one_class_list(
        [
            content((3, "cat"), (5, "dog"), boxes=(3, 5)),
            content((0, "dog"), (3, " cat "), (5, "bird"), boxes=(0, 3, 5)),
        ],
        noted,
    )
    assert first["categories"] == second["categories"]
    assert [(each["id"], each["name"]) for each in first["categories"]] == [(3, "cat"), (5, "dog"), (6, "bird")]
    assert [each["category_id"] for each in second["annotations"]] == [5, 3, 6]
    assert not noted.counts


def test_two_categories_of_one_name_become_the_one_with_boxes() -> None:
    noted = Tally()
    (only,) = with_one_class_list([content((0, "raccoon"), (1, "raccoon"), (2, "Raccoon"), boxes=(1,))], noted)
    assert [(each["id"], each["name"]) for each in only["categories"]] == [(1, "raccoon"), (2, "Raccoon")]
    assert list(noted.counts) == [
        "categories of the same name became one",
        "class names differ in capital letters alone: are they one class?",
    ]
