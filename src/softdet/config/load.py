"""From YAML to a checked config, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from softdet.config.explain import explain_errors, plain
from softdet.config.schema import Config
from softdet.errors import ConfigError
from softdet.files import whole_file


def default_config() -> Path:
    """The config of a run that names none: its images come from elsewhere, and nearly all is `auto`."""
    return Path(__file__).with_name("default.yaml")


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, change keys of it, and check everything.

    Args:
        path: `.yaml` or `.yml`.
        overrides: `section.key=value`, the value in YAML.

    Raises:
        ConfigError: with the dotted path, the value, what is allowed and, for an unknown key, the nearest one.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        _refuse_doubled_keys(yaml.compose(text, Loader=yaml.SafeLoader), path)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no config file {path} (seen from {Path.cwd()}). Is the path right?") from error
    except OSError as error:
        raise ConfigError(
            f"{path} can't be read as a config ({error.strerror}). A config is one YAML file, such as config.yaml in a "
            "run's folder."
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not valid YAML: no text in UTF-8 ({error.reason} at byte {error.start}). Is it a config, saved "
            "as UTF-8?"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: a config holds sections ({', '.join(Config.model_fields)}); found {content!r}")
    return parse_config(content, overrides, source=str(path))


def parse_config(content: dict[str, Any], overrides: Sequence[str] = (), source: str = "config") -> Config:
    """Check a config that is already a dictionary; see `load_config`."""
    # A section that is there but empty (`params:` and nothing below it) is None to YAML.
    merged = {
        section: dict(keys or {}) if keys is None or isinstance(keys, dict) else keys
        for section, keys in content.items()
    }
    for override in overrides:
        _override(merged, override)
    try:
        return Config.model_validate(_without_none_words(merged))
    except ValidationError as error:
        given = {override.partition("=")[0].strip() for override in overrides}
        raise ConfigError(explain_errors(error, source, given)) from error


def dump_config(config: Config) -> str:
    """Put a config into YAML that gives it back wherever the command is then run: paths become absolute."""
    return yaml.safe_dump(plain(config.model_dump()), sort_keys=False, allow_unicode=True)


def save_config(config: Config, path: Path) -> None:
    """Write a config so that `load_config` gives it back; see `dump_config`."""
    with whole_file(path) as draft:
        draft.write_text(dump_config(config), encoding="utf-8")


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (equals and dot and name):
        raise ConfigError(f"override {override!r}: write section.key=value, for example soft_teacher.ema_decay=0.999")
    try:
        content.setdefault(section, {})[name] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not valid YAML ({error})") from error
    except TypeError as error:
        raise ConfigError(f"{section} holds keys; found {content[section]!r}, so {override!r} has no place") from error


def _refuse_doubled_keys(node: yaml.Node | None, path: Path) -> None:
    """YAML readers keep the last of two keys of a name, and all that stands below the first would be lost unsaid."""
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.value in lines:
            raise ConfigError(
                f"{path}: {key.value} stands twice, in lines {lines[key.value]} and {line}, and only one can hold. Put "
                "all of it into one."
            )
        lines[key.value] = line
        _refuse_doubled_keys(value, path)


def _without_none_words(value: Any) -> Any:
    """The seed's files write None, which YAML reads as a word; `none` stays one, since some keys may be that."""
    if isinstance(value, dict):
        return {key: _without_none_words(item) for key, item in value.items()}
    return None if value == "None" else value
