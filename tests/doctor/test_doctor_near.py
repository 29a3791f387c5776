import numpy as np
import pytest
from numpy.typing import NDArray

from softdet.doctor.near import MOST_BITS, near_twins

NUM_POOLS = 3
Arrays = tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.int64]]


def random_set(num: int, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, num, dtype=np.uint64)
    return hashes, rng.integers(0, 256, (num, 192), dtype=np.uint8), rng.integers(0, NUM_POOLS, num)


def flipped(code: np.uint64, num_bits: int, rng: np.random.Generator) -> np.uint64:
    bits = rng.choice(64, num_bits, replace=False)
    return code ^ np.uint64(sum(1 << int(bit) for bit in bits))


def by_hand(hashes: NDArray[np.uint64], thumbs: NDArray[np.uint8], pool: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N, P): whether a picture has a twin in a pool, each pair looked at."""
    close = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= MOST_BITS
    alike = np.corrcoef(thumbs.astype(float)) >= 0.9
    pairs = close & alike & ~np.eye(len(hashes), dtype=bool)
    return np.stack([pairs[:, pool == number].any(1) for number in range(NUM_POOLS)], 1)


def test_pairs_of_any_close_distance_are_found_and_no_others() -> None:
    hashes, thumbs, pool = random_set(600)
    rng = np.random.default_rng(1)
    for number in range(100):
        hashes[300 + number] = flipped(hashes[number], number % (MOST_BITS + 3), rng)
        thumbs[300 + number] = thumbs[number]
    twins = near_twins(hashes, thumbs, pool, NUM_POOLS)
    np.testing.assert_array_equal(twins >= 0, by_hand(hashes, thumbs, pool))
    assert (twins >= 0).any()


def test_a_crowd_of_hashes_around_one_is_as_by_hand() -> None:
    hashes, thumbs, pool = random_set(200)
    rng = np.random.default_rng(2)
    for number in range(120):
        hashes[number] = flipped(hashes[0], int(rng.integers(0, 5)), rng)
        # Two kinds of pictures that share their shape, not their colours.
        thumbs[number] = thumbs[number % 2]
    twins = near_twins(hashes, thumbs, pool, NUM_POOLS)
    # Equal hashes count as alike without a second look where the mean colour is about the same too.
    expected = by_hand(hashes, thumbs, pool)
    assert (twins >= 0)[expected].all()
    assert ((twins >= 0) & ~expected).mean() < 0.02


def test_a_twin_is_of_its_pool_and_never_the_picture_itself() -> None:
    hashes, thumbs, pool = random_set(40)
    hashes[20:], thumbs[20:] = hashes[:20], thumbs[:20]
    twins = near_twins(hashes, thumbs, pool, NUM_POOLS)
    for number, row in enumerate(twins.tolist()):
        other = (number + 20) % 40
        assert row == [other if pool[other] == place else -1 for place in range(NUM_POOLS)]


def test_other_colours_tell_the_same_shape_apart() -> None:
    hashes = np.full(2, 12345, np.uint64)
    thumbs = np.stack([np.tile([200, 30, 30], 64), np.tile([30, 30, 200], 64)]).astype(np.uint8)
    assert (near_twins(hashes, thumbs, np.zeros(2, np.int64), 1) == -1).all()


@pytest.mark.parametrize("num", [0, 1])
def test_nothing_to_compare(num: int) -> None:
    assert near_twins(*random_set(num), NUM_POOLS).tolist() == [[-1] * NUM_POOLS] * num


def test_a_hundred_thousand_with_planted_pairs() -> None:
    num = 100_000
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, num, dtype=np.uint64)
    thumbs = np.repeat(rng.integers(0, 256, (num, 3), dtype=np.uint8), 4, axis=1)
    for number in range(200):
        hashes[50_000 + number] = flipped(hashes[number], number % (MOST_BITS + 1), rng)
        thumbs[50_000 + number] = thumbs[number]
    twins = near_twins(hashes, thumbs, np.zeros(num, np.int64), 1)[:, 0]
    assert twins[:200].tolist() == list(range(50_000, 50_200))
    assert (twins[200:50_000] == -1).all()
