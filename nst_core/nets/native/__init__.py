"""Kernels in C for float32 maps on CPUs, which this machine's compiler builds in a second or two.

torch has no Winograd convolutions for x86, and takes several passes over the memory for a normalisation. They are for
trainings, optimisations and the engine `native`. Everything else that takes no gradient is computed by torch's own
functions, the reference, and so is all without a compiler.

What was built is kept in the folder in which torch keeps its own compiled code, if TORCHINDUCTOR_CACHE_DIR names one;
otherwise each process builds it.
"""

import ctypes
import logging
import os
import secrets
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
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
ROWS = 12


def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None if there is no compiler or it fails."""
    with _BUILDING:
        return _build()


@cache
def _build() -> ctypes.CDLL | None:
    compiler = shlex.split(os.environ.get("CC", "")) or ["gcc"]
    try:
        if folder := os.environ.get("TORCHINDUCTOR_CACHE_DIR"):
            return _loaded(Path(folder) / f"nst-kernels-{_digest(compiler)}.so", compiler)
        with tempfile.TemporaryDirectory(prefix="nst-native-") as temporary:
            return _loaded(Path(temporary) / "kernels.so", compiler)
    except (OSError, subprocess.SubprocessError) as error:
        _log.info("pictures, trainings and optimisations are slower, because kernels cannot be compiled: %s", error)
        return None


def _loaded(library: Path, compiler: list[str]) -> ctypes.CDLL:
    """Return the kernels in a file, which is built first if it is not there."""
    if not library.exists():
        # Another process may build it too, in another container even under the same process id. Each file is whole when
        # it gets its name.
        part = library.with_name(f"{library.name}.{secrets.token_hex(8)}")
        try:
            command = [*compiler, *_FLAGS, "-o", str(part), *map(str, _sources("*.c")), "-lm"]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
            part.replace(library)
        finally:
            part.unlink(missing_ok=True)
    return ctypes.CDLL(str(library))


def _digest(compiler: list[str]) -> str:
    """Return a name for what the compiler makes here: it depends on the sources and on the processor."""
    # What says the kind: the first two on x86, the others on ARM.
    names = ("model name", "flags", "CPU part", "Features")
    processor = {line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(names)}
    parts = [*compiler, *_FLAGS, *sorted(processor), *(file.read_text() for file in _sources("*.[ch]"))]
    return sha256("\0".join(parts).encode()).hexdigest()[:16]


def _sources(pattern: str) -> list[Path]:
    return sorted(_FOLDER.glob(pattern))


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
