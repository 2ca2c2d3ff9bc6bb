"""The Python client of the HTTP API. Its errors are those of `scheduler.transport`."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from pydantic import TypeAdapter

from nst_core.protocol import ItemStatus, Method
from nst_core.styles import WEIGHTS_NAME
from scheduler.domain import JobStatus
from scheduler.event_client import Event, EventClient
from scheduler.key_client import KeyClient, TenantClient
from scheduler.resources import Check, Item, Job, JobRequest, Preset, Style, StyleVersion, Upload
from scheduler.run_client import RunClient
from scheduler.transport import ApiError, Transport, UnreachableError, quoted
from scheduler.webhook_client import WebhookClient

__all__ = ["ApiError", "Client", "UnreachableError"]

_PAGE = 200
_PATIENCE_S = 30.0
#: Fields of a request that not every API knows.
_LATER = ("priority", "deadline", "expires_after_s", "max_failures", "max_attempts")


@dataclass(frozen=True, kw_only=True)
class _Styles:
    data: list[Style]


@dataclass(frozen=True, kw_only=True)
class _Versions:
    data: list[StyleVersion]


@dataclass(frozen=True, kw_only=True)
class _Presets:
    data: list[Preset]


@dataclass(frozen=True, kw_only=True)
class _Stored:
    uri: str


class Client:
    """Calls the API. Safe to share between threads.

    Every call may be repeated without harm (jobs and runs carry an Idempotency-Key), so each is tried again a few times
    when the connection fails or the answer is 502, 503 or 504. Where nothing listens at the first call, it fails at
    once.
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
        self._api = Transport(url, api_key, retries=retries, timeout_s=timeout_s, sleep=sleep)
        self._sleep = sleep
        self._clock = clock
        self.url = self._api.url
        #: Trainings of styles.
        self.runs = RunClient(self._api, sleep=sleep, clock=clock)
        self.keys = KeyClient(self._api)
        self.tenants = TenantClient(self._api)
        #: Where the API tells of events.
        self.webhooks = WebhookClient(self._api)
        self._events = EventClient(self._api, sleep=sleep, clock=clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._api.close()

    def is_ready(self) -> bool:
        """Return whether the scheduler and all that it needs work; one try, no error."""
        return self._api.is_ready()

    def styles(self) -> list[Style]:
        """Return every style."""
        return self._api.read(_Styles, "GET", "/v1/styles").data

    def style(self, name: str, *, version: str | None = None) -> Style:
        """Return one style; raise ApiError where there is none of that name.

        `version` may be any of its versions, not only the one that it has now; the first 8 digits are enough.
        """
        return self._api.read(Style, "GET", f"/v1/styles/{quoted(name)}", params=_version(version))

    def style_versions(self, name: str) -> list[StyleVersion]:
        """Return all versions of a style, the newest first."""
        return self._api.read(_Versions, "GET", f"/v1/styles/{quoted(name)}/versions").data

    def style_weights(self, name: str, *, version: str | None = None) -> bytes:
        """Return the weights file of a style, or of another version of it."""
        return self._api.call("GET", f"/v1/styles/{quoted(name)}/weights", params=_version(version))

    def import_style(self, name: str, weights: bytes | Path, card: Mapping[str, Any], replace: bool = False) -> Style:
        """Upload the weights of a network as a style, and return it.

        `weights` is a weights file of nst, or its bytes. Raises ApiError where they are none, or (`style_exists`) where
        the style has another version and `replace` is not set.
        """
        data = weights if isinstance(weights, bytes) else weights.read_bytes()
        uri = self.upload(self.create_upload().id, WEIGHTS_NAME, data)
        body = {"weights": uri, "card": dict(card), "replace": replace}
        return self._api.read(Style, "PUT", f"/v1/styles/{quoted(name)}", json=body)

    def publish_style(self, name: str, version: str) -> Style:
        """Let a name stand for one of its versions, from the next job on, and return the style."""
        return self._api.read(Style, "POST", f"/v1/styles/{quoted(name)}/publish", json={"version": version})

    def delete_style(self, name: str) -> None:
        """Forget the name of a style; its versions stay for the jobs that use them."""
        self._api.call("DELETE", f"/v1/styles/{quoted(name)}")

    def presets(self) -> list[Preset]:
        """Return the presets of the method optimize."""
        return self._api.read(_Presets, "GET", "/v1/presets").data

    def create_upload(self) -> Upload:
        """Return a new, empty place for photos."""
        return self._api.read(Upload, "POST", "/v1/uploads")

    def upload(self, upload_id: str, path: str, data: bytes) -> str:
        """Store one file under a relative path, and return its s3:// address."""
        path = f"/v1/uploads/{quoted(upload_id)}/{quote(path, safe='/')}"
        return self._api.read(_Stored, "PUT", path, content=data).uri

    def submit(self, request: JobRequest, *, idempotency_key: str | None = None, wait_s: int | None = None) -> Job:
        """Submit a job; the same key gives the same job again. With `wait_s` (1 to 60) wait for its end so long."""
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._api.read(Job, "POST", "/v1/jobs", json=_body(request), **_waiting(wait_s, headers))

    def put(self, client_id: str, request: JobRequest, *, wait_s: int | None = None) -> Job:
        """Submit a job once under an id of your own; the same request gives the same job again.

        Raises ApiError (`job_exists`) where the id names a job of another request.
        """
        path = f"/v1/jobs/{quoted(client_id)}"
        return self._api.read(Job, "PUT", path, json=_body(request), **_waiting(wait_s, {}))

    def check(self, request: JobRequest) -> Check:
        """Return what a job would do, and what is wrong with it, without submitting it."""
        return self._api.read(Check, "POST", "/v1/jobs", json=_body(request), params={"validate": "true"})

    def job(self, job_id: str, *, wait_s: int | None = None) -> Job:
        """Return a job as it stands, by its id or your own; with `wait_s` (1 to 60) wait for its end so long."""
        return self._api.read(Job, "GET", f"/v1/jobs/{quoted(job_id)}", **_waiting(wait_s, {}))

    def jobs(
        self,
        *,
        status: JobStatus | None = None,
        method: Method | None = None,
        metadata: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        page: int = _PAGE,
    ) -> Iterator[Job]:
        """Yield jobs, the newest first: all, or those that fit all that is given."""
        query: dict[str, str | int] = {"limit": page}
        chosen = {"status": status, "method": method}
        query |= {name: value.value for name, value in chosen.items() if value is not None}
        times = {"created_after": created_after, "created_before": created_before}
        query |= {name: time.astimezone().isoformat() for name, time in times.items() if time is not None}
        query |= {f"metadata.{key}": value for key, value in (metadata or {}).items()}
        return self._api.pages(Job, "/v1/jobs", query)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; images in hand are finished, and finished images are kept."""
        return self._api.read(Job, "POST", f"/v1/jobs/{quoted(job_id)}/cancel")

    def pause(self, job_id: str) -> Job:
        """Let a job send nothing more to workers; images in hand are finished."""
        return self._api.read(Job, "POST", f"/v1/jobs/{quoted(job_id)}/pause")

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on."""
        return self._api.read(Job, "POST", f"/v1/jobs/{quoted(job_id)}/resume")

    def retry(self, job_id: str, *, codes: Sequence[str] | None = None, cancelled: bool = False) -> Job:
        """Let an ended job do its failed images again: all, or those with one of the codes.

        With `cancelled` the cancelled ones too. Raises ApiError (`nothing_to_retry`) where there is no such image.
        """
        body: dict[str, Any] = {"cancelled": cancelled}
        if codes is not None:
            body["codes"] = list(codes)
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        return self._api.read(Job, "POST", f"/v1/jobs/{quoted(job_id)}/retry", json=body, headers=headers)

    def items(
        self,
        job_id: str,
        *,
        status: ItemStatus | None = None,
        code: str | None = None,
        style: str | None = None,
        page: int = _PAGE,
    ) -> Iterator[Item]:
        """Yield a job's items in order: all, or those of a status, an error code or a style."""
        query: dict[str, str | int] = {"limit": page}
        chosen = {"status": None if status is None else status.value, "code": code, "style": style}
        query |= {name: value for name, value in chosen.items() if value is not None}
        return self._api.pages(Item, f"/v1/jobs/{quoted(job_id)}/items", query)

    def output(self, job_id: str, item_id: int) -> bytes:
        """Return the stylized image of an item that succeeded."""
        return self._api.call("GET", f"/v1/jobs/{quoted(job_id)}/items/{item_id}/output")

    def preview(self, job_id: str, item_id: int) -> bytes:
        """Return a JPEG of an item that is being optimised; raise ApiError (`not_found`) while there is none."""
        return self._api.call("GET", f"/v1/jobs/{quoted(job_id)}/items/{item_id}/preview")

    def results(self, job_id: str) -> bytes:
        """Return the JSON lines about the items that succeeded; raise ApiError while the job is not finished."""
        return self._api.call("GET", f"/v1/jobs/{quoted(job_id)}/results")

    def errors(self, job_id: str) -> bytes:
        """Return the JSON lines about the items that did not succeed; raise ApiError while the job is not finished."""
        return self._api.call("GET", f"/v1/jobs/{quoted(job_id)}/errors")

    def zip(self, job_id: str, path: Path) -> list[Path]:
        """Write the images of a finished job and its reports into a zip file, and return its path.

        A job of more than 50,000 images comes as several files: NAME.zip, NAME-2.zip, and so on.
        """
        link: str | None = f"/v1/jobs/{quoted(job_id)}/results.zip"
        files: list[Path] = []
        while link is not None:
            target = path.with_name(f"{path.stem}-{len(files) + 1}{path.suffix}") if files else path
            part = target.with_name(f".{target.name}.part")
            try:
                with part.open("wb") as file:
                    link = self._api.download(link, file)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
            files.append(target)
        return files

    def events(self, job_id: str, *, after: int = 0) -> Iterator[Event]:
        """Yield what happens to a job from its beginning to its end, or behind the event of an id; waits for more.

        Goes on by itself after a lost connection, with none left out or repeated.
        """
        return self._events.follow(f"/v1/jobs/{quoted(job_id)}/events", after=after)

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
        time. The API tells of changes; where it does not, or for `on_poll`, it is asked each `poll_s` seconds.
        """
        started, seen = self._clock(), None
        path = None if on_poll is not None else f"/v1/jobs/{quoted(job_id)}/events"
        until = None if timeout_s is None else started + timeout_s
        for _ in self._events.occasions(path, poll_s=poll_s, until=until):
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
        raise AssertionError("there is always another occasion")


def _body(request: JobRequest) -> dict[str, Any]:
    body: dict[str, Any] = TypeAdapter(JobRequest).dump_python(request, mode="json")
    body["input"] = {name: value for name, value in body["input"].items() if value is not None}
    # An API of before these fields refuses to hear of them.
    later = {name: value for name, value in vars(JobRequest(input=request.input)).items() if name in _LATER}
    body = {name: value for name, value in body.items() if name not in later or value != later[name]}
    if request.method is Method.FEEDFORWARD:
        # Nor did an old one know the other method.
        body = {name: value for name, value in body.items() if value or name not in ("paintings", "optimize")}
        del body["method"]
    return body


def _waiting(wait_s: int | None, headers: dict[str, str]) -> dict[str, Any]:
    """Return the options of a call whose answer waits for the end of a job."""
    if wait_s is None:
        return {"headers": headers}
    # The answer comes later than others do, so the patience has to be longer.
    return {"headers": headers | {"Prefer": f"wait={wait_s}"}, "timeout": wait_s + _PATIENCE_S}


def _version(version: str | None) -> dict[str, str]:
    return {} if version is None else {"version": version}
