"""Finds the process that listens at a TCP port of this machine, by what Linux tells in /proc."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LISTENS = "0A"


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A process that listens at a port."""

    pid: int
    #: Its name, such as `nginx`.
    name: str
    command: tuple[str, ...]
    #: The environment that it was started with.
    environment: Mapping[str, str]


def listener_at(port: int) -> Listener | None:
    """Return the process that listens at a port; None if there is none, or this user may not see it."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    for process in _PROC.glob("[0-9]*"):
        # It may have ended, or belong to another user.
        with suppress(OSError):
            if any(target in sockets for target in _open_files(process)):
                words = _fields(process / "cmdline")
                environment = dict(field.partition("=")[::2] for field in _fields(process / "environ"))
                name = (process / "comm").read_text().strip()
                return Listener(pid=int(process.name), name=name, command=words, environment=environment)
    return None


def _inodes(port: int) -> Iterator[str]:
    """Yield the numbers of the sockets that listen at a port."""
    for table in ("net/tcp", "net/tcp6"):
        with suppress(OSError):
            for line in (_PROC / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _open_files(process: Path) -> Iterator[str]:
    """Yield what a process has open; it may close some of it meanwhile."""
    for file in (process / "fd").iterdir():
        with suppress(OSError):
            yield str(file.readlink())


def _fields(file: Path) -> tuple[str, ...]:
    return tuple(file.read_bytes().decode(errors="replace").rstrip("\0").split("\0"))
