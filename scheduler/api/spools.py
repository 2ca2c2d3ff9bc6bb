"""Stores files from requests: small ones in memory, larger ones on disk."""

from collections.abc import AsyncIterable
from tempfile import SpooledTemporaryFile

from starlette.concurrency import run_in_threadpool

from scheduler.domain.errors import SpoolUnavailableError

#: Of a file. There may be hundreds of uploads at the same time.
IN_MEMORY_BYTES = 2**20


def new_spool() -> SpooledTemporaryFile[bytes]:
    """Return a temporary file, which is deleted when it is closed."""
    return SpooledTemporaryFile(IN_MEMORY_BYTES)


async def fill(file: SpooledTemporaryFile[bytes], pieces: AsyncIterable[bytes]) -> None:
    """Write chunks to a file and rewind it; raise SpoolUnavailableError if the disk is full."""
    waiting: list[bytes] = []
    size = 0
    try:
        async for piece in pieces:
            waiting.append(piece)
            size += len(piece)
            if size >= IN_MEMORY_BYTES:
                # This may write to the disk, which must not block other requests.
                await run_in_threadpool(file.write, b"".join(waiting))
                waiting, size = [], 0
        await run_in_threadpool(file.write, b"".join(waiting))
    except OSError as error:
        raise SpoolUnavailableError(f"The body of a request cannot be stored: {error}") from error
    file.seek(0)
