"""Files that are written completely or not at all."""

import os
from errno import EISDIR
from pathlib import Path

from nst_core.errors import ConfigError
from nst_core.system.special_files import is_special


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: even after a power cut, it has either the old or the new content.

    Raises OSError if the disk is full, if the folder cannot be written, or if `path` is a folder; then only the old
    file remains. Devices and pipes are written to in place.
    """
    if is_special(path):
        with path.open("ab") as file:  # what was printed to the same file stays
            file.write(data)
        return
    part = _part_of(path)
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def check_output(path: Path) -> None:
    """Raise ConfigError if `write_whole` cannot write a file: before work whose result would be lost."""
    if is_special(path):
        return
    try:
        part = _part_of(path)
        part.open("wb").close()
        part.unlink()
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error


def _part_of(path: Path) -> Path:
    if path.is_dir():
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(path))
    return path.with_name(path.name + ".part")
