"""A program run by two processes that meet as torchrun lets them meet, on the CPU."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import torch

# Runs a program and ends without taking Python down. Fabric leaves NCCL's group by itself at the end, which is what
# users have; of Gloo, which it leaves behind, a thread that wants Python while that is taken down aborts the process
# now and then, with all of its work done.
AND_END = """
import os, sys, traceback
import torch.distributed as dist
try:
    exec({program!r})
    status = 0
except SystemExit as ended:
    status = ended.code or 0
except BaseException:
    traceback.print_exc()
    status = 1
if dist.is_initialized():
    dist.destroy_process_group()
sys.stdout.flush()
sys.stderr.flush()
os._exit(status)
"""

COMMAND_LINE = """
import sys
from lightning_fabric import Fabric
from softdet import builders
from softdet.cli import main as cli
builders.make_fabric = lambda config: Fabric(accelerator="cpu", devices=2, strategy="ddp")
cli.main(sys.argv[1:])
"""


def run_two_processes(*arguments: str, program: str = COMMAND_LINE) -> tuple[str, str]:
    """Run a program twice at once, as ranks 0 and 1 of one job, and wait until both have ended well.

    Args:
        arguments: what each finds in `sys.argv[1:]`.
        program: Python; left out, softdet's command line on two CPU processes.

    Returns:
        What each has printed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # As torchrun sets them.
    common = {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GROUP_RANK": "0"}
    common |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", AND_END.format(program=program), *arguments],
            env=os.environ | common | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        first, second = (process.communicate(timeout=120)[0] for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0]
    return first, second
