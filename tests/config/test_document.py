"""What is generated from the schema is fresh, and holds every key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from softdet.config import default_config, json_schema, keys, load_config, markdown
from softdet.config.auto import undecided

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_all_keys_is_fresh() -> None:
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert page == markdown(), "run: softdet explain --markdown > docs/config.md"


def test_the_editors_schema_is_fresh() -> None:
    schema = (ROOT / "configs" / "softdet.schema.json").read_text(encoding="utf-8")
    assert schema == json_schema(), "run: softdet explain --schema > configs/softdet.schema.json"


def test_the_page_names_every_key_with_what_it_may_be() -> None:
    sections = {part.partition("\n")[0]: part for part in markdown().split("\n## ")[1:]}
    for key in keys():
        section, _, name = key.partition(".")
        (row,) = [line for line in sections[section].splitlines() if line.startswith(f"| `{name}` |")]
        assert row.count(" | ") == 4
    assert "| `which` | `Adam`, `AdamW`, `SGD` | `Adam` | `AdamW` | SGD has momentum .9. |" in markdown()
    assert "| `batch_size` | whole number at least 1 or `auto` | `8` | `auto` |" in markdown()


def refusals(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """Whether a JSON schema refuses a value: of what the keywords say, that which our schema uses."""
    if "$ref" in schema:
        return refusals(root["$defs"][schema["$ref"].rpartition("/")[2]], value, root)
    if "anyOf" in schema:
        return all(refusals(option, value, root) for option in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return value not in schema.get("enum", [schema.get("const")])
    kinds: dict[str, Any] = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}
    kinds |= {"array": list, "object": dict}
    if not isinstance(value, kinds[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean"):
        return True
    if isinstance(value, dict):
        known = schema["properties"]
        return not set(value) <= set(known) or any(refusals(known[name], item, root) for name, item in value.items())
    if isinstance(value, list):
        count = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        kinds_of_items = schema.get("prefixItems") or [schema["items"]] * len(value)
        return not count or any(map(lambda s, v: refusals(s, v, root), kinds_of_items, value))
    return isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value)


def read(path: Path) -> Any:
    """A YAML file as an editor reads it: there 1e-4 is a number, and `None` is nothing to refuse."""

    def number(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: number(item) for key, item in value.items() if item != "None"}
        try:
            return float(value) if isinstance(value, str) else value
        except ValueError:
            return value

    return number(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_an_editor_accepts_every_shipped_config(path: Path) -> None:
    schema = json.loads(json_schema())
    content = read(path)
    assert not refusals(schema, content, schema)
    # And would refuse a key or a value that is none.
    assert refusals(schema, content | {"params": {"epocs": 3}}, schema)
    assert refusals(schema, content | {"optimizer": {"which": "Adagrad"}}, schema)


def test_the_shipped_default_is_the_one_in_configs() -> None:
    assert default_config().read_bytes() == (ROOT / "configs" / "default.yaml").read_bytes()
    assert len(undecided(load_config(default_config()))) == 16


@pytest.mark.parametrize(("option", "made"), [("--markdown", markdown), ("--schema", json_schema)])
def test_the_command_prints_them(
    option: str, made: Callable[[], str], softdet: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert softdet("explain", option) == 0
    assert capsys.readouterr().out == made()
    assert softdet("explain", option, "params.epoch") == 2
    assert softdet("explain", "--markdown", "--schema") == 2
