"""Whether labeling the images that a detector is in doubt about teaches more than labeling others by chance.

    python bench/suggest.py --data DATA --weights FILE

For each set and fold: a control on the fold's labeled images; then as many images again, once those that are suggested
by that control, twice drawn by chance; a control on both together. One row a run in docs/suggest.csv; rows that exist
are skipped.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evidence.measure import read_metrics
from softdet.data.index import Index, load_labeled, load_unlabeled
from softdet.deploy.suggestion import look_over, suggest_images
from softdet.engine.detector import load_detector
from softdet.engine.run import RunFolder

SETS: dict[str, list[str]] = {
    "cards": ["params.image_size=160x160", "params.mixup=0.5", "params.iterations=1000"],
    "bccd": [
        "params.image_size=192x224",
        "model.anchor_octaves=[0.5, 1.0, 1.26, 1.587]",
        "params.iterations=800",
    ],
}
FOLDS = (1, 2, 3)
NUM_SUGGESTIONS = 30
EVERY_RUN = [
    *("basenet.arch=mobilenetv2_100", "basenet.lr_backbone=5e-4", "optimizer.which=AdamW", "optimizer.lr=5e-4"),
    *("optimizer.weight_decay=1e-4", "optimizer.schedule=cosine", "params.batch_size=8", "model.fpn_channels=96"),
    *("model.head_convs=2", "soft_teacher.ema_decay=0.995", "params.evaluate_every=400"),
]
COLUMNS = ("set", "fold", "arm", "images", "boxes", "AP", "AP50")


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--data", type=Path, default=Path("data"))
    options.add_argument("--weights", type=Path, required=True, help="ImageNet weights of mobilenetv2_100")
    options.add_argument("--runs", type=Path, default=Path("runs/suggest"))
    options.add_argument("--rows", type=Path, default=Path("docs/suggest.csv"))
    options.add_argument("--sets", nargs="+", default=list(SETS))
    options.add_argument("--chances", type=int, default=2, help="draws by chance")
    options.add_argument("--folds", nargs="+", type=int, default=FOLDS)
    chosen = options.parse_args(arguments)
    torch.set_num_threads(1)
    for fold in chosen.folds:
        for name in chosen.sets:
            compare(name, fold, chosen)


def compare(name: str, fold: int, options: Any) -> None:
    """Make the runs of a fold of a set."""
    folder = options.data / name
    labeled = load_labeled(folder / f"labeled_10_fold{fold}.json")
    pool = load_unlabeled(folder / f"unlabeled_10_fold{fold}.json")
    base = train(name, fold, "labeled alone", [], options)
    if not is_made(name, fold, "suggested", options) and not base.last.is_file():
        # Its row came from another machine.
        base = train(name, fold, "labeled alone", [], options, again=True)
    rng = np.random.default_rng(fold)
    paths = [record.path.name for record in pool.images]
    if not is_made(name, fold, "suggested", options):
        train(name, fold, "suggested", suggested(base, labeled, pool), options)
    for number in range(1, options.chances + 1):
        drawn = rng.permutation(len(paths))[:NUM_SUGGESTIONS]
        train(name, fold, f"chance {number}", [paths[place] for place in drawn], options)


def suggested(run: RunFolder, labeled: Index, pool: Index) -> list[str]:
    """The images that a run's detector suggests, by file name."""
    detector = load_detector(run.last)
    where: Any = {"device": torch.device("cpu"), "batch_size": 8}
    known = torch.stack([look.feature for look in look_over(detector, labeled.images, **where) if look])
    looks = [look for look in look_over(detector, pool.images, **where) if look]
    counts = torch.from_numpy(labeled.boxes_by_class())
    return [each.path.name for each in suggest_images(looks, known, counts, NUM_SUGGESTIONS)]


def train(name: str, fold: int, arm: str, more: Sequence[str], options: Any, *, again: bool = False) -> RunFolder:
    """Train a control on the fold's labeled images and some more; append its row, unless it's there."""
    run = RunFolder((options.runs / name / f"fold{fold}" / arm.replace(" ", "_")).absolute())
    if is_made(name, fold, arm, options) and not again:
        return run
    run.path.parent.mkdir(parents=True, exist_ok=True)
    folder = options.data / name
    first = json.loads((folder / f"labeled_10_fold{fold}.json").read_text())
    truth = json.loads((folder / "train.json").read_text())
    names = {image["file_name"] for image in first["images"]} | set(more)
    images = [image for image in truth["images"] if Path(image["file_name"]).name in {Path(n).name for n in names}]
    ids = {image["id"] for image in images}
    boxes = [box for box in truth["annotations"] if box["image_id"] in ids]
    train_list = run.path.with_suffix(".json")
    train_list.write_text(json.dumps(truth | {"images": images, "annotations": boxes}))
    keys = [
        *(f"data.train={train_list}", f"data.valid={(folder / 'val.json').absolute()}"),
        *(f"data.root={(folder / 'images').absolute()}", f"basenet.pretrained={options.weights.absolute()}"),
        *(f"params.random_seed={3000 + fold}", f"model.exp_path={run.path}"),
    ]
    config = run.path.with_suffix(".yaml")
    config.write_text(f"data: {{train: {train_list}, valid: {folder.absolute() / 'val.json'}}}\n")
    resume = ["--resume", str(run.path)] if run.checkpoint.is_file() else None
    command = resume or ["--config", str(config), "--overwrite", "--supervised", *EVERY_RUN, *SETS[name], *keys]
    with run.path.with_suffix(".log").open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "softdet", "train", *command], check=True, stdout=log, stderr=subprocess.STDOUT
        )
    last = [row for row in read_metrics(run.metrics) if row.get("valid_AP")][-1]
    row = {"set": name, "fold": fold, "arm": arm, "images": len(images), "boxes": len(boxes)}
    if not again:
        append(options.rows, row | {"AP": last["valid_AP"], "AP50": last["valid_AP50"]})
    print(f"{name} fold {fold} {arm}: {len(images)} images, AP {100 * float(last['valid_AP']):.1f}", flush=True)
    return run


def is_made(name: str, fold: int, arm: str, options: Any) -> bool:
    return any((row["set"], row["fold"], row["arm"]) == (name, str(fold), arm) for row in read_rows(options.rows))


def read_rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append(path: Path, row: dict[str, Any]) -> None:
    is_new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
