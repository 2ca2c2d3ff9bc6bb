"""Files that are written completely or not at all, and transfers in threads."""

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

from nst_core.system.special_files import is_disk, is_special
from scheduler.cli.exits import PlaceError
from scheduler.cli.transfer.names import readable

_THREADS = 8
#: A stopped transfer waits this long for its threads, so that files which are being written become whole.
_GRACE_S = 1.0
_In = TypeVar("_In")
_Out = TypeVar("_Out")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file completely or not at all, and make its folders. An OSError names the file.

    A device or a pipe is written to, and not replaced. Raises PlaceError for a disk, or if nobody reads the pipe.
    """
    # A short name, because the file's own name may be as long as the file system allows.
    part = path.with_name(f".nst-{secrets.token_hex(6)}.part")
    try:
        if is_special(path):
            _write_to(path, data)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            file.write(data)
        part.replace(path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _write_to(path: Path, data: bytes) -> None:
    if is_disk(path):
        raise PlaceError(f"{readable(path)} is a disk; results are written to files.")
    try:
        with path.open("ab") as file:  # what was printed to the same file stays
            file.write(data)
    except BrokenPipeError as error:
        raise PlaceError(f"{readable(path)} cannot be written: its reader has ended.") from error


class _OfThread(threading.local):
    #: Ends the pauses of a thread that transfers files.
    stop: threading.Event | None = None


_own = _OfThread()


def pause(seconds: float) -> None:
    """Sleep; in a thread of a transfer, raise CancelledError as soon as the transfer is stopped.

    Between two tries of a call the client may have to wait for half a minute, and nobody who has pressed Ctrl-C does.
    """
    if _own.stop is None:
        time.sleep(seconds)
    elif _own.stop.wait(seconds):
        raise CancelledError


def in_threads(
    function: Callable[[_In], _Out], inputs: Iterable[_In], *, stop: threading.Event | None = None
) -> Iterator[_Out]:
    """Yield the results when they are ready; only a limited number of inputs are taken ahead.

    After an error or Ctrl-C, what has not started is dropped, and what has started is left behind. `stop` does so from
    another thread: then CancelledError is raised. It is set at the end in any case.
    """
    todo, stop = iter(inputs), stop or threading.Event()

    def begin() -> None:
        _own.stop = stop

    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="transfer", initializer=begin)
    running: set[Future[_Out]] = set()
    try:
        running = {pool.submit(function, value) for value in islice(todo, 2 * _THREADS)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(function, value) for value in islice(todo, len(done))}
            for future in done:
                yield future.result()
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        wait([future for future in running if not future.cancelled()], timeout=_GRACE_S)
