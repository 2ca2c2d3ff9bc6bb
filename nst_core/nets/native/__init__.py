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
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from threading import Lock, local

import torch
from torch import Tensor

from nst_core.system.c_kernels import built

_log = logging.getLogger(__name__)
_LOADING = Lock()
_THREAD = local()
#: The least values of a row of kernels whose gradient `direct_kernel_gradient` can compute.
ROWS = 12
#: What kernels of pictures end with if nothing normalises their result.
NO_NORM = (None, None, None, None, 0.0, 0.0)


def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None if there is no compiler or it fails."""
    with _LOADING:
        return _load()


@cache
def _load() -> ctypes.CDLL | None:
    try:
        if folder := os.environ.get("TORCHINDUCTOR_CACHE_DIR"):
            return ctypes.CDLL(str(built(Path(folder))))
        with tempfile.TemporaryDirectory(prefix="nst-native-") as temporary:
            return ctypes.CDLL(str(built(Path(temporary))))
    except (OSError, subprocess.SubprocessError) as error:
        _log.info("pictures, trainings and optimisations are slower, because kernels cannot be compiled: %s", error)
        return None


@contextmanager
def _on_this_thread(**values: object) -> Iterator[None]:
    """Set attributes of `_THREAD` for the `with` block."""
    before = vars(_THREAD).copy()
    vars(_THREAD).update(values)
    try:
        yield
    finally:
        vars(_THREAD).clear()
        vars(_THREAD).update(before)


def unused() -> AbstractContextManager[None]:
    """Let this thread compute with torch's own functions, the reference, in the `with` block."""
    return _on_this_thread(unused=True)


def integers(wanted: bool = True) -> AbstractContextManager[None]:
    """Let this thread multiply 16-bit integers in the `with` block, in convolutions with gradients and Gram losses.

    Each row of a tile, and each position, is rounded with a scale of its own. So features of VGG16 are between 3e-4
    (relu1_2) and 5e-3 (relu4_3) of their size from exact ones; in bfloat16 they are between 4e-3 and 6e-3. Gradients by
    kernels stay floats.
    """
    return _on_this_thread(integers=wanted)


def multiplies_integers() -> bool:
    """Return whether this thread is in a `with` block of `integers`."""
    return getattr(_THREAD, "integers", False)


def threads(count: int) -> AbstractContextManager[None]:
    """Let kernels that this thread calls in the `with` block run on so many threads instead of torch's number.

    Results are the same on any number.
    """
    return _on_this_thread(threads=count)


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
    # As an attribute, the library keeps the function. An int is what functions return by default.
    count = getattr(_THREAD, "threads", None) or torch.get_num_threads()
    if getattr(kernels, name)(*map(_argument, arguments), ctypes.c_int(count)):
        raise MemoryError("There is no memory for the buffers of a convolution.")


def _argument(value: Tensor | int | float | None) -> ctypes.c_void_p | ctypes.c_long | ctypes.c_double:
    if value is None:
        return ctypes.c_void_p()
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    return ctypes.c_double(value) if isinstance(value, float) else ctypes.c_long(value)
