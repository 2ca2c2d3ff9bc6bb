"""Devices, pipes and the like, which are written to in place: a file would replace them for every process."""

import os
import stat
from pathlib import Path


def is_special(path: Path) -> bool:
    """Return whether a path leads to something that exists and is neither a file nor a folder.

    That includes /dev/stdout and /dev/fd/1, whatever these lead to.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return True
    folder = os.path.realpath(path.parent)
    return path.is_symlink() and (folder == "/dev" or folder.startswith("/proc/"))


def is_disk(path: Path) -> bool:
    """Return whether a path leads to a disk, which nobody wants to fill with a picture."""
    try:
        return stat.S_ISBLK(path.stat().st_mode)
    except OSError:
        return False
