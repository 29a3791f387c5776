"""The configuration, strictly checked. Only `build.py` and `cli.py` read it."""

from softdet.config.explain import describe, keys
from softdet.config.load import dump_config, load_config, parse_config, save_config
from softdet.config.schema import Config

__all__ = ["Config", "describe", "dump_config", "keys", "load_config", "parse_config", "save_config"]
