"""What many tests share: a set of coloured squares that is learned in seconds, and one small run trained on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

# The user's own category ids: with gaps, and not in the order of the names.
CATEGORIES = [{"id": 17, "name": "red"}, {"id": 5, "name": "blue"}]
COLOURS = {17: (255, 0, 0), 5: (0, 90, 255)}
SIZES = [(96, 96), (128, 96), (96, 144)]  # width x height, none of them the canvas

CONFIG = """
data: {{train: {folder}/train.json, valid: {folder}/valid.json, unlabeled: {folder}/unlabeled}}
basenet: {{arch: test_resnet, pretrained: False, lr_backbone: 3e-3}}
optimizer: {{which: AdamW, lr: 3e-3, warmup_steps: 2}}
params: {{batch_size: 4, iterations: 24, image_size: 64x64, log_every: 4, evaluate_every: 12, scale: [0.9, 1.0],
          colour: False}}
soft_teacher: {{burn_in_steps: 16, pseudo_cls_th: 0.2, ema_decay: 0.8}}
model: {{exp_path: {folder}/never, fpn_channels: 32, head_convs: 1, anchor_sizes: [12, 20, 40, 80, 160],
         anchor_octaves: [1.0], anchor_ratios: [1.0]}}
cuda: {{using: False}}
"""


def write_squares(folder: Path, name: str, num_images: int, seed: int) -> list[dict[str, Any]]:
    """Draw pictures of two squares each into a folder; gives their entries with the boxes."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number in range(num_images):
        width, height = SIZES[number % len(SIZES)]
        pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
        boxes = []
        for cell in rng.permutation(4)[:2].tolist():
            side = int(rng.integers(28, 44))
            x = cell % 2 * (width // 2) + int(rng.integers(0, width // 2 - side + 1))
            y = cell // 2 * (height // 2) + int(rng.integers(0, height // 2 - side + 1))
            category = int(rng.choice([17, 5]))
            pixels[y : y + side, x : x + side] = COLOURS[category]
            boxes.append((category, [x, y, side, side]))
        file_name = f"{name}_{number}.png"
        Image.fromarray(pixels).save(folder / file_name)
        entries.append({"id": 1000 * seed + 3 * number, "file_name": file_name, "boxes": boxes})
        entries[-1] |= {"width": width, "height": height}
    return entries


def coco_json(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The COCO content of what `write_squares` drew."""
    annotations = [
        {"image_id": entry["id"], "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for entry in entries
        for category, box in entry["boxes"]
    ]
    return {
        "images": [{key: value for key, value in entry.items() if key != "boxes"} for entry in entries],
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, 1)],
        "categories": CATEGORIES,
    }


def make_squares(folder: Path) -> Path:
    """Write the set: train.json and valid.json beside images/, a plain folder unlabeled/, and tiny.yaml."""
    for name, num_images, seed in (("train", 8, 1), ("valid", 8, 2)):
        entries = write_squares(folder / "images", name, num_images, seed)
        (folder / f"{name}.json").write_text(json.dumps(coco_json(entries)))
    write_squares(folder / "unlabeled", "unlabeled", 6, 3)
    (folder / "tiny.yaml").write_text(CONFIG.format(folder=folder))
    return folder


def run_command(*arguments: object) -> int:
    """Run `softdet` in this process; its exit code."""
    # Imported late: the floors test, which comes first, does without torch.
    from softdet.cli.main import main

    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return code or 0


@pytest.fixture(scope="session")
def softdet() -> Callable[..., int]:
    """The command, run in this process; gives its exit code."""
    return run_command


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set, not to be changed."""
    return make_squares(tmp_path_factory.mktemp("squares"))


@pytest.fixture
def own_squares(tmp_path: Path) -> Path:
    """A set of the test's own, to be changed at will."""
    return make_squares(tmp_path / "squares")


@pytest.fixture(scope="session")
def tiny_config(squares: Path) -> Callable[..., Any]:
    """The set's config with overrides."""
    from softdet.config import load_config

    return lambda *overrides: load_config(squares / "tiny.yaml", overrides)


@pytest.fixture(scope="session")
def tiny_run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short Soft Teacher run over the set, not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert run_command("train", "--config", squares / "tiny.yaml", f"model.exp_path={folder}") == 0
    return folder


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """Build the smallest RetinaNet from scratch: `make_model(seed, **arguments of build_retinanet)`."""
    import torch

    from softdet.models.retinanet import build_retinanet

    tiny = {"arch": "test_resnet", "num_classes": 3, "freeze_batchnorm": True, "fpn_channels": 16, "head_convs": 1}
    anchors = {"anchor_sizes": (16, 24, 32, 48, 64), "anchor_octaves": (1.0, 1.15, 1.3)}

    def make(seed: int = 0, **changes: Any) -> Any:
        torch.manual_seed(seed)
        return build_retinanet(**tiny | anchors | changes)

    return make


@pytest.fixture(scope="session")
def make_output(make_model: Callable[..., Any]) -> Callable[..., Any]:
    """Random dense outputs on the anchors of a 64 x 64 view: `make_output(batch, num_classes, seed)`."""
    import torch

    from softdet.structures import DenseOutput

    anchors = make_model().anchors_at((64, 64))

    def make(batch: int = 2, num_classes: int = 3, seed: int = 0) -> Any:
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(batch, len(anchors), num_classes, generator=generator) * 2 - 2
        return DenseOutput(logits, torch.randn(batch, len(anchors), 4, generator=generator) * 0.3, anchors)

    return make
