"""How long doctor takes for many images: the search for near-duplicates, and reading files with and without a cache.

python bench/doctor_scale.py [--hashes 100000] [--files 2000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from softdet.doctor.cache import FactCache
from softdet.doctor.gathering import gather, stamps_of
from softdet.doctor.near import MOST_BITS, near_twins


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hashes", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=2_000)
    arguments = parser.parse_args()
    planted_pairs(arguments.hashes)
    still_camera(arguments.hashes)
    if arguments.files:
        with tempfile.TemporaryDirectory() as folder:
            files(arguments.files, Path(folder))


def planted_pairs(num: int) -> None:
    """Random hashes, of which one in a hundred has a copy with up to six bits flipped."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, num, dtype=np.uint64)
    thumbs = rng.integers(0, 256, (num, 192), dtype=np.uint8)
    copies = rng.choice(num // 2, num // 100, replace=False)
    for copy in copies:
        bits = rng.choice(64, rng.integers(0, MOST_BITS + 1), replace=False)
        hashes[num // 2 + copy] = hashes[copy] ^ np.uint64(sum(1 << int(bit) for bit in bits))
        thumbs[num // 2 + copy] = thumbs[copy]
    seconds, twins = timed(hashes, thumbs, rng.integers(0, 4, num))
    rate = num**2 / 2 / seconds / 1e6
    hits = sum(num // 2 + copy in twins[copy] for copy in copies)
    others = int((twins >= 0).any(1).sum()) - 2 * hits
    print(f"{num} random hashes: {seconds:.1f} CPU seconds, {rate:.0f} million pairs/s; ", end="")
    print(f"{hits} of {len(copies)} planted pairs found, {others} images in other pairs")


def still_camera(num: int) -> None:
    """Frames of twenty still cameras: hashes around twenty centres, so that most pairs of a camera are close."""
    rng = np.random.default_rng(0)
    camera = rng.integers(0, 20, num)
    hashes = rng.integers(0, 2**64, 20, dtype=np.uint64)[camera]
    for _ in range(4):
        hashes = hashes ^ (np.uint64(1) << rng.integers(0, 64, num).astype(np.uint64))
    thumbs = rng.integers(0, 256, (20, 192), dtype=np.uint8)[camera]
    seconds, twins = timed(hashes, thumbs, rng.integers(0, 4, num))
    print(f"{num} frames of 20 still cameras: {seconds:.1f} CPU seconds; {(twins >= 0).any(1).mean():.1%} have a twin")


def timed(
    hashes: np.ndarray[tuple[int], np.dtype[np.uint64]],
    thumbs: np.ndarray[tuple[int, int], np.dtype[np.uint8]],
    pool: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> tuple[float, np.ndarray[tuple[int, int], np.dtype[np.int64]]]:
    # Of the processor: what else runs beside it doesn't count.
    start = time.process_time()
    twins = near_twins(hashes, thumbs, pool, 4)
    return time.process_time() - start, twins


def files(num: int, folder: Path) -> None:
    """Photograph-like JPEG files of 1280x960, read for the first time and from the cache."""
    rng = np.random.default_rng(0)
    for number in range(num):
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        small.resize((1280, 960), Image.Resampling.BICUBIC).save(folder / f"{number:06d}.jpg")
    paths = sorted(folder.glob("*.jpg"))
    for what in ("first time", "from the cache"):
        cache = FactCache(folder / "cache")
        start = time.process_time()
        gather(paths, stamps_of(paths), cache)
        seconds = time.process_time() - start
        cache.close()
        print(f"{num} files of 1280x960, {what}: {seconds:.1f} CPU seconds, {num / seconds:.0f} files/s of one core")


if __name__ == "__main__":
    main()
