"""The config as a page for people and as a JSON schema for editors; both are made of the schema alone."""

from __future__ import annotations

import json
from typing import Any

from softdet.config.auto import AUTO
from softdet.config.explain import plain
from softdet.config.load import default_config, load_config
from softdet.config.schema import Config

_HEAD = """\
# Every key of the config

Made by `softdet explain --markdown`; don't edit it. Keys are set in a YAML file (`--config`) or on the command line
(`section.key=value`). What a config leaves out has the default. `softdet train --labeled ... --unlabeled ...` takes
`configs/default.yaml`, and the column "own images" has the values that differ there. `auto` is derived from the images
and the device, and the run prints what it became and why.
"""
_LIMITS = {"minimum": "at least {}", "exclusiveMinimum": "above {}", "maximum": "at most {}", "multipleOf": "in {}s"}
_KINDS = {"integer": "whole number", "number": "number", "boolean": "True or False"}


def markdown() -> str:
    """The page `docs/config.md`."""
    schema = Config.model_json_schema()
    parts = [_HEAD]
    shipped = load_config(default_config())
    for section in schema["properties"]:
        entry = schema["$defs"][_definition(schema, section)]
        parts.append(
            f"## {section}\n\n{entry['description']}\n\n"
            "| key | may be | default | own images | what it does |\n|---|---|---|---|---|"
        )
        model: Any = Config.model_fields[section].annotation
        for name, field in model.model_fields.items():
            default = "must be given" if field.is_required() else f"`{_default(field.default)}`"
            value = getattr(getattr(shipped, section), name)
            # The lists in it are only examples.
            own = "" if value == field.default or section == "data" else f"`{_default(value)}`"
            row = (f"`{name}`", _allowed(entry["properties"][name]), default, own, str(field.description))
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
        parts.append("")
    return "\n".join(parts)


def json_schema() -> str:
    """The file `configs/softdet.schema.json`, by which editors complete and check a config."""
    return json.dumps({"title": "softdet's config"} | Config.model_json_schema(), indent=1) + "\n"


def _definition(schema: dict[str, Any], section: str) -> str:
    return str(schema["properties"][section]["$ref"]).rpartition("/")[2]


def _default(value: Any) -> str:
    shown = plain(value) if not hasattr(value, "as_posix") else value.as_posix()
    if isinstance(shown, list):
        return "[" + ", ".join(_default(item) for item in shown) + "]"
    return f"{shown:.5g}" if isinstance(shown, float) else str(shown)


def _allowed(schema: dict[str, Any]) -> str:
    """What the JSON schema of a value says, in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_allowed(option) for option in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const", AUTO)]))
    match schema.get("type"):
        case "null":
            return "None"
        case "string":
            return "path" if schema.get("format") == "path" else "`ROWSxCOLUMNS`" if "pattern" in schema else "text"
        case "array":
            return _array(schema)
    limits = [said.format(schema[name]) for name, said in _LIMITS.items() if name in schema]
    return " ".join([_KINDS[schema["type"]], " and ".join(limits)]).strip()


def _array(schema: dict[str, Any]) -> str:
    items = schema.get("prefixItems") or [schema["items"]]
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    count = "" if most is None else f"{most} " if least == most else f"{least} to {most} "
    return f"list of {count}({_allowed(items[0])})"
