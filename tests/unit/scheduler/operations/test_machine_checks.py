"""Folders, ports and compilers of this machine."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.local.servers import HOST, free_port
from scheduler.operations import machine_checks
from scheduler.operations.findings import Finding, Status
from scheduler.operations.listeners import Listener
from scheduler.operations.machine_checks import check_compiler, check_folder, check_port


def only(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    return finding


@pytest.mark.parametrize(("free", "code"), [(100 << 20, "disk_full"), (1 << 30, "disk_low"), (3 << 30, None)])
def test_the_free_space_of_a_folder_is_judged(tmp_path: Path, free: int, code: str | None) -> None:
    finding = only(check_folder("disk_cache", tmp_path / "not" / "yet", setting="move it", free=lambda folder: free))
    assert finding.code == code
    assert list(tmp_path.iterdir()) == [], "nothing is made"


def test_a_folder_that_nobody_may_write_to_is_a_problem() -> None:
    finding = only(check_folder("disk_cache", Path("/proc/self"), setting="move it"))
    assert (finding.code, finding.status) == ("disk_unwritable", Status.PROBLEM)


def test_ports_are_free_taken_or_unusable(monkeypatch: pytest.MonkeyPatch) -> None:
    def code(host: str, port: int) -> str | None:
        return only(check_port("port_api", host, port, setting="NST_PORT", package="scheduler")).code

    assert code(HOST, free_port()) is None
    assert code("203.0.113.1", 8700) == "port_unusable"
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        assert code(HOST, port) == "port_taken"
        monkeypatch.setattr(machine_checks, "listener_at", lambda port: None)
        assert code(HOST, port) == "port_unclear", "of another user"


@pytest.mark.parametrize(("url", "code"), [("redis://h/0", None), ("redis://h/1", "port_taken")])
def test_a_scheduler_is_known_by_the_settings_of_its_process(
    monkeypatch: pytest.MonkeyPatch, url: str, code: str | None
) -> None:
    monkeypatch.setenv("NST_REDIS_URL", "redis://h/0")
    monkeypatch.delenv("NST_DATABASE_URL", raising=False)
    command = (sys.executable, "-m", "scheduler")
    listener = Listener(pid=7, name="python", command=command, environment={"NST_REDIS_URL": url})
    monkeypatch.setattr(machine_checks, "listener_at", lambda port: listener)
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        assert only(check_port("port_api", HOST, port, setting="NST_PORT", package="scheduler")).code == code


def test_a_compiler_that_is_missing_is_a_warning(tmp_path: Path) -> None:
    finding = only(check_compiler({"PATH": str(tmp_path)}))
    assert (finding.code, finding.status) == ("compiler_missing", Status.WARNING)
    assert "no gcc and no g++" in finding.found
    for name in ("cc", "c++"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert only(check_compiler({"PATH": str(tmp_path), "CC": "cc -m64", "CXX": "c++"})).status is Status.OK
    assert only(check_compiler({"PATH": str(tmp_path), "CC": "cc 'open", "CXX": "c++"})).status is Status.WARNING
