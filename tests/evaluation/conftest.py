"""What tests of run folders share."""

from __future__ import annotations

import pytest
from lightning_fabric import Fabric


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return fabric
