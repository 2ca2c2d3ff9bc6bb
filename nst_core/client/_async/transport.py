"""Calls the HTTP API, with retries, and turns responses into values or errors."""

import errno
import io
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import httpx

from nst_core.client.aio import Sleep, run_io, watched
from nst_core.client.answers import checked, next_link, parsed, refusal
from nst_core.client.errors import UnreachableError
from nst_core.client.requests import http_options
from nst_core.client.resources.base import Resource
from nst_core.client.resources.pages import IdT, Page, T
from nst_core.client.retries import Retries

#: Files are read and written in pieces of this many bytes.
_PIECE_BYTES = 1 << 20
#: If the answer to a call takes longer, `on_silence` is called.
_SILENCE_S = 2.5
_ResourceT = TypeVar("_ResourceT", bound=Resource)


class AsyncTransport:
    """A connection to the API.

    A call is tried again a few times if the connection fails, or if the answer is 502, 503 or 504, or 429 with a time
    to wait. So a call must be safe to repeat, or be made only `once`. If nothing listens at the address, the first call
    fails immediately.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        retries: int,
        timeout_s: float,
        sleep: Sleep,
        on_silence: Callable[[], None] | None = None,
    ) -> None:
        """Open no connection yet; pauses between tries are 0.25 s, 0.5 s, and so on up to 4 s.

        `on_silence` is called if the answer to a call takes longer than 2.5 s, tries included.
        """
        self.url = url.rstrip("/")
        self._retries = Retries(self.url, most=retries)
        self._sleep = sleep
        self._on_silence = on_silence
        try:
            self._http = httpx.AsyncClient(**http_options(self.url, api_key, timeout_s=timeout_s))
        except (httpx.InvalidURL, ValueError) as error:
            raise UnreachableError(f"{url!r} is not a valid address of an API: {error}.") from error

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    @property
    def retries(self) -> Retries:
        """How often calls are tried, and whether the API was ever there."""
        return self._retries

    async def is_ready(self) -> bool:
        """Return whether the scheduler and all that it needs work; one try, no error."""
        try:
            response = await self._http.get("/readyz", timeout=5.0)
        except httpx.HTTPError:
            return False
        return response.status_code == 200

    async def call(
        self, method: str, path: str, *, once: bool = False, file: Path | bytes | None = None, **options: Any
    ) -> bytes:
        """Return the body of an answer.

        Raises ApiError if the API returns an error, UnreachableError if it does not respond, and OSError if the file
        cannot be read or is changed meanwhile.

        `once` is for calls that may not be repeated. `file` is sent as the body, piece by piece. `options` are those of
        httpx: params, json, files, headers.
        """
        # Transfers of files take long, and so do calls that ask the API to wait.
        is_slow = file is not None or "timeout" in options
        with watched(None if is_slow else self._on_silence, _SILENCE_S):
            return await self._call(method, path, once=once, file=file, **options)

    async def _call(self, method: str, path: str, *, once: bool, file: Path | bytes | None, **options: Any) -> bytes:
        tries, headers = self._retries.begin(once=once), options.pop("headers", {})
        repeated = False
        while True:
            if file is not None:
                size_bytes = await _size_bytes(file)
                options["content"] = _pieces(file, size_bytes)
                headers = headers | {"Content-Length": str(size_bytes)}
            try:
                response = await self._http.request(method, path, headers=headers, **options)
            except httpx.RequestError as error:
                pause_s: float | None = tries.pause_after_error(error)
            else:
                pause_s = tries.pause_after_answer(response)
            if pause_s is None:
                if repeated and method == "DELETE" and response.status_code == 404:
                    return b""  # an earlier try has deleted it, and its answer was lost
                return checked(response).content
            repeated = True
            await self._sleep(pause_s)

    async def download(self, path: str, file: IO[bytes]) -> str | None:
        """Write the body of an answer into a file piece by piece; return the path of the next part, or None.

        Starts again if the connection breaks. Raises what `call` does.
        """
        start, tries = file.tell(), self._retries.begin()
        while True:
            file.seek(start)
            file.truncate()
            try:
                async with self._http.stream("GET", path) as response:
                    if response.is_success:
                        async for piece in response.aiter_bytes(_PIECE_BYTES):
                            await run_io(file.write, piece)
                        return next_link(response)
                    await response.aread()
            except httpx.RequestError as error:
                pause_s: float | None = tries.pause_after_error(error)
            else:
                pause_s = tries.pause_after_answer(response)
            if pause_s is None:
                raise refusal(response)
            await self._sleep(pause_s)

    @asynccontextmanager
    async def lines(
        self, path: str, *, headers: Mapping[str, str], silence_s: float
    ) -> AsyncIterator[AsyncIterator[str] | None]:
        """Give the lines of a stream as they arrive, or None if it is empty (204); one try.

        Raises ApiError if the API returns an error, UnreachableError if it does not respond or the stream breaks.
        """
        timeout = httpx.Timeout(silence_s, connect=5.0)
        try:
            async with self._http.stream("GET", path, headers=dict(headers), timeout=timeout) as answer:
                self._retries.reached = True
                if not answer.is_success:
                    await answer.aread()
                yield None if checked(answer).status_code == 204 else answer.aiter_lines()
        except httpx.RequestError as error:
            raise self._retries.no_answer(error) from error

    async def read(self, cls: type[_ResourceT], method: str, path: str, **options: Any) -> _ResourceT:
        """Return the resource that an answer holds; takes and raises what `call` does."""
        return parsed(cls, await self.call(method, path, **options))

    async def pages(self, cls: type[Page[T, IdT]], path: str, query: Mapping[str, str | int]) -> AsyncIterator[T]:
        """Yield the entries of a listing, page after page."""
        while True:
            page = await self.read(cls, "GET", path, params=query)
            for entry in page.data:
                yield entry
            if not page.has_more or page.last_id is None:
                return
            query = {**query, "after_id": page.last_id}


async def _size_bytes(file: Path | bytes) -> int:
    if isinstance(file, bytes):
        return len(file)
    status = await run_io(file.stat)
    return status.st_size


async def _pieces(file: Path | bytes, size_bytes: int) -> AsyncIterator[bytes]:
    """Yield the announced bytes of a file; raise OSError if it has more or fewer when it is read."""
    left = size_bytes
    with io.BytesIO(file) if isinstance(file, bytes) else await run_io(file.open, "rb") as source:
        while piece := await run_io(source.read, _PIECE_BYTES):
            left -= len(piece)
            if left < 0:
                break
            yield piece
    if left:
        # The HTTP library would end with an error of its own, which tells nobody which file it was.
        raise OSError(errno.EBUSY, "it was changed while it was sent", str(file))
