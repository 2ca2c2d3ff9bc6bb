"""Kernels in C: their results do not depend on threads, and they are not needed."""

import ctypes
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nst_core.losses.gram import gram_matrix
from nst_core.nets import native
from nst_core.nets.operators import ReflectConv2d
from nst_core.nets.transformer import InstanceNorm
from tests.unit.nst_core.nets.native_kit import needs_compiler, noise


@needs_compiler
def test_the_number_of_threads_does_not_change_a_bit() -> None:
    torch.manual_seed(1)
    first, norm, last = ReflectConv2d(3, 32, 9, bias=False), InstanceNorm(32), ReflectConv2d(32, 64, 3, bias=False)
    x = noise(3, 3, 41, 50, seed=2)
    threads = torch.get_num_threads()
    found: list[tuple[Tensor, ...]] = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            y = last(norm(first(x)))
            loss = (y * noise(*y.shape, seed=9)).sum() + gram_matrix(y).square().sum()
            found.append((y, *torch.autograd.grad(loss, [last.weight, norm.weight, first.weight])))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_a_compiler_that_fails_means_no_kernels(tmp_path: Path) -> None:
    script = "from nst_core.nets import native; print(native.library())"
    env = {**os.environ, "CC": str(tmp_path / "no-compiler")}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


@needs_compiler
def test_what_was_built_is_kept_in_the_folder_of_compiled_code(tmp_path: Path) -> None:
    script = "from nst_core.nets import native; assert native.library().winograd"
    env = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    built = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", script], env=env, check=True)
        [kept] = tmp_path.iterdir()
        built.append(kept.stat().st_mtime_ns)
    assert built[0] == built[1]


def painted(y: Tensor) -> Tensor:
    """Return the bytes of a picture; 20 parts of a loop on three threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        picture = torch.zeros(y.numel(), dtype=torch.uint8)
        native.call("paint", y, None, picture, y.numel() // 3, 1)
    finally:
        torch.set_num_threads(threads)
    return picture


@needs_compiler
def test_loops_of_several_callers_at_once() -> None:
    y = noise(20 * 3072, seed=3) / 4
    expected = (127.5 + 255 * y).clamp(0, 255).round().to(torch.uint8)
    with ThreadPoolExecutor(4) as callers:
        for picture in callers.map(painted, [y] * 40):
            assert torch.equal(picture, expected)


@needs_compiler
def test_loops_run_each_item_once_and_one_at_a_time_on_a_thread() -> None:
    runs, busy, overlaps = Counter[int](), set[int](), set[int]()

    def run(context: int | None, item: int, thread: int) -> None:
        if thread in busy:
            overlaps.add(thread)
        busy.add(thread)
        runs[item] += 1
        if item % 3 == 0:
            time.sleep(0)  # another thread goes on here
        busy.remove(thread)

    kernels, pointer = native.library(), ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_long, ctypes.c_int)(run)
    assert kernels is not None
    for number in range(600):
        items, threads = number % 41, 1 + number % 5
        runs.clear()
        kernels.parallel(pointer, None, ctypes.c_long(items), ctypes.c_int(threads))
        assert runs == Counter(range(items))
    assert not overlaps


@needs_compiler
def test_loops_run_in_the_child_of_a_fork() -> None:
    # Its parent's threads are gone. torch's own loops would wait for theirs for ever.
    script = """
import os, torch
from nst_core.nets import native
torch.set_num_threads(3)
y = torch.linspace(-0.5, 0.5, 20 * 3072)
first, second = torch.zeros(2, len(y), dtype=torch.uint8)
native.call("paint", y, None, first, len(y) // 3, 1)
child = os.fork()
if not child:
    native.call("paint", y, None, second, len(y) // 3, 1)
    os._exit(0 if first.numpy().tobytes() == second.numpy().tobytes() else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


#: Lengths of vectors that are not this processor's, and a processor without any that the kernels know.
_CPUINFO = Path("/proc/cpuinfo")
OTHERS = ["-DN=8" if _CPUINFO.exists() and "avx512f" in _CPUINFO.read_text() else "-DN=16", "-mno-avx2"]


@needs_compiler
@pytest.mark.parametrize("flag", OTHERS)
def test_kernels_with_vectors_of_another_processor_compute_the_same(flag: str) -> None:
    # Processors with AVX-512 have vectors of 16 values; without it the compiler makes two instructions of one.
    files = ["nets/test_convolution.py", "nets/test_instance_norm.py", "inference/test_native_network.py"]
    files += ["inference/test_native_halves.py", "losses/test_gram.py"]
    tests = [str(Path(__file__).parents[1] / file) for file in files]
    env = {**os.environ, "CC": f"gcc {flag}"}
    # Of the sizes and networks, those that are the most different from a multiple of a vector.
    chosen = "not (8-64 or 3-5 or 1-1 or 16-17 or config1)"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *tests]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


@needs_compiler
def test_a_thread_can_compute_without_the_kernels() -> None:
    x = noise(1, 16, 4, 4, seed=1)
    assert native.usable(x, 16)
    with native.unused():
        assert not native.usable(x, 16)
        with native.unused():
            pass
        assert not native.usable(x, 16)
        with ThreadPoolExecutor(1) as other:
            assert other.submit(native.usable, x, 16).result()
    assert native.usable(x, 16)
