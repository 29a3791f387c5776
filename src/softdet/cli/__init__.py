"""The command `softdet` and its subcommands, a file each."""

import os

# OpenMP's threads wait for each other in a loop that keeps its core. Beside another busy process that is the core which
# the awaited thread needs, and a step took ten times as long. A shorter loop makes that four times and costs nothing
# where cores are idle (docs/decisions.md, Speed on a CPU). Read when PyTorch is first imported, so it stands here.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
