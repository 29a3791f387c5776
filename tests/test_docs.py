"""What the documents say of the code."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from softdet.cli.main import app
from softdet.config import default_config, keys, load_config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
LINKS = [
    (page.name, *found)
    for page in sorted(DOCS.glob("*.md"))
    for found in re.findall(r"\[`([\w.]+)`\]\(([\w./]+\.py)#L(\d+)\)", page.read_text(encoding="utf-8"))
]
COMMAND = typer.main.get_command(app)


def without_code(text: str) -> str:
    """A page without its indented blocks."""
    return re.sub(r"^    .*$", "", text, flags=re.MULTILINE)


def shown_commands(text: str) -> Iterator[str]:
    """The lines of code blocks that start softdet, from its name on, continued lines put together."""
    blocks = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))
    for line in blocks.replace("\\\n", " ").splitlines():
        if found := re.match(r"(?:softdet|(?:python|torchrun\b.*) -m softdet) (?P<rest>.+)", line.strip()):
            yield found["rest"]


SHOWN = [(page.name, command) for page in PAGES for command in shown_commands(page.read_text(encoding="utf-8"))]
# Inside sentences a command may lack what it needs, `softdet doctor` say.
MENTIONED = [
    (page.name, command)
    for page in PAGES
    for command in re.findall(r"`softdet ([^`]+)`", " ".join(without_code(page.read_text(encoding="utf-8")).split()))
]
NAMED_KEYS = [
    (page.name, *found)
    for page in PAGES
    for found in re.findall(
        rf"`((?:{'|'.join(sorted({key.split('.')[0] for key in keys()}))})\.(?!ya?ml`)\w+)(?:=([^`]*))?`",
        page.read_text(encoding="utf-8"),
    )
]


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that some words name, and the words behind its name."""
    command: Any = COMMAND
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    assert command is not COMMAND, f"there is no command {words[0]}"
    return command, words


def test_there_are_links_to_check() -> None:
    assert len(LINKS) > 10


@pytest.mark.parametrize(("page", "name", "file", "number"), LINKS)
def test_a_link_to_a_line_leads_to_what_it_names(page: str, name: str, file: str, number: str) -> None:
    lines = (DOCS / file).read_text(encoding="utf-8").splitlines()
    where = [row for row, line in enumerate(lines, 1) if re.match(rf"\s*(def|class) {name.split('.')[-1]}\b", line)]
    assert int(number) in where, f"{page}: {name} is in {file} at {where}"


def test_there_are_commands_and_keys_to_check() -> None:
    assert len(SHOWN) > 30
    assert len(MENTIONED) > 10
    assert len(NAMED_KEYS) > 20


@pytest.mark.parametrize(("page", "line"), SHOWN)
def test_a_shown_command_is_one_that_can_be_typed(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    command, rest = command_of(words)
    # Parses, converts and refuses as the command does; runs nothing.
    values = command.make_context(command.name, rest).params
    if command.name == "train":
        config = ROOT / values["config"] if values["config"] else default_config()
        load_config(config, values["overrides"] or [])


@pytest.mark.parametrize(("page", "line"), MENTIONED)
def test_a_mentioned_command_has_the_options_that_are_mentioned(page: str, line: str) -> None:
    command, rest = command_of(line.split())
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    assert {word for word in rest if word.startswith("-")} <= known


@pytest.mark.parametrize(("page", "key", "value"), NAMED_KEYS)
def test_a_named_key_is_one_of_the_config(page: str, key: str, value: str) -> None:
    assert key in keys()
    if value:
        load_config(default_config(), [f"{key}={value}"])
