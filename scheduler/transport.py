"""Calls of the HTTP API: tries again where that helps, and turns answers into values or errors.

NstError
├── UnreachableError   unreachable (retryable)
└── ApiError           the code of the API's answer
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import TypeAdapter, ValidationError

from nst_core.errors import NstError

#: Statuses that a repeat of the same request may turn into success.
_PASSING = frozenset({502, 503, 504})
#: The longest pause that an answer is believed.
_MOST_TOLD_S = 30.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_T = TypeVar("_T")


class UnreachableError(NstError):
    """The API did not answer, or something other than the API did."""

    code = "unreachable"
    retryable = True


class ApiError(NstError):
    """The API refused a request; `code` is that of its answer."""

    code: str  # type: ignore[misc]  # the one error whose code comes from elsewhere

    def __init__(self, *, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


@dataclass(frozen=True, kw_only=True)
class _Page:
    data: list[dict[str, Any]]
    has_more: bool = False
    last_id: str | int | None = None


class Transport:
    """A connection to the API. Safe to share between threads.

    Each call is tried again a few times when the connection fails or the answer is 502, 503 or 504, or 429 with the
    time to wait, so every call must be one that may be repeated, or say that it is to be made `once`. Where nothing
    listens at the first call, it fails at once.
    """

    def __init__(
        self, url: str, api_key: str, *, retries: int, timeout_s: float, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Open no connection yet; pauses between tries are 0.25 s, 0.5 s, and so on up to 4 s."""
        self.url = url.rstrip("/")
        self._retries = retries
        self._sleep = sleep
        self._reached = False
        try:
            self._http = httpx.Client(
                base_url=self.url,
                headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
                timeout=httpx.Timeout(timeout_s, connect=5.0),
                # A proxy of the environment knows nothing of this machine's own ports.
                trust_env=urlsplit(self.url).hostname not in _LOOPBACK,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise UnreachableError(f"{url!r} is no address of an API: {error}.") from error

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def is_ready(self) -> bool:
        """Return whether the scheduler and all that it needs work; one try, no error."""
        try:
            return self._http.get("/readyz", timeout=5.0).status_code == 200
        except httpx.HTTPError:
            return False

    def call(self, method: str, path: str, *, once: bool = False, **options: Any) -> bytes:
        """Return the body of an answer; raise ApiError where the API refuses, UnreachableError where it is not there.

        `once` is for calls that may not be repeated. `options` are those of httpx: params, json, content, files,
        headers.
        """
        tries = 1 if once else self._retries + 1
        for attempt in range(tries):
            last = attempt == tries - 1
            told_s = 0.0
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                nobody = isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol)
                hopeless = nobody and not self._reached
                # A connection that broke was one: the API dies, and is there again soon.
                self._reached |= not nobody
                if last or hopeless:
                    raise UnreachableError(f"There is no answer from {self.url}: {error}") from error
            else:
                self._reached = True
                if last or not _may_pass(response):
                    return _checked(response).content
                told_s = _retry_after_s(response)
            self._sleep(max(told_s, min(0.25 * 2**attempt, 4.0)))
        raise AssertionError("the last try returns or raises")

    def download(self, path: str, file: IO[bytes]) -> str | None:
        """Write the body of an answer into a file piece by piece; return the path of the next part where there is one.

        Begins anew where the connection breaks. Raises what `call` does.
        """
        start = file.tell()
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            told_s = 0.0
            file.seek(start)
            file.truncate()
            try:
                with self._http.stream("GET", path) as response:
                    if response.is_success:
                        for piece in response.iter_bytes(1 << 20):
                            file.write(piece)
                        return response.links.get("next", {}).get("url")
                    response.read()
            except httpx.TransportError as error:
                if last or (isinstance(error, httpx.ConnectError) and not self._reached):
                    raise UnreachableError(f"There is no answer from {self.url}: {error}") from error
            else:
                self._reached = True
                if last or not _may_pass(response):
                    _checked(response)
                told_s = _retry_after_s(response)
            self._sleep(max(told_s, min(0.25 * 2**attempt, 4.0)))
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def lines(self, path: str, *, headers: Mapping[str, str], silence_s: float) -> Iterator[Iterator[str] | None]:
        """Give the lines of an answer that goes on, as they come, or None where it is empty (204); one try.

        Raises ApiError where the API refuses, UnreachableError where it is not there, falls silent or goes away.
        """
        timeout = httpx.Timeout(silence_s, connect=5.0)
        try:
            with self._http.stream("GET", path, headers=dict(headers), timeout=timeout) as answer:
                self._reached = True
                if not answer.is_success:
                    answer.read()
                yield None if _checked(answer).status_code == 204 else answer.iter_lines()
        except httpx.TransportError as error:
            raise UnreachableError(f"There is no answer from {self.url}: {error}") from error

    def read(self, cls: type[_T], method: str, path: str, **options: Any) -> _T:
        """Return an answer as a value of a class."""
        return _translated(TypeAdapter(cls).validate_json, self.call(method, path, **options))

    def pages(self, cls: type[_T], path: str, query: Mapping[str, str | int]) -> Iterator[_T]:
        """Yield the values of a listing, page after page."""
        while True:
            page = self.read(_Page, "GET", path, params=query)
            yield from _translated(TypeAdapter(list[cls]).validate_python, page.data)  # type: ignore[valid-type]
            if not page.has_more or page.last_id is None:
                return
            query = {**query, "after_id": page.last_id}


def quoted(part: str) -> str:
    """Return a part of a path, such as an id, as addresses have it."""
    return quote(part, safe="")


def _may_pass(response: httpx.Response) -> bool:
    """Return whether the same request may succeed later; where it was one too many, the answer says when."""
    if response.status_code == 409:
        # The first try is still at work, although its answer was not waited for.
        return b'"idempotency_in_flight"' in response.content
    if b'"webhooks_disabled"' in response.content:
        # What the API has no part for, it will not have then.
        return False
    return response.status_code in _PASSING or (response.status_code == 429 and "Retry-After" in response.headers)


def _retry_after_s(response: httpx.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _MOST_TOLD_S) if response.status_code == 429 and text.isdecimal() else 0.0


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    try:
        problem = response.json()
        code, detail = str(problem["code"]), str(problem.get("detail") or problem["title"])
    except (ValueError, KeyError, TypeError):
        code, detail = f"http_{response.status_code}", f"The API answered {response.status_code} with no explanation."
    else:
        detail = " ".join([detail, *_places(problem.get("errors"))])
    raise ApiError(status=response.status_code, code=code, detail=detail)


def _places(errors: Any) -> Sequence[str]:
    """Return what a problem's `errors` add to its detail, as `(/output/name: sentence)`."""
    if not isinstance(errors, list):
        return ()
    return [f"({e.get('pointer')}: {e.get('detail')})" for e in errors if isinstance(e, dict) and e.get("detail")]


def _translated(validate: Callable[[Any], _T], values: Any) -> _T:
    try:
        return validate(values)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UnreachableError(f"The answer is none that this version of nst knows: {reason}.") from error
