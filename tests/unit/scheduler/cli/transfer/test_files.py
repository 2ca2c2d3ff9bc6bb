"""Files that are written completely or not at all, and transfers in threads."""

import os
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from scheduler.cli.exits import PlaceError
from scheduler.cli.transfer.files import in_threads, pause, write_whole


def test_a_file_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="name") as caught:
        write_whole(tmp_path / ("x" * 256), b"data")
    assert caught.value.filename == str(tmp_path / ("x" * 256))
    assert list(tmp_path.iterdir()) == []
    write_whole(tmp_path / "a" / "b.jpg", b"old")
    write_whole(tmp_path / "a" / "b.jpg", b"new")
    assert [path.read_bytes() for path in (tmp_path / "a").iterdir()] == [b"new"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    for name in ("pipe.jpg", "link.jpg"):
        read: list[bytes] = []
        reader = threading.Thread(target=lambda read=read: read.append((tmp_path / "pipe.jpg").read_bytes()))
        reader.start()
        write_whole(tmp_path / name, b"picture")
        reader.join(10)
        assert read == [b"picture"]
    assert (tmp_path / "pipe.jpg").is_fifo()
    assert (tmp_path / "link.jpg").is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_pipe_whose_reader_ends_is_no_success(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")

    def read() -> None:
        with open(tmp_path / "pipe.jpg", "rb") as file:
            file.read(1)

    reader = threading.Thread(target=read)
    reader.start()
    with pytest.raises(PlaceError, match="its reader has ended"):
        write_whole(tmp_path / "pipe.jpg", bytes(10_000_000))
    reader.join(10)


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    # A link, so that an error would not destroy the device of this machine.
    (tmp_path / "null.png").symlink_to("/dev/null")
    (tmp_path / "full.png").symlink_to("/dev/full")
    write_whole(tmp_path / "null.png", b"picture")
    assert (tmp_path / "null.png").is_char_device()
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole(tmp_path / "full.png", b"picture")
    assert caught.value.filename == str(tmp_path / "full.png")
    assert (tmp_path / "full.png").is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_disk_is_refused(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "disk.jpg", 0o600 | stat.S_IFBLK, os.makedev(7, 200))
    except OSError:
        pytest.skip("no devices can be made here")
    with pytest.raises(PlaceError, match="is a disk"):
        write_whole(tmp_path / "disk.jpg", b"picture")


def test_results_in_threads_are_all_yielded_and_few_inputs_are_taken_ahead() -> None:
    taken = []

    def inputs() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = in_threads(lambda number: number * 2, inputs())
    first = next(results)
    assert len(taken) <= 32
    assert sorted([first, *results]) == [2 * number for number in range(100)]


def test_an_error_in_a_thread_ends_the_transfer() -> None:
    def fail(number: int) -> int:
        raise ValueError(f"{number} is wrong")

    with pytest.raises(ValueError, match="is wrong"):
        list(in_threads(fail, range(100)))


def test_a_stopped_transfer_takes_no_further_inputs_and_ends_pauses() -> None:
    stop, begun = threading.Event(), []

    def work(number: int) -> None:
        begun.append(number)
        if number == 7:
            stop.set()
        pause(60)

    started = time.monotonic()
    with pytest.raises(CancelledError):
        list(in_threads(work, range(1000), stop=stop))
    assert time.monotonic() - started < 10
    assert len(begun) < 100


def test_a_pause_outside_of_transfers_is_a_sleep() -> None:
    started = time.monotonic()
    pause(0.05)
    assert time.monotonic() - started >= 0.05
