import json

from softdet.doctor.findings import Finding, Level, Place, Report, found, ordered


def finding(level: Level, code: str) -> Finding:
    return Finding(level, code, "what", "fix", (Place("a.png", "box 1"),), 1)


def test_errors_come_first_and_decide_the_exit_code() -> None:
    findings = ordered([finding("note", "a"), finding("error", "b"), finding("warning", "c"), finding("error", "d")])
    assert [each.code for each in findings] == ["b", "d", "c", "a"]
    assert Report(findings, {}, False).exit_code == 1
    assert Report(findings[2:], {}, False).exit_code == 0


def test_the_line_that_sums_up() -> None:
    findings = ordered([finding("error", "a"), finding("error", "b"), finding("warning", "c")])
    report = Report(findings, {"labeled": 60, "unlabeled": 1000, "valid": 144}, False)
    expected = "2 errors, 1 warning in 1,204 images (labeled 60, unlabeled 1,000, valid 144)"
    assert report.summary() == expected
    assert "a sample of them was opened" in Report((), {"labeled": 1}, True).summary()


def test_the_report_as_json_holds_the_places() -> None:
    report = Report((finding("error", "a"),), {"labeled": 1}, False)
    content = json.loads(json.dumps(report.as_json()))
    assert content["exit_code"] == 1
    assert content["findings"][0]["places"] == [{"file": "a.png", "detail": "box 1"}]


def test_nothing_found_is_no_finding_and_much_is_cut() -> None:
    assert found("error", "a", [], "what", "fix") == []
    (many,) = found("error", "a", [Place(str(number)) for number in range(3000)], "what", "fix")
    assert (many.count, len(many.places)) == (3000, 1000)
