"""Nested states, such as checkpoints, compared to the bit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two nested states differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return [f"{place}: {one.keys() ^ other.keys()}"]
        return [line for key in one for line in differences(one[key], other[key], f"{place}.{key}")]
    if isinstance(one, list | tuple) and len(one) == len(other):
        return [line for i in range(len(one)) for line in differences(one[i], other[i], f"{place}[{i}]")]
    same = torch.equal(one, other) if isinstance(one, Tensor) else one == other
    return [] if same else [place]
