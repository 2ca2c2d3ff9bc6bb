"""Kernels in C for float32 on CPUs, which this machine's compiler builds once in a process, in about a second.

torch has no Winograd convolutions for x86, and takes several passes over the memory for a normalisation. They are for
trainings and optimisations: what takes no gradient is computed by torch's own functions, the reference, and so is all
without a compiler.
"""

import ctypes
import logging
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock, local

import torch
from torch import Tensor

_log = logging.getLogger(__name__)
_FOLDER = Path(__file__).parent
_FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-Wno-psabi")
_BUILDING = Lock()
_THREAD = local()
#: The least values of a row of kernels whose gradient `direct_kernel_gradient` can compute.
ROWS = 6


def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None if there is no compiler or it fails."""
    with _BUILDING:
        return _build()


@cache
def _build() -> ctypes.CDLL | None:
    compiler = shlex.split(os.environ.get("CC", "")) or ["gcc"]
    with tempfile.TemporaryDirectory(prefix="nst-native-") as folder:
        made = Path(folder) / "kernels.so"
        sources = map(str, sorted(_FOLDER.glob("*.c")))
        try:
            subprocess.run(
                [*compiler, *_FLAGS, "-o", str(made), *sources, "-lm"], check=True, capture_output=True, timeout=120
            )
            return ctypes.CDLL(str(made))
        except (OSError, subprocess.SubprocessError) as error:
            _log.info("trainings and optimisations are slower, because kernels cannot be compiled: %s", error)
            return None


@contextmanager
def unused() -> Iterator[None]:
    """Let this thread compute with torch's own functions, the reference, in the `with` block."""
    before = getattr(_THREAD, "unused", False)
    _THREAD.unused = True
    try:
        yield
    finally:
        _THREAD.unused = before


def usable(x: Tensor, *channels: int) -> bool:
    """Return whether the kernels can compute layers of a map with these numbers of channels."""
    return (
        not torch.compiler.is_compiling()
        and not getattr(_THREAD, "unused", False)
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and fit(*channels)
        and library() is not None
    )


def fit(*channels: int) -> bool:
    """Return whether numbers of channels fit the kernels."""
    return all(count % 16 == 0 and 0 < count <= 4096 for count in channels)


def call(name: str, *arguments: Tensor | int | float | None) -> None:
    """Run a kernel with pointers to the data of tensors, whole numbers and floats; the last argument is the threads.

    Raises MemoryError if there is no memory for its buffers.
    """
    kernels = library()
    assert kernels is not None
    function = kernels[name]
    function.restype = ctypes.c_int
    if function(*map(_argument, arguments), ctypes.c_int(torch.get_num_threads())):
        raise MemoryError("There is no memory for the buffers of a convolution.")


def _argument(value: Tensor | int | float | None) -> ctypes.c_void_p | ctypes.c_long | ctypes.c_double:
    if value is None:
        return ctypes.c_void_p()
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    return ctypes.c_double(value) if isinstance(value, float) else ctypes.c_long(value)
