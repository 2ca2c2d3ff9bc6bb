"""The Python client of the HTTP API. Its errors are those of `scheduler.transport`."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from pydantic import TypeAdapter

from nst_core.protocol import ItemStatus, Method
from nst_core.styles import WEIGHTS_NAME
from scheduler.event_client import Event, EventClient
from scheduler.resources import Item, Job, JobRequest, Preset, Style, StyleVersion, Upload
from scheduler.run_client import RunClient
from scheduler.transport import ApiError, Transport, UnreachableError, quoted
from scheduler.webhook_client import WebhookClient

__all__ = ["ApiError", "Client", "UnreachableError"]

_PAGE = 200


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

    def submit(self, request: JobRequest, *, idempotency_key: str | None = None) -> Job:
        """Submit a job; the same key gives the same job again."""
        body = TypeAdapter(JobRequest).dump_python(request, mode="json")
        body["input"] = {name: value for name, value in body["input"].items() if value is not None}
        if request.method is Method.FEEDFORWARD:
            # An API of before the other method refuses to hear of it.
            body = {name: value for name, value in body.items() if value or name not in ("paintings", "optimize")}
            del body["method"]
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._api.read(Job, "POST", "/v1/jobs", json=body, headers=headers)

    def job(self, job_id: str) -> Job:
        """Return a job as it stands."""
        return self._api.read(Job, "GET", f"/v1/jobs/{quoted(job_id)}")

    def jobs(self, *, page: int = _PAGE) -> Iterator[Job]:
        """Yield all jobs, the newest first."""
        return self._api.pages(Job, "/v1/jobs", {"limit": page})

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; images in hand are finished, and finished images are kept."""
        return self._api.read(Job, "POST", f"/v1/jobs/{quoted(job_id)}/cancel")

    def items(self, job_id: str, *, status: ItemStatus | None = None, page: int = _PAGE) -> Iterator[Item]:
        """Yield a job's items in order, all or those of one status."""
        query: dict[str, str | int] = {"limit": page} if status is None else {"limit": page, "status": status.value}
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


def _version(version: str | None) -> dict[str, str]:
    return {} if version is None else {"version": version}
