"""How the process gets its memory from the system."""

import ctypes
import sys

# Parameters of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_KEPT_BYTES = 2**31 - 1
_STEP_BYTES = 256 * 2**20


def keep_freed_memory() -> bool:
    """Keep up to 2 GiB of freed memory for the next image instead of giving it back; return whether that is possible.

    A network asks for some gigabytes of activations for every image, one after the other, and frees each. By
    default glibc maps each anew, and the system clears every page of it: a third of the time on a CPU. To be called
    before other threads start. Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    # One arena: those of other threads cannot grow to the size of an activation.
    settings = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_TOP_PAD, _STEP_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)
