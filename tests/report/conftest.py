"""A run made up in full, and the browser that its page is looked at in.

The tests marked `browser` need a Chromium: the one that SOFTDET_BROWSER names, one of the system, or playwright's own.
CI installs Debian's. Without one, on a person's machine, they are left out and pytest's last lines say so; in CI they
fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

NASTY = '<b>"ten" & 5$</b>'
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_LEFT_OUT: list[str] = []


def find_browser() -> str | None:
    named = os.environ.get("SOFTDET_BROWSER")
    found = named or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as driver:
            own = driver.chromium.executable_path
        found = own if Path(own).is_file() else None
    return found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("browser")]
    if marked and not os.environ.get("CI") and find_browser() is None:
        items[:] = [item for item in items if item not in marked]
        config.hook.pytest_deselected(items=marked)
        _LEFT_OUT.extend(item.nodeid for item in marked)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _LEFT_OUT:
        terminalreporter.write_line(
            f"NOT RUN: {len(_LEFT_OUT)} tests of the report in a browser, since there is no Chromium here: "
            "apt-get install chromium, or playwright install chromium"
        )


@pytest.fixture(scope="session")
def browser_path() -> str:
    found = find_browser()
    assert found is not None, "no Chromium: apt-get install chromium"
    return found


def write_picture(path: Path, seed: int, size: tuple[int, int] = (160, 120)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size).save(path)
    return path


def made_up(tmp_path: Path) -> Any:
    """A run with everything, its pictures in a folder."""
    from softdet.report.facts import Box, Diagnosis, ImageSet, Judged, RunFacts, Suspect
    from softdet.report.history import History
    from softdet.report.looks import Look, Seen, Watched

    truth = Box((0.1, 0.1, 0.5, 0.6), 0, None, True), Box((0.5, 0.5, 0.9, 0.9), 1, None, False)
    found = Box((0.12, 0.1, 0.5, 0.62), 0, 0.91, True), Box((0.5, 0.5, 0.9, 0.9), 0, 0.55, False)
    images = tuple(
        Judged(
            f"{NASTY}_{n}.png",
            write_picture(tmp_path / f"valid_{n}.png", n),
            (120, 160),
            truth,
            found[: 1 + n % 2],
            0.5,
        )
        for n in range(4)
    )
    thresholds = np.linspace(0, 1, 101)
    diagnosis = Diagnosis(
        recall=np.linspace(0, 1, 101),
        precision=np.stack([np.linspace(1, 0, 101), np.full(101, np.nan)]),
        thresholds=thresholds,
        macro=np.stack([thresholds, 1 - thresholds, thresholds * (1 - thresholds)]),
        class_points=np.array([[0.8, 0.6], [np.nan, np.nan]]),
        confusion=np.array([[5, 1, 2], [3, 4, 0], [1, 0, 0]]),
        tide={"Cls": 0.12, "Loc": 0.03, "Both": 0.0, "Dupe": 0.0, "Bkg": 0.01, "Miss": 0.02},
        calibration=np.array([[0.2, 0.1, 40], [0.9, 0.8, 9]]),
        calibration_error=0.07,
        images=images,
        suspects=(Suspect("a.png", "red", NASTY, 0.93),),
    )
    for number in (1, 2):
        write_picture(tmp_path / "gallery" / f"{number}.jpg", number)
    teacher = (
        Seen((0.1, 0.1, 0.4, 0.5), 0, 0.95, "both", 0.02),
        Seen((0.2, 0.1, 0.6, 0.5), 1, 0.7, "class", 0.3),
        Seen((0.3, 0.3, 0.5, 0.5), 0, 0.4, "dropped", 0.1),
    )
    watched = tuple(Watched(f"{number}.jpg", f"pool/{NASTY}_{number}.jpg", teacher, teacher[:1]) for number in (1, 2))
    looks = tuple(Look(step, (0.6, 0.6), "hard", watched) for step in (100, 200))
    steps = range(20, 220, 20)
    rising = {step: step / 400 for step in steps}
    columns = {
        "loss": rising,
        "supervised_class": {step: 1 / step for step in steps},
        "unsupervised_class": {step: 2 / step for step in steps if step > 100},
        "pseudo_boxes": {step: 1.5 for step in steps if step > 100},
        "pseudo_boxes_regressed": {step: 0.5 for step in steps if step > 100},
        "pseudo_candidates": {step: 9.0 for step in steps if step > 100},
        "empty_images": {step: 0.2 for step in steps if step > 100},
        "agreement": {step: 0.7 for step in steps if step > 100},
        "loss_ratio": {step: 0.8 for step in steps if step > 100},
        "valid_AP": {100: 0.2, 200: 0.3},
        "valid_AP_student": {100: 0.18, 200: 0.28},
    }
    history = History(columns, {120: "warming up", 160: "healthy", 200: "healthy"})
    control = History({"loss": rising, "valid_AP": {100: 0.2, 200: 0.25}})
    gain = {"before": 0.25, "after": 0.3, "difference": 0.05, "low": 0.01, "high": 0.09}
    return RunFacts(
        path=tmp_path / "run",
        line="supervised 25.0 -> 30.0: +5.0 mAP.",
        class_names=(NASTY, "red"),
        is_semi=True,
        num_steps=200,
        history=history,
        control=control,
        outcome={
            "winner": "soft_teacher",
            "reported_on": "valid",
            "gains": {"valid": gain},
            "reasons": [],
            "per_class": [{"name": NASTY, "before": 0.2, "after": 0.3, "num_boxes": 8}],
        },
        evaluation={
            "AP": 0.3,
            "AP50": 0.5,
            "AP75": 0.2,
            "per_class": [
                {"name": NASTY, "id": 1, "AP": 0.3, "AP50": 0.5, "num_boxes": 8},
                {"name": "red", "id": 2, "AP": -1.0, "AP50": -1.0, "num_boxes": 0},
            ],
        },
        interval=(0.27, 0.33),
        operating_point=0.5,
        step=200,
        diagnosis=diagnosis,
        labeled=ImageSet("train.json", 10, (20, 12)),
        valid=ImageSet("valid.json", 4, (8, 30)),
        unlabeled=ImageSet("pool", 50),
        threshold=0.6,
        looks=looks,
        gallery=tmp_path / "gallery",
        doctor={"findings": [{"level": "warning", "code": "x", "message": NASTY, "fix": "mend it", "count": 2}]},
        config="data:\n  train: <script>alert(1)</script>\n",
        environment={"softdet": "0", "device": "cpu"},
    )


@pytest.fixture
def make_facts(tmp_path: Path) -> Callable[..., Any]:
    """A run with everything, but for what is asked: `make_facts(**changes)`."""
    facts = made_up(tmp_path)
    return lambda **changes: replace(facts, **changes)


@pytest.fixture(scope="session")
def plots(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """All that is drawn of it."""
    from softdet.report.plots import draw_plots

    return draw_plots(made_up(tmp_path_factory.mktemp("plots")))


@pytest.fixture(scope="session")
def report_file(plots: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page."""
    from softdet.report.page import render_page

    folder = tmp_path_factory.mktemp("page")
    file = folder / "report.html"
    file.write_text(render_page(made_up(folder), plots), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def picture_at() -> Callable[..., Path]:
    """Write a picture of noise: `picture_at(path, seed, size)`."""
    return write_picture
