"""Files that are written completely or not at all, and transfers in threads."""

import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

_THREADS = 8
_In = TypeVar("_In")
_Out = TypeVar("_Out")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file completely or not at all, and make its folders. An OSError names the file."""
    # A short name, because the file's own name may be as long as the file system allows.
    part = path.with_name(f".nst-{secrets.token_hex(6)}.part")
    try:
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


def in_threads(function: Callable[[_In], _Out], inputs: Iterable[_In]) -> Iterator[_Out]:
    """Yield the results when they are ready; only a limited number of inputs are taken ahead."""
    todo = iter(inputs)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="transfer") as pool:
        running: set[Future[_Out]] = {pool.submit(function, value) for value in islice(todo, 2 * _THREADS)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(function, value) for value in islice(todo, len(done))}
                for future in done:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()
