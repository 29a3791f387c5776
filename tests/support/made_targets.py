"""Targets from numbers."""

import torch

from softdet.structures import Targets


def targets(*boxes: tuple[float, ...], ignored: tuple[tuple[float, ...], ...] = ()) -> Targets:
    return Targets(
        torch.tensor(boxes).view(-1, 4),
        torch.arange(len(boxes)),
        torch.tensor(ignored, dtype=torch.float32).view(-1, 4),
    )
