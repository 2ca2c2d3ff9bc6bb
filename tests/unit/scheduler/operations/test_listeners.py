"""Who listens at a port."""

import os
import socket
import sys

import pytest

from scheduler.local.servers import HOST, free_port
from scheduler.operations.listeners import listener_at


@pytest.mark.parametrize("host", [HOST, "::1"])
def test_the_process_at_a_port_is_found(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        found = listener_at(server.getsockname()[1])
    assert found is not None
    assert found.pid == os.getpid()
    assert list(found.command) == sys.orig_argv
    assert found.environment["PATH"]


def test_nobody_is_at_a_free_port() -> None:
    assert listener_at(free_port()) is None
