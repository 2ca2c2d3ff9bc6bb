"""The memory of the process: how much there is, and when freed memory goes back. Never loads torch."""

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock

from nst_core.clock import Clock

# Parameters of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -3, -4, -8
#: Freed memory that is kept for the next picture.
KEPT_BYTES = 2**31 - 1
_STEP_BYTES = 256 * 2**20
#: The largest threshold that glibc accepts for blocks that are mapped one by one, and its default number of them.
_MAPPED_BYTES, _MAPPED_BLOCKS = 32 * 2**20, 65_536
#: Seconds between two trims while there is work: the next large picture has to request the memory again.
_TRIM_EVERY_S = 60.0
#: Kernels that stay compiled; each is for a convolution of one shape. A photo of a new size needs about 25 of them and
#: a training 67. By default 1,024 are kept, which take 4 GB after some hundred photos of different sizes.
KERNELS_KEPT = 128
_keeping = Event()  # set if this process keeps freed memory
#: Limits of control groups, version 2 and version 1; a file may be missing or say "max".
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class _Mallinfo2(ctypes.Structure):
    """glibc's struct mallinfo2, from malloc.h."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


def keep_freed_memory() -> bool:
    """Keep freed memory for the next picture instead of giving it back immediately; return whether that is possible.

    For every picture, a network allocates and frees some gigabytes of activations, one after the other. By default
    glibc maps each block anew and the system clears its pages, which takes a third of the time on a CPU. Call this
    function before other threads start, and `FreedMemory.trim` between pictures. It does nothing if the C library is
    not glibc 2.33 or newer.
    """
    libc = _glibc()
    if libc is None:
        return False
    # One arena: the arenas of other threads cannot grow to the size of an activation.
    settings = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, KEPT_BYTES), (_M_TOP_PAD, _STEP_BYTES))
    done = all(libc.mallopt(name, value) == 1 for name, value in settings)
    if done:
        _keeping.set()
    return done


@contextmanager
def memory_for(nbytes: int) -> Iterator[None]:
    """Prepare the allocator for work that needs `nbytes`; does nothing without `keep_freed_memory`.

    If that is more than is kept, large blocks are mapped one by one and go back to the system as soon as they are
    free. Then no memory is wasted between blocks, but the system clears the pages of each block before its use.
    """
    libc = _glibc()
    if libc is None or not _keeping.is_set() or nbytes <= KEPT_BYTES:
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
    libc.mallopt(_M_MMAP_MAX, _MAPPED_BLOCKS)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_MAX, 0)


def bound_kernels() -> None:
    """Limit the memory that torch keeps for picture shapes that it has seen.

    It sets environment variables, unless they are already set. Call it before torch is imported.
    """
    # The cache of oneDNN, and torch's own cache of it.
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, str(KERNELS_KEPT))


class FreedMemory:
    """Gives freed memory back to the system if there is more than the next picture is likely to need.

    Safe to call from several threads.
    """

    def __init__(self, *, kept_bytes: int = KEPT_BYTES, clock: Clock = time.monotonic) -> None:
        """Let the process keep up to `kept_bytes` of freed memory."""
        self._kept_bytes = kept_bytes
        self._clock = clock
        self._lock = Lock()
        self._libc = _glibc()
        self._trimmed_at = -float("inf")
        #: Bytes in use that malloc does not know about: code, stacks, compiled kernels.
        self._foreign = self._not_allocated()

    def trim(self, *, idle: bool) -> bool:
        """Give memory back if too much is kept; return whether it was given back.

        Unless the process is `idle`, that happens at most once a minute.
        """
        libc = self._libc
        if libc is None:
            return False
        with self._lock:
            if not idle and self._clock() < self._trimmed_at + _TRIM_EVERY_S:
                return False
            held = self._not_allocated()
            self._foreign = min(self._foreign, held)
            if held - self._foreign <= self._kept_bytes:
                return False
            libc.malloc_trim(0)
            self._trimmed_at = self._clock()
            self._foreign = self._not_allocated()
            return True

    def _not_allocated(self) -> int:
        """Return the resident bytes outside of allocated objects: those that malloc keeps or does not know about."""
        if self._libc is None:
            return 0
        info = self._libc.mallinfo2()
        return resident_bytes() - int(info.uordblks) - int(info.hblkhd)


def resident_bytes() -> int:
    """Return how many bytes of memory the process uses; 0 if the system is not Linux."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def total_bytes() -> int:
    """Return how many bytes of memory this process may use: the machine's, or the limit of its control group."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [total]
    for name in _CGROUP_LIMITS:
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            limits.append(int(text))
    return min(limits)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is a glibc with the functions that are needed here."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    if not all(hasattr(libc, name) for name in ("mallopt", "malloc_trim", "mallinfo2")):
        return None
    libc.mallinfo2.restype = _Mallinfo2
    return libc
