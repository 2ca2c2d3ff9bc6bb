"""Tests of nst_core.system.memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nst_core.system import memory

ROOT = Path(__file__).parents[4]
SCRIPT = """
import resource, sys, threading
from nst_core.system.memory import keep_freed_memory
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
    """Return the number of page faults while a thread uses 64 MiB ten times."""
    command = [sys.executable, "-c", SCRIPT, mode]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_is_reused_even_by_other_threads() -> None:
    assert page_faults("keep") < page_faults("default") / 10


TRIM = """
import threading
from nst_core.system.memory import FreedMemory, keep_freed_memory, resident_bytes
assert keep_freed_memory()
freed = FreedMemory(kept_bytes=64 * 2**20)
pieces = [bytearray(2**20) for _ in range(300)]
keep = bytearray(2**20)  # above the pieces: the heap cannot shrink from its end
del pieces
before = resident_bytes()
assert freed.trim(idle=True)
print(before - resident_bytes())
assert not freed.trim(idle=True), "there is nothing left to give back"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_memory_above_the_kept_limit_is_returned_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", TRIM], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 250 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_memory_is_returned_once_a_minute_during_work() -> None:
    now = [1000.0]
    freed = memory.FreedMemory(kept_bytes=-(2**62), clock=lambda: now[0])  # always more than the limit that is kept
    assert freed.trim(idle=False)
    now[0] += 59
    assert not freed.trim(idle=False)
    assert freed.trim(idle=True)
    now[0] += 61
    assert freed.trim(idle=False)


def test_the_memory_limit_of_a_process_is_that_of_its_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", (str(limit), str(tmp_path / "none")))
    machine = memory.total_bytes()
    limit.write_text("max\n")
    assert memory.total_bytes() == machine
    limit.write_text("123456789\n")
    assert memory.total_bytes() == 123456789


KERNELS = """
from nst_core.system.memory import bound_kernels
bound_kernels()
import torch
conv = torch.nn.Conv2d(8, 8, 3).requires_grad_(False)
def run(width):
    conv(torch.zeros(4, 8, 32, width))
for width in range(20, 20 + 160):
    run(width)
print("again", flush=True)
run(20)
"""


def test_kernels_of_sizes_not_used_for_long_are_released() -> None:
    done = subprocess.run(
        [sys.executable, "-c", KERNELS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "ONEDNN_VERBOSE": "profile_create"},
    )
    before, _, after = done.stdout.partition("again")
    if "convolution" not in before:
        pytest.skip("convolutions are not oneDNN's on this machine")
    assert "cache_miss" in after
