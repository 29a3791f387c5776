from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softdet.report.advice import advise
from softdet.report.facts import ImageSet, RunFacts
from softdet.report.history import History


def texts(facts: RunFacts) -> str:
    return "\n".join(f"{each.weight}: {each.text} {each.command}" for each in advise(facts))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_steps": 500}, "softdet train --resume"),
        ({"outcome": None}, "soft_teacher.control=true"),
        ({"labeled": ImageSet("", 10, (20, 4))}, "Fewer than 10 labeled boxes to learn from: red (4)"),
        ({"valid": ImageSet("", 4, (30, 2))}, "Fewer than 10 validation boxes, so their AP says little: red (2)"),
        ({"interval": (0.2, 0.5)}, "tell the mAP no better than 20 to 50"),
        ({"num_far": 3}, "3 unlabeled images look unlike the labeled ones"),
        ({"labeled": ImageSet("", 1, (10, 10))}, "Lower soft_teacher.pseudo_cls_th (now 0.6)"),
        ({"labeled": ImageSet("", 100, (10, 10))}, "Raise soft_teacher.pseudo_cls_th (now 0.6)"),
        ({"history": History({"valid_AP": {1: 0.1, 2: 0.2, 200: 0.3}})}, "still rising at step 200"),
        (
            {"history": History({"valid_AP": {1: 0.1, 2: 0.4, 200: 0.3}})},
            "stood at 40.0 after 2 steps and fell to 30.0",
        ),
        ({"history": History({"valid_AP": {200: 0.3}}, {200: "collapsed"})}, "first: The run collapsed"),
        ({"history": History({"valid_AP": {200: 0.3}}, {200: "starving"})}, "the state “starving”: lower"),
    ],
)
def test_each_number_points_to_what_to_do(make_facts: Callable[..., Any], changes: dict[str, Any], said: str) -> None:
    assert said not in texts(make_facts())
    assert said in texts(make_facts(**changes))


def test_confusions_and_costly_errors_are_named(make_facts: Callable[..., Any]) -> None:
    assert "3 of 7 boxes of red were taken for" in texts(make_facts())
    assert "were taken for" not in texts(make_facts(diagnosis=None))


def test_an_interval_over_zero_says_how_many_images_would_tell(make_facts: Callable[..., Any]) -> None:
    # Half a width of 6 points around 2 points: nine times the images.
    gain = {"before": 0.3, "after": 0.32, "difference": 0.02, "low": -0.04, "high": 0.08}
    outcome = {"winner": "soft_teacher", "reported_on": "valid", "gains": {"valid": gain}, "reasons": []}
    facts = make_facts(outcome=outcome, valid=ImageSet("", 100, (50, 50)))
    assert "needs about 900 validation images; there are 100" in texts(facts)


def test_errors_of_doctor_come_first(make_facts: Callable[..., Any]) -> None:
    doctor = {"findings": [{"level": "error", "message": "they overlap"}]}
    first = advise(make_facts(doctor=doctor))[0]
    assert first.weight == "first"
    assert "doctor found 1 error. they overlap" in first.text


def test_a_bare_run_is_told_nothing() -> None:
    assert advise(RunFacts(path=Path("x"))) == []
