"""The Python client of the HTTP API.

NstError
├── UnreachableError   unreachable (retryable)
└── ApiError           the code of the API's answer
"""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import TypeAdapter, ValidationError

from nst_core.errors import NstError
from nst_core.protocol import ItemStatus, Method
from nst_core.styles import WEIGHTS_NAME
from scheduler.resources import Item, Job, JobRequest, Preset, Style, Upload

#: Statuses that a repeat of the same request may turn into success.
_PASSING = frozenset({502, 503, 504})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_PAGE = 200
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
class _Styles:
    data: list[Style]


@dataclass(frozen=True, kw_only=True)
class _Presets:
    data: list[Preset]


@dataclass(frozen=True, kw_only=True)
class _Stored:
    uri: str


@dataclass(frozen=True, kw_only=True)
class _Page:
    data: list[dict[str, Any]]
    has_more: bool = False
    last_id: str | int | None = None


class Client:
    """Calls the API. Safe to share between threads.

    Every call may be repeated without harm (jobs carry an Idempotency-Key), so each is tried again a few times when
    the connection fails or the answer is 502, 503 or 504. Where nothing listens at the first call, it fails at once.
    """

    def __init__(
        self,
        url: str,
        api_key: str = "",
        *,
        retries: int = 6,
        timeout_s: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open no connection yet; pauses between tries are 0.25 s, 0.5 s, and so on up to 4 s."""
        self.url = url.rstrip("/")
        self._retries = retries
        self._sleep = sleep
        self._clock = clock
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def is_ready(self) -> bool:
        """Return whether the scheduler and all that it needs work; one try, no error."""
        try:
            return self._http.get("/readyz", timeout=5.0).status_code == 200
        except httpx.HTTPError:
            return False

    def styles(self) -> list[Style]:
        """Return every style."""
        return self._read(_Styles, "GET", "/v1/styles").data

    def style(self, name: str) -> Style:
        """Return one style; raise ApiError where there is none of that name."""
        return self._read(Style, "GET", f"/v1/styles/{_quoted(name)}")

    def import_style(self, name: str, weights: bytes | Path, card: Mapping[str, Any], replace: bool = False) -> Style:
        """Upload the weights of a network as a style, and return it.

        `weights` is a weights file of nst, or its bytes. Raises ApiError where they are none, or (`style_exists`) where
        the style has another version and `replace` is not set.
        """
        data = weights if isinstance(weights, bytes) else weights.read_bytes()
        uri = self.upload(self.create_upload().id, WEIGHTS_NAME, data)
        body = {"weights": uri, "card": dict(card), "replace": replace}
        return self._read(Style, "PUT", f"/v1/styles/{_quoted(name)}", json=body)

    def presets(self) -> list[Preset]:
        """Return the presets of the method optimize."""
        return self._read(_Presets, "GET", "/v1/presets").data

    def create_upload(self) -> Upload:
        """Return a new, empty place for photos."""
        return self._read(Upload, "POST", "/v1/uploads")

    def upload(self, upload_id: str, path: str, data: bytes) -> str:
        """Store one file under a relative path, and return its s3:// address."""
        path = f"/v1/uploads/{_quoted(upload_id)}/{quote(path, safe='/')}"
        return self._read(_Stored, "PUT", path, content=data).uri

    def submit(self, request: JobRequest, *, idempotency_key: str | None = None) -> Job:
        """Submit a job; the same key gives the same job again."""
        body = TypeAdapter(JobRequest).dump_python(request, mode="json")
        body["input"] = {name: value for name, value in body["input"].items() if value is not None}
        if request.method is Method.FEEDFORWARD:
            # An API of before the other method refuses to hear of it.
            body = {name: value for name, value in body.items() if value or name not in ("paintings", "optimize")}
            del body["method"]
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._read(Job, "POST", "/v1/jobs", json=body, headers=headers)

    def job(self, job_id: str) -> Job:
        """Return a job as it stands."""
        return self._read(Job, "GET", f"/v1/jobs/{_quoted(job_id)}")

    def jobs(self, *, page: int = _PAGE) -> Iterator[Job]:
        """Yield all jobs, the newest first."""
        return self._pages(Job, "/v1/jobs", {"limit": page})

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; images in hand are finished, and finished images are kept."""
        return self._read(Job, "POST", f"/v1/jobs/{_quoted(job_id)}/cancel")

    def items(self, job_id: str, *, status: ItemStatus | None = None, page: int = _PAGE) -> Iterator[Item]:
        """Yield a job's items in order, all or those of one status."""
        query: dict[str, str | int] = {"limit": page} if status is None else {"limit": page, "status": status.value}
        return self._pages(Item, f"/v1/jobs/{_quoted(job_id)}/items", query)

    def output(self, job_id: str, item_id: int) -> bytes:
        """Return the stylized image of an item that succeeded."""
        return self._call("GET", f"/v1/jobs/{_quoted(job_id)}/items/{item_id}/output").content

    def preview(self, job_id: str, item_id: int) -> bytes:
        """Return a JPEG of an item that is being optimised; raise ApiError (`not_found`) while there is none."""
        return self._call("GET", f"/v1/jobs/{_quoted(job_id)}/items/{item_id}/preview").content

    def results(self, job_id: str) -> bytes:
        """Return the JSON lines about the items that succeeded; raise ApiError while the job is not finished."""
        return self._call("GET", f"/v1/jobs/{_quoted(job_id)}/results").content

    def errors(self, job_id: str) -> bytes:
        """Return the JSON lines about the items that did not succeed; raise ApiError while the job is not finished."""
        return self._call("GET", f"/v1/jobs/{_quoted(job_id)}/errors").content

    def wait(
        self,
        job_id: str,
        *,
        on_change: Callable[[Job], None] | None = None,
        on_poll: Callable[[Job], None] | None = None,
        poll_s: float = 0.5,
        timeout_s: float | None = None,
    ) -> Job:
        """Return the job once it is finished; raise TimeoutError after `timeout_s`.

        `on_change` gets the job at first and whenever its status or counts are others than before, `on_poll` each
        time.
        """
        started, seen = self._clock(), None
        while True:
            job = self.job(job_id)
            if on_change is not None and (job.status, job.counts) != seen:
                on_change(job)
            seen = (job.status, job.counts)
            if on_poll is not None:
                on_poll(job)
            if job.status.is_terminal:
                return job
            if timeout_s is not None and self._clock() - started >= timeout_s:
                raise TimeoutError(f"Job {job_id} is still {job.status} after {timeout_s:g} s.")
            self._sleep(poll_s)

    def _pages(self, cls: type[_T], path: str, query: dict[str, str | int]) -> Iterator[_T]:
        while True:
            page = self._read(_Page, "GET", path, params=query)
            yield from _translated(TypeAdapter(list[cls]).validate_python, page.data)  # type: ignore[valid-type]
            if not page.has_more or page.last_id is None:
                return
            query = {**query, "after_id": page.last_id}

    def _read(self, cls: type[_T], method: str, path: str, **options: Any) -> _T:
        return _translated(TypeAdapter(cls).validate_json, self._call(method, path, **options).content)

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                hopeless = isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol) and not self._reached
                if last or hopeless:
                    raise UnreachableError(f"There is no answer from {self.url}: {error}") from error
            else:
                self._reached = True
                if response.status_code not in _PASSING or last:
                    return _checked(response)
            self._sleep(min(0.25 * 2**attempt, 4.0))
        raise AssertionError("the last try returns or raises")


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


def _quoted(part: str) -> str:
    return quote(part, safe="")
