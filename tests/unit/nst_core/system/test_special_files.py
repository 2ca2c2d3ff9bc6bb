"""Devices and pipes are told from files."""

import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from nst_core.system.special_files import is_disk, is_special


def test_pipes_devices_and_sockets_are_special_and_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_pipe").symlink_to("pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    names = ("pipe", "to_pipe", "null", "socket")
    assert {path.name for path in tmp_path.iterdir() if is_special(path)} == set(names)
    assert is_special(Path("/dev/null"))
    assert not is_special(tmp_path)
    assert not is_special(tmp_path / "gone")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/fd/N is a link only on Linux")
def test_a_place_that_stands_for_an_open_file_is_special(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        assert is_special(Path(f"/dev/fd/{file.fileno()}"))


def test_only_disks_are_disks(tmp_path: Path) -> None:
    assert not is_disk(Path("/dev/null"))
    assert not is_disk(tmp_path / "gone")
    for path in Path("/dev").iterdir():
        if path.exists() and stat.S_ISBLK(path.stat().st_mode):
            assert is_disk(path)
