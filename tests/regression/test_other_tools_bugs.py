"""Bugs that other training tools have shipped, a test for each, so that this one never does."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from PIL import Image
from states import differences
from torch import Tensor

from softdet import builders
from softdet.builders.rehearsal import scratch_trainer
from softdet.builders.smoke import prove
from softdet.config import Config, load_config
from softdet.data.index_reading import load_labeled
from softdet.engine.checkpoint import load_checkpoint
from softdet.engine.loggers import CsvLogger, Loggers
from softdet.engine.trainer import Trainer
from softdet.errors import ConfigError
from softdet.evaluation.detector import load_detector, read_card
from softdet.evaluation.inference import detections_over, to_coco
from softdet.evaluation.metrics import evaluate_detections, load_truth
from softdet.evaluation.run import RunFolder
from softdet.semi.teacher import Teacher
from softdet.structures import Instances

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
Make = Callable[..., Config]
Command = Callable[..., int]


def launched(config: Config) -> tuple[Any, builders.Data]:
    fabric = builders.make_fabric(config)
    fabric.launch()
    return fabric, builders.load_data(config)


def after_steps(config: Config, steps: range = range(2)) -> dict[str, Tensor]:
    """The student's weights after some steps."""
    fabric, data = launched(config)
    with scratch_trainer(config, data, fabric) as trainer:
        trainer.rehearse(steps)
        return {name: value.clone() for name, value in trainer.student.module.state_dict().items()}


def trainer_in(config: Config, *, resume: bool = False) -> Trainer:
    fabric, data = launched(config)
    return builders.make_trainer(config, fabric, data, resume=resume)


def set_of(folder: Path, sizes: list[tuple[int, int]], boxes: list[list[float]], categories: list[int]) -> Path:
    """A list of grey images (width x height), each with all these boxes."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (width, height) in enumerate(sizes):
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        images.append({"id": number + 1, "file_name": f"{number}.png", "width": width, "height": height})
        for box, category in zip(boxes, categories, strict=True):
            row = {"id": len(annotations) + 1, "image_id": number + 1, "category_id": category, "bbox": box}
            annotations.append(row | {"area": box[2] * box[3], "iscrowd": 0})
    listed = [{"id": category, "name": f"class {category}"} for category in sorted(set(categories))]
    path = folder / "list.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": listed}))
    return path


@pytest.mark.parametrize(
    "change",
    [
        "optimizer.lr=1e-3",
        "optimizer.weight_decay=0.5",
        "optimizer.clip_norm=1e-3",
        "optimizer.warmup_steps=0",
        "optimizer.which=SGD",
        "basenet.lr_backbone=1e-5",
        "basenet.frozen_stages=2",
        "params.random_seed=7",
        "params.batch_size=2",
        "params.scale=[0.5, 0.6]",
    ],
)
def test_bug_01_every_key_acts(change: str, tiny_config: Make) -> None:
    plain = ("optimizer.clip_norm=0.5", "params.iterations=100")
    before = after_steps(tiny_config(*plain))
    assert differences(before, after_steps(tiny_config(*plain, change)))
    # And what has no say in the weights changes none of them.
    assert not differences(before, after_steps(tiny_config(*plain, "params.log_every=9")))


def test_bug_02_an_unknown_key_is_an_error(squares: Path) -> None:
    for section in Config.model_fields:
        with pytest.raises(ConfigError, match=rf"{section}\.no_such_key = 1: there is no such key"):
            load_config(squares / "tiny.yaml", [f"{section}.no_such_key=1"])


def test_bug_03_resume_is_exact(tiny_config: Make, tmp_path: Path) -> None:
    short = ("params.iterations=4", "soft_teacher.burn_in_steps=1", "params.evaluate_every=2", "params.log_every=1")
    configs = [tiny_config(*short, f"model.exp_path={tmp_path / name}") for name in ("whole", "broken")]
    assert trainer_in(configs[0]).fit()
    first = trainer_in(configs[1])
    batches = first.batches
    first.batches = lambda steps: takewhile(lambda each: each[0].step < 2, batches(steps))
    first.fit()
    assert load_checkpoint(first.checkpoint)["train"]["step"] == 2
    again = trainer_in(configs[1], resume=True)
    assert again.state.best_ap == first.state.best_ap
    assert again.fit()
    whole, resumed = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("whole", "broken"))
    assert resumed["method"]["teacher"]["num_updates"] > 2
    assert not differences(whole, resumed)


def test_bug_04_the_ema_never_absorbs_nan(make_model: Callable[..., Any], tiny_run: Path) -> None:
    student = make_model()
    teacher = Teacher(student, 0.9)
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    with torch.no_grad():
        next(student.parameters())[0] = float("nan")
    assert not teacher.update(student)
    assert not differences(before, teacher.model.state_dict())
    assert load_checkpoint(tiny_run / "checkpoint.pt")["train"]["step"] == 24


def test_bug_05_the_smoke_pass_cannot_become_best(tiny_config: Make, tmp_path: Path) -> None:
    short = ("params.iterations=2", "soft_teacher.burn_in_steps=1", "params.evaluate_every=2")
    config = tiny_config(*short, f"model.exp_path={tmp_path / 'run'}")
    fabric, data = launched(config)
    prove(config, data, fabric)
    assert not (tmp_path / "run").exists()
    trainer = builders.make_trainer(config, fabric, data, resume=False)
    assert trainer.state.best_ap == float("-inf")
    assert trainer.fit()
    run = RunFolder(tmp_path / "run")
    assert read_card(run.best).step in (1, 2)
    with run.metrics.open(newline="") as file:
        rows = [float(row["valid_AP"]) for row in csv.DictReader(file) if row["valid_AP"]]
    assert trainer.state.best_ap == pytest.approx(max(rows), abs=1e-5)


def test_bug_06_split_test_is_test(squares: Path, tiny_run: Path, tmp_path: Path, softdet: Command) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(tiny_run, run.path)
    # The labeled images, which were trained on, are scored as nothing else is.
    text = run.config.read_text()
    run.config.write_text(re.sub(r"^  test: .*$", f"  test: {squares / 'train.json'}", text, flags=re.MULTILINE))
    files = {}
    for split in ("valid", "test"):
        files[split] = tmp_path / f"{split}.json"
        assert softdet("evaluate", run.path, "--split", split, "--json", files[split]) == 0
    numbers = {split: json.loads(file.read_text()) for split, file in files.items()}
    detector = load_detector(run.best)
    index = load_labeled(squares / "train.json", detector.card.class_names)
    found = detections_over(detector.model, detector.card, index, device=CPU, batch_size=8)
    assert numbers["test"]["AP"] == evaluate_detections(load_truth(squares / "train.json"), found)["AP"]
    assert numbers["test"]["AP"] != numbers["valid"]["AP"]


@pytest.mark.parametrize("ids", [[0, 1, 2], [1, 2, 3], [90, 3, 17], [0], [7]])
def test_bug_07_class_ids_come_back_as_they_went_in(ids: list[int], tmp_path: Path) -> None:
    boxes = [[10.0 + 20 * number, 5.0, 15.0, 30.0] for number in range(len(ids))]
    path = set_of(tmp_path / "set", [(96, 64)], boxes, ids)
    index = load_labeled(path)
    (record,) = index.images
    assert sorted(record.labels.tolist()) == list(range(len(ids)))
    perfect = Instances(
        torch.from_numpy(record.boxes), torch.from_numpy(record.labels), torch.linspace(0.9, 0.8, len(ids))
    )
    rows = to_coco(record, perfect, index.category_ids)
    assert [row["category_id"] for row in rows] == ids
    assert evaluate_detections(load_truth(path), rows)["AP"] == pytest.approx(1.0)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bug_08_bad_boxes_and_images_without_any_are_learned_from(own_squares: Path) -> None:
    path = own_squares / "train.json"
    content = json.loads(path.read_text())
    first = content["images"][0]["id"]
    bad = [[5, 5, 0, 10], [500, 500, 20, 20], [-50, -50, 20, 20], [float("nan"), 1, 5, 5]]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] not in (first, first + 3)] + [
        {"id": 900 + n, "image_id": first, "category_id": 17, "bbox": box, "area": 1, "iscrowd": 0}
        for n, box in enumerate(bad)
    ]
    path.write_text(json.dumps(content))
    config = load_config(own_squares / "tiny.yaml")
    fabric, data = launched(config)
    assert sum(data.train.dropped.values()) == len(bad)
    with scratch_trainer(config, data, fabric) as trainer:
        trainer.rehearse(range(2))
        trainer.rehearse(range(16, 18))
        assert trainer.state.skipped_steps == 0
        assert all(value.isfinite().all() for value in trainer.student.module.parameters())


def evaluate_on_a_rank(rank: int, folder: Path, weights: Path, truth: Path) -> None:
    meeting = f"file://{folder / 'meeting'}"
    dist.init_process_group("gloo", meeting, timedelta(seconds=60), rank=rank, world_size=3)
    detector = load_detector(weights)
    index = load_labeled(truth, detector.card.class_names)
    two = replace(index, images=index.images[:2])
    found = detections_over(detector.model, detector.card, two, device=CPU, batch_size=1, rank=rank)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def evaluate_elsewhere(number: int, folder: Path, weights: Path, truth: Path) -> None:
    evaluate_on_a_rank(number + 1, folder, weights, truth)


def test_bug_09_three_processes_evaluate_two_images(tiny_run: Path, squares: Path, tmp_path: Path) -> None:
    run, truth = RunFolder(tiny_run), squares / "valid.json"
    # Rank 0 is this process; the last has no image at all.
    others = mp.spawn(evaluate_elsewhere, args=(tmp_path, run.best, truth), nprocs=2, join=False)
    evaluate_on_a_rank(0, tmp_path, run.best, truth)
    while not others.join():
        pass
    detector = load_detector(run.best)
    index = load_labeled(truth, detector.card.class_names)
    two = replace(index, images=index.images[:2])
    alone = detections_over(detector.model, detector.card, two, device=CPU, batch_size=1)
    assert alone
    for rank in range(3):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == alone


def test_bug_10_no_part_of_a_step_is_lost_to_accumulation(tiny_config: Make) -> None:
    # 8 images in steps of 6: the last step of the pass is whole too, and has all of its micro-batches.
    plain = ("params.batch_size=6", "params.iterations=None", "params.epoch=1", "soft_teacher.enabled=False")
    config = tiny_config(*plain, "params.accumulate=3")
    fabric, data = launched(config)
    with scratch_trainer(config, data, fabric) as trainer:
        served = [[len(batch.labeled) for batch in batches] for batches in trainer.batches(range(trainer.num_steps))]
    assert served == [[2, 2, 2], [2, 2, 2]]
    steady = (
        "optimizer.which=SGD",
        "optimizer.warmup_steps=0",
        "optimizer.clip_norm=0",
        "basenet.frozen_batchnorm=True",
    )
    states = [after_steps(tiny_config(*plain, *steady, f"params.accumulate={number}")) for number in (1, 3)]
    start = after_steps(tiny_config(*plain, *steady, "optimizer.lr=1e-12", "basenet.lr_backbone=1e-12"))
    moved = max(
        float((states[0][name] - value).abs().max()) for name, value in start.items() if value.is_floating_point()
    )
    assert moved > 1e-3
    for name, value in states[0].items():
        assert torch.allclose(value.float(), states[1][name].float(), atol=1e-3 * moved), name


def test_bug_11_the_users_weights_file_is_never_written(tiny_run: Path, tiny_config: Make, tmp_path: Path) -> None:
    start = tmp_path / "mine.safetensors"
    shutil.copy(tiny_run / "weights" / "best.safetensors", start)
    before = start.read_bytes(), start.stat().st_mtime_ns
    short = ("params.iterations=1", "soft_teacher.burn_in_steps=0", f"model.model_path={start}")
    assert trainer_in(tiny_config(*short, f"model.exp_path={tmp_path / 'run'}")).fit()
    assert (start.read_bytes(), start.stat().st_mtime_ns) == before


def test_bug_12_yml_will_do_as_well_as_yaml(own_squares: Path, tmp_path: Path, softdet: Command) -> None:
    config = own_squares / "tiny.yaml"
    known = load_config(config)
    assert load_config(config.rename(config.with_suffix(".yml"))) == known
    folder = set_of(tmp_path / "own" / "images", [(64, 64)] * 6, [[8, 8, 24, 24]], [1]).parent.parent
    (folder / "images" / "list.json").unlink()
    (folder / "labels").mkdir()
    for number in range(6):
        (folder / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "data.yml").write_text("train: images\nnames: [a]\n")
    assert softdet("prepare", "--labeled", folder, "--out", tmp_path / "lists") == 0
    assert (tmp_path / "lists" / "train.json").is_file()


@pytest.mark.parametrize("size", [(48, 128), (128, 48)], ids=["portrait", "landscape"])
def test_bug_13_sets_of_one_shape_are_trained_and_evaluated(
    size: tuple[int, int], tiny_config: Make, tmp_path: Path
) -> None:
    lists = [set_of(tmp_path / name, [size] * 4, [[8.0, 8.0, 24.0, 24.0]], [1]) for name in ("train", "valid")]
    (tmp_path / "train" / "list.json").rename(tmp_path / "train.json")
    named = dict(zip(("train", "valid"), (tmp_path / "train.json", lists[1]), strict=True))
    config = tiny_config(*(f"data.{key}={path}" for key, path in named.items()), f"data.root={tmp_path / 'train'}")
    fabric, data = launched(config)
    with scratch_trainer(config, data, fabric) as trainer:
        trainer.rehearse(range(1))
        trainer.rehearse(range(16, 17))
        trainer.rehearse_evaluation(16)
        assert trainer.state.skipped_steps == 0
        assert trainer.state.best_ap >= 0


def test_bug_14_fewer_labeled_images_than_the_batch_will_do(own_squares: Path, tmp_path: Path) -> None:
    path = own_squares / "train.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"images": content["images"][:1]}))
    short = ["params.iterations=2", "soft_teacher.burn_in_steps=1", f"model.exp_path={tmp_path / 'run'}"]
    config = load_config(own_squares / "tiny.yaml", short)
    assert config.params.batch_size == 4
    assert trainer_in(config).fit()


def test_bug_15_evaluation_in_training_is_evaluate(tiny_run: Path, tmp_path: Path, softdet: Command) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(tiny_run, run.path)
    step = read_card(run.best).step
    with run.metrics.open(newline="") as file:
        (in_training,) = [row["valid_AP"] for row in csv.DictReader(file) if row["step"] == str(step)]
    assert softdet("evaluate", run.path, "--rerun", "--json", tmp_path / "numbers.json") == 0
    assert f"{json.loads((tmp_path / 'numbers.json').read_text())['AP']:.6g}" == in_training


class Broken:
    """A logger whose server is gone."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        raise ConnectionError("no network")

    def finalize(self, status: str) -> None:
        raise ConnectionError("no network")


def test_bug_16_a_broken_logger_leaves_the_csv(tmp_path: Path) -> None:
    loggers = Loggers(CsvLogger(tmp_path / "metrics.csv"), [Broken()])
    with pytest.warns(RuntimeWarning, match=r"Broken failed \(no network\); going on with metrics\.csv alone"):
        loggers.log_metrics({"loss": 1.5}, 1)
    loggers.log_metrics({"loss": 1.25}, 2)
    loggers.finalize("finished")
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert [row["loss"] for row in csv.DictReader(file)] == ["1.5", "1.25"]


def tracked() -> Iterator[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=False
    )
    names = listed.stdout.decode().splitlines() if listed.returncode == 0 else []
    found = [ROOT / name for name in names] or [*(ROOT / "src").rglob("*"), *(ROOT / "configs").rglob("*")]
    return (
        path for path in found if path.suffix in {".py", ".yaml", ".yml", ".toml", ".json", ".md"} and path.is_file()
    )


def test_bug_17_no_developers_path_is_in_a_file() -> None:
    pattern = re.compile(r"(?<![\w.~])/(?:home|Users|root|mnt|workspace|work|data/tmp)/?[\w.]|[A-Z]:\\Users")
    found = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in tracked()
        if path != Path(__file__).resolve()
        for line in path.read_text(encoding="utf-8").splitlines()
        if pattern.search(line)
    }
    # Where the seed writes its results.
    found -= {line for line in found if "exp_path" in line and "/data/tmp" in line}
    assert found == set()
