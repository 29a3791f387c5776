"""Real runs driven into each state of health, what is done about it, and a resume in the middle of it."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from states import differences
from trainers import numbers_of, trainer_of
from two_processes import run_two_processes

from softdet.config import Config
from softdet.engine.checkpoint import load_checkpoint
from softdet.engine.trainer import Trainer
from softdet.evaluation.run import RunFolder
from softdet.semi.health import HealthMonitor
from softdet.semi.soft_teacher import SoftTeacher

# Fewer steps than usual tell, so that a run takes a second.
WINDOW = 4


@pytest.fixture
def start(
    tiny_run: Path, tiny_config: Callable[..., Config], tmp_path: Path
) -> Callable[..., tuple[Trainer, HealthMonitor, SoftTeacher]]:
    """Put a semi-supervised run together: `start(*overrides, window=WINDOW, name="run", resume=False)`."""

    def put_together(
        *overrides: str, window: int = WINDOW, name: str = "run", resume: bool = False
    ) -> tuple[Trainer, HealthMonitor, SoftTeacher]:
        config = tiny_config(
            f"model.exp_path={tmp_path / name}",
            f"model.model_path={RunFolder(tiny_run).best}",
            "params.iterations=10",
            "params.evaluate_every=10",
            "params.log_every=1",
            "optimizer.lr=1e-4",
            "basenet.lr_backbone=1e-4",
            "soft_teacher.burn_in_steps=2",
            *overrides,
        )
        trainer = trainer_of(config, resume=resume)
        monitor, method = trainer.monitor, trainer.method
        assert isinstance(monitor, HealthMonitor)
        assert isinstance(method, SoftTeacher)
        assert monitor.window == 50
        monitor.window = window
        return trainer, monitor, method

    return put_together


def rows(trainer: Trainer) -> list[dict[str, str]]:
    """The metrics of its run."""
    return numbers_of(trainer.checkpoint.parent)


def states(trainer: Trainer) -> list[str]:
    """The state at each step, by name."""
    return [row["health"] for row in rows(trainer) if row["health"]]


def before_step(trainer: Trainer, number: int, act: Callable[[], object]) -> None:
    """Do something before a step, and go on."""
    set_learning_rate = trainer.set_learning_rate

    def note(step: int) -> None:
        if step == number:
            act()
        set_learning_rate(step)

    trainer.set_learning_rate = note


def fill(method: SoftTeacher, value: float) -> None:
    with torch.no_grad():
        for parameter in method.teacher.model.parameters():
            parameter.fill_(value)


def health_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if "health: " in line or "mitigated: " in line]


def test_a_run_that_does_well_is_healthy(start: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    trainer, monitor, _ = start()
    assert trainer.fit()
    # Two steps of burn-in, and the first four with unlabeled images but one.
    assert states(trainer) == ["warming up"] * 5 + ["healthy"] * 5
    last = rows(trainer)[-1]
    assert float(last["agreement"]) > 0.5
    assert float(last["pseudo_boxes"]) == pytest.approx(
        float(last["pseudo_boxes/red"]) + float(last["pseudo_boxes/blue"]), rel=1e-4
    )
    assert 0 < float(last["valid_AP_student"]) < 1
    assert monitor.density.boxes == 2
    printed = capsys.readouterr().out
    assert "health: healthy: " in printed
    assert "| warming up |" in printed
    assert "| healthy |" in printed
    assert f", student {100 * float(last['valid_AP_student']):.1f}" in printed


def test_a_threshold_of_999_starves(start: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    trainer, _, _ = start("soft_teacher.pseudo_cls_th=.999")
    trainer.fit()
    assert states(trainer)[5:] == ["starving"] * 5
    (line,) = health_lines(capsys)
    assert line.startswith("step 6: health: starving: 0 pseudo boxes an image, labeled images have 2; 0.0% of the")
    assert "lower soft_teacher.pseudo_cls_th (now 0.999); hardly a pseudo box for blue, red" in line


def test_a_weight_of_1000_explodes(start: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    trainer, _, _ = start("soft_teacher.unsup_loss_weight=1000")
    trainer.fit()
    assert states(trainer)[5:] == ["exploding"] * 5
    (line,) = health_lines(capsys)
    assert "expected below 10: lower soft_teacher.unsup_loss_weight (now 1000)" in line


def test_a_threshold_of_nothing_explodes(start: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    trainer, _, _ = start("soft_teacher.pseudo_cls_th=.05", "soft_teacher.unsup_loss_weight=0.001")
    trainer.fit()
    assert "exploding" in states(trainer)
    assert "raise soft_teacher.pseudo_cls_th (now 0.05)" in health_lines(capsys)[0]


def test_a_teacher_of_zeros_has_collapsed(start: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    trainer, _, method = start("soft_teacher.ema_decay=1", "params.evaluate_every=5")
    before_step(trainer, 8, lambda: fill(method, 0.0))
    trainer.fit()
    # All scores are one half now, so that at first there are too many boxes.
    assert states(trainer)[5:] == ["healthy"] * 3 + ["exploding", "collapsed"]
    line = health_lines(capsys)[-1]
    assert line.startswith("step 10: health: collapsed: the teacher's mAP is 0.")
    assert "(student " in line
    assert "set soft_teacher.class_targets to dense and soft_teacher.mixup to True or lower soft_teacher.unsup" in line


def test_what_the_run_does_already_is_no_advice(start: Callable[..., Any]) -> None:
    _, monitor, _ = start("soft_teacher.class_targets=dense", "soft_teacher.mixup=True")
    assert monitor.gentler == ""


@pytest.mark.parametrize("mitigate", [False, True])
def test_a_teacher_of_nan_has_collapsed_and_the_student_lives(
    start: Callable[..., Any], capsys: pytest.CaptureFixture[str], mitigate: bool
) -> None:
    trainer, _, method = start(f"soft_teacher.mitigate={mitigate}", window=50)
    before_step(trainer, 2, lambda: fill(method, math.nan))
    assert trainer.fit()
    assert states(trainer)[6:] == ["collapsed"] * 4
    lines = health_lines(capsys)
    assert lines[0].startswith("step 7: health: collapsed: the teacher's output or the gradients were not finite for 5")
    assert lines[1:] == (["step 7: mitigated: soft_teacher.unsup_loss_weight 1 -> 0"] if mitigate else [])
    assert method.weight_at(9) == (0 if mitigate else 1)
    assert trainer.state.skipped_steps == 0
    assert all(bool(tensor.isfinite().all()) for tensor in trainer.student.module.state_dict().values())


def test_mitigation_of_a_starving_run_lowers_the_thresholds(
    start: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer, _, method = start("soft_teacher.pseudo_cls_th=.999", "soft_teacher.mitigate=True")
    trainer.fit()
    assert method.score_threshold == pytest.approx(0.8991)
    assert method.labeler.box_score_threshold is None, "the place of the same boxes is taught"
    assert "step 6: mitigated: soft_teacher.pseudo_cls_th 0.999 -> 0.899" in health_lines(capsys)
    assert [row["mitigations"] for row in rows(trainer)] == ["0"] * 5 + ["1"] * 5
    assert [row["score_threshold"] for row in rows(trainer)] == ["0.999"] * 5 + ["0.8991"] * 5


def test_mitigation_of_an_exploding_run_halves_the_weight(
    start: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer, _, method = start("soft_teacher.unsup_loss_weight=1000", "soft_teacher.mitigate=True")
    trainer.fit()
    assert method.weight_at(9) == 500
    assert "step 6: mitigated: soft_teacher.unsup_loss_weight 1e+03 -> 500" in health_lines(capsys)


def test_a_resumed_run_is_the_one_that_was_never_stopped(
    start: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    keys = ["soft_teacher.pseudo_cls_th=.999", "soft_teacher.mitigate=True"]
    straight, _, _ = start(*keys, name="straight")
    assert straight.fit()
    expected = health_lines(capsys)
    assert len(expected) == 2
    # Before the first act of mitigation, and between it and the end.
    for stop_at, state, threshold in ((3, "warming up", 0.999), (7, "starving", 0.8991)):
        stopped, _, _ = start(*keys, name=f"stopped_{stop_at}")
        before_step(stopped, stop_at, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert not stopped.fit()
        resumed, monitor, method = start(*keys, name=f"stopped_{stop_at}", resume=True)
        assert (monitor.health.state, method.score_threshold) == (state, pytest.approx(threshold))
        assert resumed.fit()
        assert health_lines(capsys) == expected
        assert differences(load_checkpoint(resumed.checkpoint), load_checkpoint(straight.checkpoint)) == []
        assert rows(resumed) == rows(straight)


RANK = """
import json, sys
from pathlib import Path
from lightning_fabric import Fabric
from softdet import builders
from softdet.config import load_config

fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()
config = load_config(Path(sys.argv[1]), sys.argv[3:])
trainer = builders.make_trainer(config, fabric, builders.load_data(config), resume=False)
trainer.monitor.window = 2
trainer.fit()
kept = [trainer.monitor.state_dict(), trainer.method.state_dict()["adjusted"]]
Path(sys.argv[2], f"{fabric.global_rank}.json").write_text(json.dumps(kept))
"""


def test_two_processes_come_to_the_same_state_and_turn_the_same_knob(
    squares: Path, tiny_run: Path, tmp_path: Path
) -> None:
    overrides = [f"model.exp_path={tmp_path / 'run'}", f"model.model_path={RunFolder(tiny_run).best}"]
    overrides += ["params.iterations=4", "params.evaluate_every=4", "soft_teacher.burn_in_steps=0"]
    overrides += ["soft_teacher.pseudo_cls_th=.999", "soft_teacher.mitigate=True"]
    run_two_processes(str(squares / "tiny.yaml"), str(tmp_path), *overrides, program=RANK)
    (memory, adjusted), other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in "01")
    # Each has seen other images: the averages are equal because they are of both.
    assert [memory, adjusted] == other
    assert memory["state"] == "starving"
    assert adjusted == {"score_thresholds": [pytest.approx(0.8991)] * 2}


def test_a_threshold_of_boxes_that_was_given_stays(start: Callable[..., Any]) -> None:
    _, _, method = start("soft_teacher.pseudo_cls_th=.9", "soft_teacher.pseudo_box_th=.5")
    method.lower_score_thresholds(0.5, 0.2)
    assert (method.score_threshold, method.labeler.box_score_threshold) == (0.45, 0.5)


def test_each_classs_threshold_is_lowered_by_itself(start: Callable[..., Any]) -> None:
    _, _, method = start("soft_teacher.pseudo_cls_th=auto")
    thresholds = method.labeler.score_thresholds
    assert method.score_threshold == 1, "no class has one yet"
    for before, after in (([0.15, 0.8], [0.15, 0.72]), ([0.8, 1.0], [0.72, 1.0])):
        thresholds.value = torch.tensor(before)
        method.lower_score_thresholds(0.9, 0.2)
        assert thresholds.value.tolist() == pytest.approx(after), "never raised, and a class that is shut stays shut"
    assert method.score_threshold == pytest.approx(0.72)
    _, _, resumed = start("soft_teacher.pseudo_cls_th=auto")
    resumed.load_state_dict(method.state_dict())
    for each in (thresholds, resumed.labeler.score_thresholds):
        lowered = each.value.tolist()
        assert lowered == pytest.approx([0.72, 1.0])
        each.observe(torch.tensor([[0, 0.95], [1, 0.95]]), 8)
        assert each.value.tolist() == lowered, "they follow the teacher no more"


def test_the_control_has_no_health(tiny_config: Callable[..., Config], tmp_path: Path) -> None:
    trainer = trainer_of(
        tiny_config(
            f"model.exp_path={tmp_path / 'run'}",
            "soft_teacher.enabled=False",
            "params.iterations=2",
            "params.evaluate_student=False",
        )
    )
    trainer.fit()
    assert trainer.monitor is None
    assert not {"health", "valid_AP_student"} & set(rows(trainer)[-1])


def test_the_student_is_evaluated_as_it_is_and_left_as_it_was(start: Callable[..., Any]) -> None:
    trainer, _, _ = start("basenet.frozen_batchnorm=False")
    trainer.fit()
    assert trainer.student.module.training
    assert trainer.evaluator.probe is not None
    # BatchNorm with the statistics that it has learned, not those of a validation batch.
    again = trainer.evaluator.probe(trainer.student.module.eval())["valid_AP_student"]
    assert float(rows(trainer)[-1]["valid_AP_student"]) == pytest.approx(again, rel=1e-4)
