"""Tests of nst_core.memory."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = """
import resource, sys, threading
from nst_core.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()

def use():
    bytearray(64 * 2**20)

def faults():
    use()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        use()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=faults)
thread.start()
thread.join()
"""


def page_faults(mode: str) -> int:
    """Return how often the system had to provide a page while a thread used 64 MiB ten times."""
    command = [sys.executable, "-c", SCRIPT, mode]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_is_used_again_also_by_other_threads() -> None:
    assert page_faults("keep") < page_faults("default") / 10
