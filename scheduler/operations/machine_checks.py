"""Checks of this machine: space and rights of folders, ports, a compiler."""

import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from nst_core.system.c_kernels import named_compiler
from scheduler.operations.findings import Finding, ok, problem, warning
from scheduler.operations.listeners import listener_at

#: Bytes. With less, uploads, results and databases fail soon; with less, it is time to look.
FULL, LOW = 256 << 20, 2 << 30
_WRITTEN = 1 << 16
#: Settings that are equal for the processes of an installation, with their defaults.
_SHARED = {"NST_REDIS_URL": "redis://127.0.0.1:6379/0", "NST_DATABASE_URL": "sqlite:///nst.db"}


def free_bytes(folder: Path) -> int:
    """Return how many bytes a user may still write to the disk that a folder is on."""
    return shutil.disk_usage(folder).free


def check_folder(
    check: str, folder: Path, *, setting: str, free: Callable[[Path], int] | None = None
) -> Iterator[Finding]:
    """Yield the finding about a folder, or the nearest one above it that exists. `setting` says how to change it."""
    exists = next(each for each in (folder, *folder.parents) if each.is_dir())
    try:
        with tempfile.TemporaryFile(dir=exists) as file:
            file.write(bytes(_WRITTEN))
            file.flush()
        left = (free or free_bytes)(exists)
    except OSError as error:
        code = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "disk_unwritable"
        found = f"No file can be written to {exists}: {error.strerror}."
        yield problem(check, code, found, f"Mend the disk or the rights of the folder, or {setting}.")
        return
    found, remedy = f"{folder} has {left / 2**30:.1f} GiB of free space.", f"Free some space, or {setting}."
    if left < FULL:
        yield problem(check, "disk_full", found, remedy)
    elif left < LOW:
        yield warning(check, "disk_low", found, remedy)
    else:
        yield ok(check, found)


def check_port(check: str, host: str, port: int, *, setting: str, package: str) -> Iterator[Finding]:
    """Yield the finding about a port: free, or taken by whom. `package` is what listens there if all is well."""
    place = f"port {port} of {host}"
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            found = f"Port {port} of {host} cannot be used: {error.strerror or error}."
            yield problem(check, "port_unusable", found, f"Change {setting}.")
            return
    else:
        yield ok(check, f"Port {port} of {host} is free.")
        return
    listener = listener_at(port)
    if listener is None:
        found = f"A process that this user may not see listens at {place}."
        yield warning(check, "port_unclear", found, f"If it is not the {package} of this machine, change {setting}.")
    elif package in listener.command and _is_of_this_installation(listener.environment):
        yield ok(check, f"The {package} of this installation listens at {place} (process {listener.pid}).")
    else:
        found = f"Another process listens at {place}: {listener.pid} ({listener.name})."
        yield problem(check, "port_taken", found, f"Stop that process, or change {setting}.")


def _is_of_this_installation(environment: Mapping[str, str]) -> bool:
    return all(environment.get(name, usual) == os.environ.get(name, usual) for name, usual in _SHARED.items())


def check_compiler(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Yield the finding about the compilers of C and C++."""
    wanted = {name: named_compiler(name, environment) or [usual] for name, usual in (("CC", "gcc"), ("CXX", "g++"))}
    missing = [words[0] for words in wanted.values() if shutil.which(words[0], path=environment.get("PATH")) is None]
    if missing:
        found = f"There is no {' and no '.join(missing)}. Photos and trainings are slower without kernels in C."
        yield warning("compiler", "compiler_missing", found, "Install gcc and g++, or set CC and CXX.")
    else:
        yield ok("compiler", f"Kernels can be compiled ({', '.join(words[0] for words in wanted.values())}).")
