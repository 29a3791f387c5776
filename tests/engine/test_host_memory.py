import subprocess
import sys

SCRIPT = """
import resource, torch
from softdet.engine.host_memory import keep_freed_memory

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16, 1024, 1024)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = page_faults()
print(keep_freed_memory(), given_back, (page_faults(), page_faults())[1])
"""


def test_freed_memory_is_used_again_where_the_allocator_allows_it() -> None:
    answer = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout.split()
    could_set, given_back, kept = answer[0] == "True", int(answer[1]), int(answer[2])
    # Ten tensors of 64 MB, in pages of 4 kB: 163,840 faults where each is fetched anew.
    assert kept < given_back / 10 if could_set else kept >= 0
