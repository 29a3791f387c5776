"""The config in words: what a key does, and what is wrong with a value."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ValidationError

from softdet.config.schema import Config
from softdet.errors import ConfigError


def describe(key: str) -> str:
    """Say what a key does, what it may be and what it is if left out.

    Raises:
        ConfigError: there is no such key.
    """
    section_name, _, name = key.partition(".")
    section = _sections().get(section_name)
    if section is None or (name and name not in section.model_fields):
        raise ConfigError(f"{key}: {_unknown(key.split('.'))}")
    names = [name] if name else list(section.model_fields)
    lines = []
    for each in names:
        field = section.model_fields[each]
        default = "must be given" if field.is_required() else f"default {plain(field.default)}"
        allowed = get_args(field.annotation) if getattr(field.annotation, "__origin__", None) is Literal else ()
        choices = f" One of {', '.join(map(str, allowed))}." if allowed else ""
        lines.append(f"{section_name}.{each} ({default}): {field.description}{choices}")
    return "\n".join(lines)


def keys() -> list[str]:
    """Every dotted key, in order."""
    return [f"{section}.{name}" for section, model in _sections().items() for name in model.model_fields]


def _sections() -> dict[str, type[BaseModel]]:
    sections = {}
    for name, field in Config.model_fields.items():
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, BaseModel)
        sections[name] = field.annotation
    return sections


def explain_errors(error: ValidationError, source: str, given: Collection[str] = ()) -> str:
    """Say each problem once, for a person: where, the key, the value, what is allowed and what the key is for.

    Args:
        error: of the whole config.
        source: the file.
        given: the dotted keys that came from the command line instead.
    """
    # A union reports each of its branches, a list each of its items; a person needs the key once, with all it may be.
    starts: dict[tuple[str, ...], str] = {}
    reasons: dict[tuple[str, ...], list[str]] = {}
    for problem in error.errors():
        path = tuple(str(part) for part in problem["loc"][:2])
        if problem["type"] == "extra_forbidden":
            value = f" = {problem['input']!r}" if len(path) == 2 else ""
            starts[path] = f"{'.'.join(path)}{value}: {_unknown(path)}"
            continue
        is_left_out = problem["type"] == "missing" and len(problem["loc"]) <= 2
        starts.setdefault(path, ".".join(path) + (" is missing" if is_left_out else f" = {problem['input']!r}"))
        if not is_left_out and (reason := _reason(problem["type"], problem["msg"])) not in reasons.get(path, ()):
            reasons.setdefault(path, []).append(reason)
    told: dict[str, list[str]] = {}
    for path, start in starts.items():
        line = start + (f": {', or '.join(reasons[path])}" if path in reasons else "") + _about(path)
        told.setdefault("on the command line" if ".".join(path) in given else source, []).append(line)
    return "\n".join(f"{place}: {'; '.join(lines)}" for place, lines in told.items())


def _reason(kind: str, message: str) -> str:
    if kind == "missing":
        return "has too few values"
    plain_message = message.removeprefix("Value error, ")
    return plain_message[0].lower() + plain_message[1:]


def _about(path: Sequence[str]) -> str:
    section = _sections().get(path[0])
    field = section.model_fields.get(path[1]) if section and len(path) > 1 else None
    return f" ({(field.description or '').rstrip('.')})" if field else ""


def _unknown(path: Sequence[str]) -> str:
    dotted = ".".join(path)
    everything = keys() if path[0] in _sections() else [*_sections(), *keys()]
    by_name = {key.partition(".")[2]: key for key in reversed(keys())}
    if path[-1] in by_name:
        # The right name, in the wrong section or in none.
        near = [by_name[path[-1]]]
    else:
        near = difflib.get_close_matches(dotted, everything, n=1, cutoff=0.6)
        near = near or [by_name[name] for name in difflib.get_close_matches(path[-1], by_name, n=1, cutoff=0.6)]
    if near:
        return f"there is no such key. Did you mean {near[0]}?"
    section = _sections().get(path[0])
    known = section.model_fields if section else _sections()
    return f"there is no such key. There are {', '.join(known)}."


def plain(value: Any) -> Any:
    """A value as YAML writes it; paths become absolute."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value.absolute())
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value
