"""Bodies that are files: kept in memory while they are small, and on the disk otherwise."""

from collections.abc import AsyncIterable
from tempfile import SpooledTemporaryFile

from starlette.concurrency import run_in_threadpool

from scheduler.domain.errors import SpoolUnavailableError

#: Of a file. There may be hundreds of uploads at the same time.
IN_MEMORY_BYTES = 2**20


def new_spool() -> SpooledTemporaryFile[bytes]:
    """Return a file for `fill`, which is gone when it is closed."""
    return SpooledTemporaryFile(IN_MEMORY_BYTES)


async def fill(file: SpooledTemporaryFile[bytes], pieces: AsyncIterable[bytes]) -> None:
    """Write pieces to a file and go back to its start; raise SpoolUnavailableError if the disk takes no more."""
    waiting: list[bytes] = []
    size = 0
    try:
        async for piece in pieces:
            waiting.append(piece)
            size += len(piece)
            if size >= IN_MEMORY_BYTES:
                # This may write to the disk, which other requests should not wait for.
                await run_in_threadpool(file.write, b"".join(waiting))
                waiting, size = [], 0
        await run_in_threadpool(file.write, b"".join(waiting))
    except OSError as error:
        raise SpoolUnavailableError(f"The body of a request cannot be kept: {error}") from error
    file.seek(0)
