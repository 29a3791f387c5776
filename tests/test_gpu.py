"""On a GPU: the numbers of the CPU, each number format, an exact enough resume, and a step larger than the memory."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from trainers import trainer_of

from softdet import builders
from softdet.config import Config, load_config, save_config
from softdet.engine.trainer import Trainer
from softdet.evaluation.run import RunFolder

Make = Callable[..., Config]
pytestmark = pytest.mark.gpu


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def column(run: RunFolder, name: str) -> dict[int, float]:
    """The values of a column of metrics.csv, by the step."""
    with run.metrics.open(newline="", encoding="utf-8") as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row.get(name)}


def losses_of(trainer: Trainer, num_steps: int) -> list[dict[str, float]]:
    """Train; what each step says."""
    logged: list[dict[str, float]] = []
    step = trainer.method.step

    def noting(views: Any) -> Iterator[Any]:
        for output in step(views):
            values = {"loss": output.loss, **output.losses}
            logged.append({name: float(value.detach()) for name, value in values.items()})
            yield output

    trainer.method.step = noting  # type: ignore[method-assign]
    trainer.rehearse(range(num_steps))
    return logged


@contextmanager
def gpu_memory(share: float) -> Iterator[None]:
    """Let this process have that share of the GPU's memory."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(share)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


# Defined only where there is a GPU: a test that skips says nothing.
if torch.cuda.is_available():

    @pytest.mark.parametrize("class_targets", ["hard", "dense"])
    def test_the_steps_have_the_losses_of_the_cpu(
        tiny_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, class_targets: str
    ) -> None:
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
        keys = [f"model.exp_path={tmp_path}", "soft_teacher.burn_in_steps=2", "params.colour=True"]
        keys += [f"soft_teacher.class_targets={class_targets}", "soft_teacher.pseudo_cls_th=0.01"]
        on_gpu = losses_of(trainer_of(tiny_config(*keys, "cuda.using=True")), 4)
        on_cpu = losses_of(trainer_of(tiny_config(*keys)), 4)
        for one, other in zip(on_gpu, on_cpu, strict=True):
            assert one == pytest.approx(other, rel=5e-3, abs=1e-4)

    @pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
    def test_a_run_trains_is_evaluated_and_detects(
        squares: Path, tmp_path: Path, softdet: Callable[..., int], precision: str
    ) -> None:
        run = RunFolder(tmp_path / "run")
        keys = ["cuda.using=True", f"params.precision={precision}", f"model.exp_path={run.path}"]
        assert softdet("train", "--config", squares / "tiny.yaml", *keys) == 0
        assert content(run.environment)["device"] == torch.cuda.get_device_name()
        assert column(run, "skipped_steps")[24] <= 3
        assert all(math.isfinite(value) for value in column(run, "loss").values())
        assert max(column(run, "memory_gb").values()) > 0.01

        in_training = content(run.evaluation)
        assert softdet("evaluate", run.path, "--rerun") == 0
        assert content(run.evaluation)["AP"] == pytest.approx(in_training["AP"], abs=1e-3)
        for number, device in enumerate(([], ["--cpu"])):
            out = tmp_path / f"found{number}"
            pictures = squares / "unlabeled"
            assert softdet("predict", run.path, pictures, "--out", out, "--threshold", 0.02, *device) == 0
        on_gpu, on_cpu = (content(tmp_path / f"found{number}" / "detections.json") for number in (0, 1))
        assert len(on_gpu) > 0
        best = [max(found, key=lambda entry: entry["score"]) for found in (on_gpu, on_cpu)]
        assert best[0]["bbox"] == pytest.approx(best[1]["bbox"], abs=1.5)
        assert best[0]["score"] == pytest.approx(best[1]["score"], abs=0.02)

    @pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
    def test_a_run_that_was_stopped_goes_on_where_it_was(
        squares: Path, tiny_config: Make, tmp_path: Path, softdet: Callable[..., int], precision: str
    ) -> None:
        keys = ["cuda.using=True", f"params.precision={precision}", "params.log_every=1"]
        whole, resumed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "resumed")
        assert softdet("train", "--config", squares / "tiny.yaml", *keys, f"model.exp_path={whole.path}") == 0

        config = tiny_config(*keys, f"model.exp_path={resumed.path}")
        fabric = builders.make_fabric(config)
        fabric.launch()
        resumed.claim(fabric, resume=False, overwrite=False)
        save_config(config, resumed.config)
        trainer = builders.make_trainer(config, fabric, builders.load_data(config), resume=False)
        set_learning_rate = trainer.set_learning_rate

        def stop_at_18(step: int) -> None:
            if step == 18:
                os.kill(os.getpid(), signal.SIGTERM)
            set_learning_rate(step)

        trainer.set_learning_rate = stop_at_18
        assert trainer.fit() is False
        assert softdet("train", "--resume", resumed.path) == 0
        # Sums on a GPU come in no fixed order, so the two are the same only nearly.
        losses, wanted = (column(run, "loss") for run in (resumed, whole))
        assert losses.keys() == wanted.keys()
        assert losses == pytest.approx(wanted, rel=0.1)

    def test_a_step_that_the_memory_does_not_hold_is_cut_and_goes_on(
        squares: Path, tmp_path: Path, softdet: Callable[..., int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        keys = ["cuda.using=True", "params.image_size=512x512", "params.batch_size=8", "params.log_every=1"]
        keys += ["params.iterations=4", "soft_teacher.burn_in_steps=2", "model.fpn_channels=64"]
        whole, cut = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
        assert softdet("train", "--config", squares / "tiny.yaml", *keys, f"model.exp_path={whole.path}") == 0
        needed = max(column(whole, "memory_gb").values()) * 1e9
        total = torch.cuda.get_device_properties(0).total_memory
        capsys.readouterr()
        with gpu_memory(0.75 * needed / total):
            assert softdet("train", "--config", squares / "tiny.yaml", *keys, f"model.exp_path={cut.path}") == 0
        assert "from here on they come in pieces of 4" in capsys.readouterr().out
        assert len(column(cut, "loss")) == 4
        assert max(column(cut, "memory_gb").values()) * 1e9 <= 0.75 * needed

    def test_a_step_that_never_fits_says_what_to_do(
        squares: Path, tmp_path: Path, softdet: Callable[..., int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        keys = ["cuda.using=True", "params.image_size=1024x1024", "model.fpn_channels=256", "params.iterations=4"]
        keys.append("soft_teacher.burn_in_steps=2")
        total = torch.cuda.get_device_properties(0).total_memory
        with gpu_memory(torch.cuda.memory_allocated() / total + 4e8 / total):
            run = f"model.exp_path={tmp_path / 'run'}"
            assert softdet("train", "--config", squares / "tiny.yaml", *keys, run) == 2
        assert "Take a smaller params.image_size" in " ".join(capsys.readouterr().err.split())

    def test_what_is_left_to_derive_fits_the_gpu(squares: Path, tmp_path: Path, softdet: Callable[..., int]) -> None:
        own = ["--labeled", squares / "train.json", "--valid", squares / "valid.json"]
        own += ["--unlabeled", squares / "unlabeled", "--out", tmp_path / "run"]
        keys = ["basenet.arch=test_resnet", "basenet.pretrained=False", "params.iterations=12"]
        assert softdet("train", *own, *keys, "soft_teacher.burn_in_steps=6") == 0
        settings = load_config(RunFolder(tmp_path / "run").config)
        assert (settings.model.fpn_channels, settings.model.head_convs) == (256, 4)
        assert RunFolder(tmp_path / "run").best.is_file()
