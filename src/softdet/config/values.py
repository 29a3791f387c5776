"""Sections of keys, and the kinds of values that keys hold: how they are written, and what is allowed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from softdet.config.auto import AUTO


class Section(BaseModel):
    """Keys that belong together; one that isn't known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]


def _parse_size(value: Any) -> Any:
    """Read `320x320` (rows x cols), a pair, or one number for a square."""
    if isinstance(value, str):
        parts = value.lower().replace(" ", "").split("x")
        if not all(part.isdigit() for part in parts):
            raise ValueError("write rows x columns, for example 320x320")
        value = [int(part) for part in parts]
    if isinstance(value, int):
        value = [value]
    return tuple(value) * 2 if isinstance(value, list) and len(value) == 1 else value


def _check_size(value: tuple[int, int]) -> tuple[int, int]:
    if any(side < 64 or side % 32 for side in value):
        raise ValueError(
            "both sides must be multiples of 32 and at least 64, the stride of the pyramid's deepest stage"
        )
    return value


def _check_range(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 < value[0] <= value[1] < math.inf:
        raise ValueError("write [low, high] with 0 < low <= high")
    return value


def check_weak_scale(value: tuple[float, float]) -> tuple[float, float]:
    """Refuse a scale at which the teacher's view would be cropped."""
    if value[1] > 1:
        raise ValueError("must stay at or below 1: what the teacher's view crops away becomes background")
    return value


def _from_home(path: Path) -> Path:
    """Read `~`, which no shell expands in a file or behind a `key=`; a folder may bear that name, too."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def check_gpus(value: int | tuple[int, ...]) -> int | tuple[int, ...]:
    """Refuse an empty list of GPUs and one that names a GPU twice."""
    if isinstance(value, tuple) and (not value or len(set(value)) < len(value)):
        raise ValueError("write one number or a list of different ones, for example 0 or [0, 1]")
    return value


# An editor can't know how a size is read; it replaces what pydantic says of the key, `auto` too.
_SIZE_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": "^ *[0-9]+ *([xX] *[0-9]+ *)?$"},
        {"type": "integer", "minimum": 64},
        {"type": "array", "items": {"type": "integer", "minimum": 64}, "minItems": 1, "maxItems": 2},
        {"type": "string", "const": AUTO},
    ]
}
ImageSize = Annotated[
    tuple[int, int], BeforeValidator(_parse_size), AfterValidator(_check_size), WithJsonSchema(_SIZE_SCHEMA)
]
FilePath = Annotated[Path, AfterValidator(_from_home)]
ScaleRange = Annotated[tuple[float, float], AfterValidator(_check_range)]
