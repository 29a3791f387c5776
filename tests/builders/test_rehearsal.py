"""What a run will take: measured on real steps that leave nothing behind, and made to fit the hours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from softdet import builders
from softdet.builders.rehearsal import Measured, fit_hours, phases_of, rehearse
from softdet.builders.settings import with_values
from softdet.config import Config
from softdet.engine.trainer import Trainer

Make = Callable[..., Config]


def test_two_steps_of_each_kind_are_measured_and_leave_nothing(tiny_config: Make, tmp_path: Path) -> None:
    config = tiny_config(f"model.exp_path={tmp_path / 'run'}", "soft_teacher.control=True")
    fabric = builders.make_fabric(config)
    fabric.launch()
    data = builders.load_data(config)
    measured = rehearse(config, data, fabric)
    assert measured.supervised > 0
    assert measured.semi > 0
    assert measured.evaluation > 0
    assert measured.pieces == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_one_kind_measures_that(tiny_config: Make, tmp_path: Path) -> None:
    config = tiny_config(f"model.exp_path={tmp_path / 'run'}", "soft_teacher.enabled=False")
    fabric = builders.make_fabric(config)
    fabric.launch()
    assert rehearse(config, builders.load_data(config), fabric).semi == 0


def test_the_phases_are_those_of_the_run(tiny_config: Make) -> None:
    measured = Measured(supervised=2.0, semi=5.0, evaluation=7.0, memory_gb=1.0)
    config = tiny_config("soft_teacher.control=True", "soft_teacher.unlabeled_ratio=2")
    data = builders.load_data(config)
    rows = [(p.name, p.steps, p.labeled, p.unlabeled, p.seconds) for p in phases_of(config, data, measured)]
    assert rows == [
        ("burn-in", 16, 64, 0, 32),
        ("supervised control", 8, 32, 0, 16),
        ("Soft Teacher", 8, 32, 64, 40),
        ("evaluation", 5, 40, 0, 35),  # one more at the end of the burn-in
    ]
    alone = tiny_config("soft_teacher.enabled=False")
    assert [(p.name, p.steps) for p in phases_of(alone, data, measured)] == [("supervised", 24), ("evaluation", 2)]


def test_an_image_is_loaded_once_where_memory_holds_it(tiny_config: Make) -> None:
    measured = Measured(supervised=0.0, semi=0.0, evaluation=0.0, memory_gb=1.0, loading=1.0, loading_unlabeled=1.0)
    # 64 labeled images are served in the burn-in and 32 after it, out of 8; 32 unlabeled ones out of 6.
    for cache, loads in (("1", [8, 8 + 6, 0]), ("0", [64, 64, 0])):
        config = tiny_config(f"data.cache_gb={cache}")
        phases = phases_of(config, builders.load_data(config), measured)
        assert [phase.seconds for phase in phases] == loads


def test_the_schedule_shrinks_to_the_hours(tiny_config: Make) -> None:
    measured = Measured(supervised=2.0, semi=5.0, evaluation=7.0, memory_gb=1.0)
    config = tiny_config("params.iterations=1000", "soft_teacher.burn_in_steps=400", "params.evaluate_every=100")
    data = builders.load_data(config)
    whole = sum(phase.seconds for phase in phases_of(config, data, measured))
    assert whole == 400 * 2 + 600 * 5 + 10 * 7
    assert fit_hours(config, data, measured, whole / 3600) == {}
    # The evaluations stay as they are.
    half = (3800 / 2 + 70) / 3600
    assert fit_hours(config, data, measured, half) == {"params.iterations": 500, "soft_teacher.burn_in_steps": 200}
    # Never so few that nothing is left of a phase.
    assert fit_hours(config, data, measured, 1e-6) == {"params.iterations": 10, "soft_teacher.burn_in_steps": 4}


def test_the_fitted_schedule_keeps_to_the_hours_where_images_take_long_to_load(tiny_config: Make) -> None:
    config = tiny_config("params.iterations=4000", "soft_teacher.burn_in_steps=1600", "params.evaluate_every=400")
    data = builders.load_data(config)
    unlabeled = data.unlabeled
    assert unlabeled is not None
    data = replace(data, unlabeled=replace(unlabeled, images=unlabeled.images * 500))
    measured = Measured(supervised=0.3, semi=0.9, evaluation=7.0, memory_gb=1.0, loading=0.1, loading_unlabeled=0.2)
    for hours in (0.25, 0.5):
        fitted = fit_hours(config, data, measured, hours)
        phases = phases_of(with_values(config, fitted), data, measured)
        training = sum(phase.seconds for phase in phases if phase.name != "evaluation")
        assert training == pytest.approx(3600 * hours - 70, abs=3)


def test_what_unlabeled_images_take_to_load_is_their_own(
    tiny_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rehearsed(self: Trainer, steps: range) -> list[tuple[float, float]]:
        # The first step of a kind waits longest: later ones find their labeled images in memory.
        return [(1.0, 4.0 if steps.start == 0 else 12.0), *[(1.0, 0.0)] * (len(steps) - 1)]

    monkeypatch.setattr(Trainer, "rehearse", rehearsed)
    config = tiny_config(f"model.exp_path={tmp_path / 'run'}")
    fabric = builders.make_fabric(config)
    fabric.launch()
    measured = rehearse(config, builders.load_data(config), fabric)
    # Four labeled images a step, all eight of them in memory after three steps; four unlabeled ones.
    assert (measured.loading, measured.loading_unlabeled) == (1.0, 3.0)


def test_a_control_shrinks_alone(tiny_config: Make) -> None:
    measured = Measured(supervised=1.0, semi=0.0, evaluation=0.0, memory_gb=1.0)
    config = tiny_config("soft_teacher.enabled=False", "params.iterations=7200")
    assert fit_hours(config, builders.load_data(config), measured, 1.0) == {
        "params.iterations": pytest.approx(3600, abs=1)
    }
