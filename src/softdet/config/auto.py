"""`auto`: a value that the command derives from the data and the device before anything is built."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

AUTO = "auto"


class OrAuto:
    """Marks a key that may also be `auto`.

    To the type checker such a key has its own type alone: builders get configs in which nothing is left to derive
    (see `undecided`), and needn't ask.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The key's own values, or the word."""
        return core_schema.union_schema([handler(source), core_schema.literal_schema([AUTO])], mode="left_to_right")


OR_AUTO = OrAuto()


def undecided(config: BaseModel) -> list[str]:
    """The dotted keys of a config that are left to derive, in order."""
    return [
        f"{section}.{name}"
        for section, keys in config
        for name, field in type(keys).model_fields.items()
        if OR_AUTO in field.metadata and getattr(keys, name) == AUTO
    ]
