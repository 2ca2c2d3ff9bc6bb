"""Who listens at a port."""

import os
import socket
import sys
from pathlib import Path

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


def test_files_that_a_process_closes_meanwhile_do_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text("  sl  local_address\n   0: 0100007F:1F90 00000000:0000 0A 0 0 0 0 0 4711\n")
    process = tmp_path / "12"
    (process / "fd").mkdir(parents=True)
    for name in ("0", "1", "2", "4"):
        (process / "fd" / name).touch()  # no link, as if it were closed now
    (process / "fd/3").symlink_to("socket:[4711]")
    for name in ("cmdline", "environ", "comm"):
        (process / name).write_text("nst")
    monkeypatch.setattr("scheduler.operations.listeners._PROC", tmp_path)
    found = listener_at(8080)
    assert found is not None
    assert found.pid == 12


def test_nobody_is_at_a_free_port() -> None:
    assert listener_at(free_port()) is None
