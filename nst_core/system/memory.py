"""How the process gets its memory from the system and gives it back, and how much there is. Never loads torch."""

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
#: The largest threshold that glibc takes for blocks that are mapped one by one, and its default number of them.
_MAPPED_BYTES, _MAPPED_BLOCKS = 32 * 2**20, 65_536
#: While there is work, memory is given back this often at most: the next large picture has to ask for it again.
_TRIM_EVERY_S = 60.0
#: Kernels that stay compiled, of a convolution of one shape each. A photo of a new size takes about 25 of them and a
#: training 67; by default 1,024 are kept, which have 4 GB after some hundred photos of different sizes.
KERNELS_KEPT = 128
_keeping = Event()  # set if this process keeps freed memory
#: Limits of control groups, version 2 and version 1; a file may be missing or say "max".
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class _Mallinfo2(ctypes.Structure):
    """glibc's struct mallinfo2, from malloc.h."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


def keep_freed_memory() -> bool:
    """Keep freed memory for the next picture instead of giving it back at once; return whether that is possible.

    A network asks for some gigabytes of activations for every picture, one after the other, and frees each. By
    default glibc maps each anew, and the system clears every page of it: a third of the time on a CPU. Call it before
    other threads start, and call `FreedMemory.trim` between pictures. Does nothing if the C library is not glibc 2.33
    or newer.
    """
    libc = _glibc()
    if libc is None:
        return False
    # One arena: those of other threads cannot grow to the size of an activation.
    settings = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, KEPT_BYTES), (_M_TOP_PAD, _STEP_BYTES))
    done = all(libc.mallopt(name, value) == 1 for name, value in settings)
    if done:
        _keeping.set()
    return done


@contextmanager
def memory_for(nbytes: int) -> Iterator[None]:
    """Take memory for a piece of work that needs so many bytes; does nothing without `keep_freed_memory`.

    If that is more than is kept, large blocks are mapped one by one and go back to the system as soon as they are
    free. Nothing is lost between blocks then, but the system clears the pages of each block before it is used.
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
    """Bound the memory that torch keeps for shapes of pictures that it has seen.

    Sets environment variables, unless they are set already. Call it before torch is imported.
    """
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):  # oneDNN's own cache, and torch's of it
        os.environ.setdefault(name, str(KERNELS_KEPT))


class FreedMemory:
    """Gives freed memory back to the system if there is more of it than the next picture is likely to need.

    Safe to call from several threads.
    """

    def __init__(self, *, kept_bytes: int = KEPT_BYTES, clock: Clock = time.monotonic) -> None:
        """Let the process keep that many bytes which it has freed."""
        self._kept_bytes = kept_bytes
        self._clock = clock
        self._lock = Lock()
        self._libc = _glibc()
        self._trimmed_at = -float("inf")
        #: Bytes in use that malloc does not know of: code, stacks, compiled kernels.
        self._foreign = self._not_allocated()

    def trim(self, *, idle: bool) -> bool:
        """Give memory back if too much is kept; return whether it did.

        Without `idle`, when more work waits, that happens once a minute at most.
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
        """Return the bytes in memory that no object has: those that malloc keeps, and those it does not know of."""
        if self._libc is None:
            return 0
        info = self._libc.mallinfo2()
        return resident_bytes() - int(info.uordblks) - int(info.hblkhd)


def resident_bytes() -> int:
    """Return how many bytes of memory the process has; 0 if the system is not Linux."""
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
    """Return the C library if it is a glibc that has all that is needed here."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    if not all(hasattr(libc, name) for name in ("mallopt", "malloc_trim", "mallinfo2")):
        return None
    libc.mallinfo2.restype = _Mallinfo2
    return libc
