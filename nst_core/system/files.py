"""Files and folders that belong to one user only."""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir
from typing import IO

from nst_core.errors import ConfigError


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, completely or not at all; raise OSError if that fails."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


def cache_folder() -> Path:
    """Return the cache folder of this user, which may not exist yet; never a shared folder like /tmp."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = os.path.expanduser("~")
    if os.path.isabs(base):  # the standard says to ignore a relative path
        return Path(base) / "nst"
    return Path(home) / ".cache" / "nst" if os.path.isabs(home) else _shared_cache_folder()


def usable_cache_folder(path: Path) -> Path:
    """Return `path` as `own_folder` does, or else a folder of this user in the folder for temporary files.

    The latter is for processes that may not write to their home folder, as in many containers. Raises ConfigError as
    `own_folder` does, and OSError if `path` is a file or if neither folder can be made.
    """
    try:
        return own_folder(path)
    except (FileExistsError, NotADirectoryError):
        if path.is_file():
            raise  # the file has another purpose
        return own_folder(_shared_cache_folder())
    except OSError:
        return own_folder(_shared_cache_folder())


def _shared_cache_folder() -> Path:
    return Path(gettempdir()) / f"nst-{os.geteuid()}"


def own_folder(path: Path) -> Path:
    """Create a folder and its parents if they are missing, and return its real path.

    Raises ConfigError if other users of the machine could put files into it: if the folder, or a symbolic link to it,
    belongs to another user, or if others may write to it. Raises OSError if it cannot be created.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    _check_owner(path, path.lstat())
    real = path.resolve(strict=True)
    folder = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(folder)
    finally:
        os.close(folder)
    _check_owner(path, status)
    if status.st_mode & 0o022:
        raise ConfigError(f"Other users may write to {path}, so its content cannot be trusted: run `chmod go-w` on it.")
    return real


def open_own(path: Path) -> IO[bytes]:
    """Open a file for reading and writing without truncating it; create it if it is missing.

    Raises ConfigError if it belongs to another user, and OSError if it is a symbolic link.
    """
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    file = os.fdopen(number, "r+b", buffering=0)
    try:
        _check_owner(path, os.fstat(number))
    except ConfigError:
        file.close()
        raise
    return file


def _check_owner(path: Path, status: os.stat_result) -> None:
    # Files of root are safe to use.
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path} belongs to another user, so it is not used.")
