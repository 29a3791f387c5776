"""The configuration, strictly checked. Only `builders` and `cli` read it."""

from softdet.config.document import json_schema, markdown
from softdet.config.explain import describe, keys
from softdet.config.load import default_config, dump_config, load_config, parse_config, save_config
from softdet.config.schema import Config

__all__ = [
    "Config",
    "default_config",
    "describe",
    "dump_config",
    "json_schema",
    "keys",
    "load_config",
    "markdown",
    "parse_config",
    "save_config",
]
