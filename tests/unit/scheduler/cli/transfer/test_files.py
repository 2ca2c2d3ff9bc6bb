"""Files that are written completely or not at all, and transfers in threads."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from scheduler.cli.transfer.files import in_threads, pause, write_whole


def test_a_file_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="name") as caught:
        write_whole(tmp_path / ("x" * 256), b"data")
    assert caught.value.filename == str(tmp_path / ("x" * 256))
    assert list(tmp_path.iterdir()) == []
    write_whole(tmp_path / "a" / "b.jpg", b"old")
    write_whole(tmp_path / "a" / "b.jpg", b"new")
    assert [path.read_bytes() for path in (tmp_path / "a").iterdir()] == [b"new"]


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
