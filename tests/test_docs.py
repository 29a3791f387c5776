"""What the documents say of the code."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
LINKS = [
    (page.name, *found)
    for page in sorted(DOCS.glob("*.md"))
    for found in re.findall(r"\[`([\w.]+)`\]\(([\w./]+\.py)#L(\d+)\)", page.read_text(encoding="utf-8"))
]


def test_there_are_links_to_check() -> None:
    assert len(LINKS) > 10


@pytest.mark.parametrize(("page", "name", "file", "number"), LINKS)
def test_a_link_to_a_line_leads_to_what_it_names(page: str, name: str, file: str, number: str) -> None:
    lines = (DOCS / file).read_text(encoding="utf-8").splitlines()
    where = [row for row, line in enumerate(lines, 1) if re.match(rf"\s*(def|class) {name.split('.')[-1]}\b", line)]
    assert int(number) in where, f"{page}: {name} is in {file} at {where}"
