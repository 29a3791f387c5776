import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softdet.report.facts import RunFacts
from softdet.report.plots import draw_plots, write_plots
from softdet.report.scores import plot_class_ap, plot_confusion, plot_precision_recall
from softdet.report.style import BLUE, INK, Plot, inline


def test_a_full_run_gets_all_plots(plots: list[Plot]) -> None:
    assert {plot.name for plot in plots} == {
        "ap", "losses", "health", "class_ap", "labels", "precision_recall", "operating_point", "calibration",
        "confusion", "errors",
    }  # fmt: skip
    for plot in plots:
        ET.fromstring(plot.svg)
        assert plot.title
        assert len(plot.alt) > 20
        assert len(plot.svg) < 100_000


def test_a_bare_run_gets_none() -> None:
    assert draw_plots(RunFacts(path=Path("x"))) == []


def test_the_same_numbers_give_the_same_bytes(make_facts: Callable[..., Any], plots: list[Plot]) -> None:
    again = draw_plots(make_facts())
    assert [plot.svg for plot in again] == [plot.svg for plot in plots]


def test_inlined_plots_take_the_colours_of_the_page_and_share_no_id(plots: list[Plot]) -> None:
    svgs = [inline(plot) for plot in plots]
    ids: list[str] = []
    for svg in svgs:
        root = ET.fromstring(svg)
        assert BLUE not in svg
        assert INK not in svg
        assert "width" not in root.attrib
        assert "viewBox" in root.attrib
        own = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        used = [value[1:] for e in root.iter() for key, value in e.attrib.items() if key.endswith("href")]
        assert set(used) <= set(own)
        ids += own
    assert len(ids) == len(set(ids))


def test_the_numbers_are_in_the_words_too(plots: list[Plot]) -> None:
    words = {plot.name: plot.alt for plot in plots}
    assert "Teacher: 30.0 at step 200" in words["ap"]
    assert "supervised control: 25.0" in words["ap"]
    assert "warming up from step 120; healthy from step 160" in words["health"]
    assert "3 of 7 red taken for" in words["confusion"]
    assert "precision 50.0" in words["operating_point"]


@pytest.mark.parametrize(("winner", "is_"), [("soft_teacher", "teacher"), ("supervised", "supervised control")])
def test_the_result_is_marked_on_the_curve_of_the_arm_that_won(
    winner: str, is_: str, make_facts: Callable[..., Any]
) -> None:
    facts = make_facts(outcome={"winner": winner}, step=200)
    (plot,) = (each for each in draw_plots(facts) if each.name == "ap")
    assert plot.alt.endswith(f" The result: {is_}, step 200.")


def test_files_are_written_under_their_names(plots: list[Plot], tmp_path: Path) -> None:
    write_plots(tmp_path / "plots", plots)
    assert (tmp_path / "plots" / "ap.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert len(list((tmp_path / "plots").iterdir())) == len(plots)


@pytest.mark.parametrize("num_classes", [1, 2, 7, 80])
def test_any_number_of_classes_can_be_drawn(make_facts: Callable[..., Any], num_classes: int) -> None:
    rng = np.random.default_rng(0)
    names = tuple(f"类 {number} $x$" for number in range(num_classes))
    diagnosis = replace(
        make_facts().diagnosis,
        precision=np.sort(rng.uniform(size=(num_classes, 101)))[:, ::-1],
        confusion=rng.integers(0, 3, (num_classes + 1, num_classes + 1)),
    )
    curves = plot_precision_recall(diagnosis, names)
    assert curves is not None
    assert "$x$" in plot_class_ap([(name, 0.5, 3) for name in names], {}).svg  # type: ignore[union-attr]
    matrix = plot_confusion(diagnosis, names)
    assert (matrix is None) == (num_classes == 1)
    assert matrix is None or len(matrix.svg) < 3e6
