"""The command `softdet` and its subcommands, a file each."""

import os

# OpenMP's threads wait for each other in a loop that keeps its core. Beside another busy process that is the core which
# the awaited thread needs, and a step takes four to thirty times as long. A shorter loop costs nothing where the cores
# are idle; measured in docs/decisions.md, Speed on a CPU. Read when PyTorch is first imported, so it stands here.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
