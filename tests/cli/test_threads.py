"""How the threads of PyTorch wait: set before PyTorch is there, and never against the user's word."""

import os
import subprocess
import sys

import pytest

SHOW = "import softdet.cli, os, sys; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"


@pytest.mark.parametrize(("given", "used"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_threads_wait_shortly_unless_the_user_says_otherwise(given: dict[str, str], used: str) -> None:
    others = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    shown = subprocess.run([sys.executable, "-c", SHOW], env=others | given, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [used, "False"]
