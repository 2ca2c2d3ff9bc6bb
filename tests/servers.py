"""Servers that tests run as separate processes."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from scheduler.local.servers import HOST


def listens(port: int) -> bool:
    """Return whether a process accepts connections on a port of the loopback interface."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def run_server(
    command: Sequence[str],
    port: int,
    env: Mapping[str, str] | None = None,
    *,
    serves: Callable[[int], bool] = listens,
) -> Iterator[None]:
    """Run a server during the block, which starts when `serves` is true for its port. `env` adds to the environment."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **(env or {})})
    try:
        deadline = time.monotonic() + 30
        while not serves(port):
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{command[0]} does not serve"
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:  # such as a Redis that waits for another one, which has ended
            process.kill()
            process.wait()
