import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softdet.report.facts import RunFacts
from softdet.report.history import History
from softdet.report.looks import Look, Watched
from softdet.report.page import render_page
from softdet.report.plots import draw_plots
from softdet.report.style import Plot

PageOf = Callable[[RunFacts], str]
NASTY = '<b>"ten" & 5$</b>'


@pytest.fixture
def page_of(plots: list[Plot]) -> PageOf:
    return lambda facts: render_page(facts, plots)


def test_what_comes_from_users_is_escaped_everywhere(make_facts: Callable[..., Any], page_of: PageOf) -> None:
    page = page_of(make_facts())
    assert NASTY not in page
    assert "<b>" not in page
    assert "<script>alert" not in page
    assert "&lt;b&gt;" in page


def test_nothing_outside_the_file_is_named(make_facts: Callable[..., Any], page_of: PageOf) -> None:
    page = page_of(make_facts())
    # Names of XML's own namespaces are no addresses that anybody fetches.
    without_namespaces = re.sub(r'xmlns(:xlink)?="[^"]*"|"http://www.w3.org/2000/svg"', "", page)
    assert not re.search(r"https?://|@import|url\((?!#)", without_namespaces)
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)


def test_headings_are_in_order_and_ids_stand_once(make_facts: Callable[..., Any], page_of: PageOf) -> None:
    page = page_of(make_facts())
    levels = [int(level) for level in re.findall(r"<h([1-6])\b", page)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    targets = re.findall(r'href="#([^"]+)"', page)
    assert set(targets) <= set(ids)


def test_every_picture_and_plot_says_what_it_shows(make_facts: Callable[..., Any], page_of: PageOf) -> None:
    page = page_of(make_facts())
    labels = re.findall(r'role="img" aria-label="([^"]*)"', page)
    assert len(labels) == page.count('role="img"')
    assert all(labels)


@pytest.mark.parametrize(
    ("changes", "headline"),
    [
        ({}, "The unlabeled images brought +5.0 mAP"),
        ({"outcome": None}, "Soft Teacher: mAP 30.0"),
        ({"outcome": None, "is_semi": False}, "Supervised: mAP 30.0"),
        ({"outcome": None, "num_steps": 900}, "Unfinished: step 200 of 900, mAP 30.0 so far"),
        ({"outcome": None, "history": History()}, "Nothing was logged yet"),
    ],
)
def test_the_headline_says_what_the_run_came_to(
    make_facts: Callable[..., Any], changes: dict[str, Any], headline: str, page_of: PageOf
) -> None:
    assert f'<h1 id="headline">{headline}</h1>' in page_of(make_facts(**changes))


def test_an_outcome_that_may_be_chance_or_was_lost_is_called_so(
    make_facts: Callable[..., Any], page_of: PageOf
) -> None:
    gain = {"before": 0.25, "after": 0.26, "difference": 0.01, "low": -0.02, "high": 0.04}
    outcome = {"winner": "soft_teacher", "reported_on": "test", "gains": {"test": gain}, "reasons": []}
    assert "brought +1.0 mAP, which may be chance" in page_of(make_facts(outcome=outcome))
    few = outcome | {"gains": {"test": gain | {"low": 0.005, "num_images": 6}}}
    page = page_of(make_facts(outcome=few))
    assert "brought +1.0 mAP, which may be chance" in page
    assert "is drawn from 6 images, too few to trust its interval" in page
    lost = page_of(make_facts(outcome=outcome | {"winner": "supervised"}))
    assert "No gain from the unlabeled images: the supervised model was kept" in lost


def test_a_bare_run_gives_a_page_that_names_what_is_missing() -> None:
    facts = RunFacts(path=Path("runs/bare"), missing=("Scores: none & nowhere",))
    page = render_page(facts, draw_plots(facts))
    assert "Nothing was logged yet" in page
    assert "Scores: none &amp; nowhere" in page
    assert "<figure" not in page


def test_a_picture_that_is_gone_doesnt_take_the_page_with_it(make_facts: Callable[..., Any], page_of: PageOf) -> None:
    facts = make_facts()
    facts.diagnosis.images[0].path.unlink()
    assert "there is no such image" in page_of(facts)


def test_a_gallery_of_500_images_stays_below_15_megabytes(
    make_facts: Callable[..., Any], tmp_path: Path, picture_at: Callable[..., Path], page_of: PageOf
) -> None:
    facts = make_facts()
    picture = picture_at(tmp_path / "gallery" / "large.jpg", 0, (320, 320))
    assert picture.stat().st_size > 2000
    seen = facts.looks[0].images[0].teacher * 20
    watched = tuple(Watched("large.jpg", f"pool/{n}.jpg", seen, seen) for n in range(500))
    page = page_of(make_facts(looks=tuple(Look(step, (0.5, 0.5), "hard", watched) for step in range(40))))
    assert len(page) < 15e6
    assert "(of 500)" in page


def test_the_gallery_can_be_read_back_from_the_page(make_facts: Callable[..., Any], page_of: PageOf) -> None:
    page = page_of(make_facts())
    found = re.search(r'<script type="application/json" id="gallery-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    gallery = json.loads(found[1])
    assert gallery["classes"] == [NASTY, "red"]
    assert [look["step"] for look in gallery["looks"]] == [100, 200]
    assert gallery["looks"][0]["images"][0]["teacher"][1] == [0.2, 0.1, 0.6, 0.5, 1, 0.7, "class", 0.3]


@pytest.mark.parametrize("doctor", [{}, {"findings": "none"}, {"findings": [7, {"level": 3}]}])
def test_findings_of_another_version_are_read_with_care(
    make_facts: Callable[..., Any], doctor: dict[str, Any], page_of: PageOf
) -> None:
    assert 'id="data"' in page_of(make_facts(doctor=doctor))
