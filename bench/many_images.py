"""What a folder of very many unlabeled images asks of `prepare`, `doctor` and the start and end of `train`.

python bench/many_images.py [--images 100000] [--folder FOLDER]

The images are small squares of noise, so that what each file costs is seen and not what its pixels do.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from softdet.data.synthetic import write_synthetic

_PER_FOLDER = 1000
_SIDE = 32
# A detector from scratch that takes milliseconds a step.
_TRAINING = [
    "basenet.arch=test_resnet",
    "basenet.pretrained=false",
    "params.image_size=64x64",
    "params.batch_size=2",
    "params.iterations=20",
    "soft_teacher.burn_in_steps=10",
    "soft_teacher.ramp_steps=0",
    "soft_teacher.control=false",
    "model.fpn_channels=16",
    "model.head_convs=1",
]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the set and the run go, and stay; left out: deleted")
    options = parser.parse_args(arguments)
    if options.folder:
        return measure(options.folder, options.images)
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder), options.images)


def measure(folder: Path, num: int) -> int:
    """Draw the set below the folder, then run and time each command; the exit status of the first that fails."""
    write_synthetic(folder, num_labeled=40, num_unlabeled=0, num_valid=20, side=64)
    write_noise(folder / "many", num)
    images: list[str | Path] = [
        "--labeled",
        folder / "labeled.json",
        "--valid",
        folder / "valid.json",
        "--unlabeled",
        folder / "many",
    ]
    commands = {
        "prepare": [*images, "--out", folder / "lists"],
        "doctor": [*images, "--no-cache"],
        "train": [*images, "--out", folder / "run", *_TRAINING],
    }
    for name, rest in commands.items():
        start = time.perf_counter()
        # Small sets have findings, for which doctor ends with 1.
        status, usage = run([sys.executable, "-m", "softdet", name, *map(str, rest)], folder / f"{name}.txt")
        if status not in ((0, 1) if name == "doctor" else (0,)):
            print((folder / f"{name}.txt").read_text(encoding="utf-8"), file=sys.stderr)
            return status
        seconds, memory = time.perf_counter() - start, usage.ru_maxrss / 2**20
        processor = usage.ru_utime + usage.ru_stime
        print(
            f"{name}, {num} images: {seconds:.0f} s, {processor:.0f} s of processor time, {memory:.1f} GB", flush=True
        )
    return 0


def write_noise(folder: Path, num: int) -> None:
    """Write JPEG files of noise, no two alike, a thousand a folder."""
    rng = np.random.default_rng(0)
    for number in range(num):
        place = folder / f"{number // _PER_FOLDER:03d}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number:06d}.jpg")


def run(command: Sequence[str], log: Path) -> tuple[int, resource.struct_rusage]:
    """Run a command to its end; its exit status and what it and its processes used."""
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage


if __name__ == "__main__":
    raise SystemExit(main())
