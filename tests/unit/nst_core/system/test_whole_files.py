"""Tests of nst_core.system.whole_files."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nst_core.errors import ConfigError
from nst_core.system.whole_files import check_output, write_whole


def test_a_file_is_replaced_completely(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"long old content")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    (tmp_path / "file.part").symlink_to("/dev/full")  # accepts no bytes
    with pytest.raises(OSError, match="No space left on device"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", [".", "", "..", "folder"])
def test_a_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(Path(name), b"new")
    with pytest.raises(ConfigError, match=r"cannot be written: Is a directory\."):
        check_output(Path(name))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_can_be_written_is_known_before_it_is(tmp_path: Path) -> None:
    check_output(tmp_path / "new")
    assert not list(tmp_path.iterdir())
    write_whole(tmp_path / "old", b"old")
    check_output(tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"old"
    with pytest.raises(ConfigError, match=r"gone/new cannot be written: No such file or directory\."):
        check_output(tmp_path / "gone" / "new")
    with pytest.raises(ConfigError, match="File name too long"):
        check_output(tmp_path / ("x" * 252))


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_output(pipe)
    with ThreadPoolExecutor(1) as thread:
        read = thread.submit(pipe.read_bytes)
        write_whole(pipe, b"weights")
        assert read.result(timeout=30) == b"weights"
    assert pipe.is_fifo()


def test_what_was_printed_to_the_same_file_stays(tmp_path: Path) -> None:
    code = "print('step 1', flush=True); write_whole(Path('/dev/stdout'), b'weights')"
    code = f"from pathlib import Path; from nst_core.system.whole_files import write_whole; {code}"
    with open(tmp_path / "out", "wb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert (tmp_path / "out").read_text() == "step 1\nweights"
