# Generated from nst_core/client/_async/client.py by `make client`; changes belong there.
"""The Python client of the HTTP API."""

import errno
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from nst_core.client._sync.event_client import EventClient
from nst_core.client._sync.key_client import KeyClient, TenantClient
from nst_core.client._sync.run_client import RunClient
from nst_core.client._sync.transport import Transport
from nst_core.client._sync.webhook_client import WebhookClient
from nst_core.client.blocking import Sleep, run_io, sleep
from nst_core.client.requests import PAGE, body_of, digest_header, once_only, path_of, query_of, upload_path, waiting
from nst_core.client.resources.events import Event
from nst_core.client.resources.items import Item, ItemPage, ItemStatus
from nst_core.client.resources.jobs import Check, InputPage, Job, JobPage, JobRequest, JobStatus, RetryRequest
from nst_core.client.resources.styles import (
    Preset,
    PresetPage,
    PublishRequest,
    Style,
    StylePage,
    StyleRequest,
    StyleVersion,
    StyleVersionPage,
)
from nst_core.client.resources.uploads import StoredFile, Upload, UploadedFile, UploadedFilePage, UploadPage
from nst_core.styles import WEIGHTS_NAME
from nst_core.system.special_files import is_special


class Client:
    """Calls the API. Safe to share between threads; the asynchronous one, between the tasks of an event loop.

    Calls are safe to repeat (jobs and runs carry an Idempotency-Key), so each is retried for half a minute, in which a
    scheduler can restart, if the connection fails or the answer is 502, 503 or 504. If nothing listens at the first
    call, it fails at once. Requests with invalid fields raise pydantic's ValidationError.
    """

    def __init__(
        self,
        url: str,
        api_key: str = "",
        *,
        retries: int = 10,
        timeout_s: float = 60.0,
        sleep: Sleep = sleep,
        clock: Callable[[], float] = time.monotonic,
        on_silence: Callable[[], None] | None = None,
    ) -> None:
        """Open no connection yet; pauses between tries are 0.25 s, 0.5 s, and so on up to 4 s.

        `on_silence` is called if an answer takes longer than 2.5 s, tries included.
        """
        self._api = Transport(url, api_key, retries=retries, timeout_s=timeout_s, sleep=sleep, on_silence=on_silence)
        self._sleep = sleep
        self._clock = clock
        self.url = self._api.url
        #: Trainings of styles.
        self.runs = RunClient(self._api, sleep=sleep, clock=clock)
        self.keys = KeyClient(self._api)
        self.tenants = TenantClient(self._api)
        #: Manages webhooks, to which the API sends events.
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
        """Return whether the scheduler and everything that it needs work; tries once and raises no error."""
        return self._api.is_ready()

    def styles(self) -> list[Style]:
        """Return every style."""
        return [style for style in self._api.pages(StylePage, path_of("styles"), query_of(limit=PAGE))]

    def style(self, name: str, *, version: str | None = None) -> Style:
        """Return one style; raise ApiError if no style has that name.

        `version` may be any of its versions; the first 8 digits are enough. Default: the current one.
        """
        return self._api.read(Style, "GET", path_of("styles", name), params=query_of(version=version))

    def style_versions(self, name: str) -> list[StyleVersion]:
        """Return all versions of a style, the newest first."""
        path = path_of("styles", name, "versions")
        return [each for each in self._api.pages(StyleVersionPage, path, query_of(limit=PAGE))]

    def style_weights(self, name: str, *, version: str | None = None) -> bytes:
        """Return the weights file of a style, or of another version of it."""
        return self._api.call("GET", path_of("styles", name, "weights"), params=query_of(version=version))

    def import_style(
        self, name: str, weights: bytes | Path, card: Mapping[str, Any], replace: bool = False, *, index: int = 0
    ) -> Style:
        """Upload the weights of a network as a style, and return it.

        `weights` is a weights file of nst, or its bytes; `index` says which of its styles, from 0. Raises ApiError if
        they are not, or (`style_exists`) if the style has another version and `replace` is not set.
        """
        place = self.create_upload()
        uri = self.upload(place.id, WEIGHTS_NAME, weights)
        request = StyleRequest(weights=uri, card=dict(card), index=index, replace=replace)
        return self._api.read(Style, "PUT", path_of("styles", name), json=body_of(request))

    def publish_style(self, name: str, version: str) -> Style:
        """Let a style's name stand for one of its versions, from the next job on; return the style."""
        body = body_of(PublishRequest(version=version))
        return self._api.read(Style, "POST", path_of("styles", name, "publish"), json=body)

    def delete_style(self, name: str) -> None:
        """Delete the name of a style; its versions stay for the jobs that use them."""
        self._api.call("DELETE", path_of("styles", name))

    def presets(self) -> list[Preset]:
        """Return the presets of the method optimize."""
        return [preset for preset in self._api.pages(PresetPage, path_of("presets"), {})]

    def create_upload(self, upload_id: str | None = None) -> Upload:
        """Create a place for photos, under an id of your own (upl_ and 24 hexadecimal digits) or a new one."""
        if upload_id is None:
            return self._api.read(Upload, "POST", path_of("uploads"))
        return self._api.read(Upload, "PUT", path_of("uploads", upload_id))

    def uploads(self, *, page: int = PAGE) -> Iterator[Upload]:
        """Yield the uploads, the newest first."""
        return self._api.pages(UploadPage, path_of("uploads"), query_of(limit=page))

    def delete_upload(self, upload_id: str) -> None:
        """Delete an upload; raise ApiError (`in_use`) while an unfinished job or training uses it."""
        self._api.call("DELETE", path_of("uploads", upload_id))

    def upload(self, upload_id: str, path: str, data: bytes | Path, *, sha256: str | None = None) -> str:
        """Store one file, or its bytes, under a relative path, and return its s3:// address.

        With `sha256`, in hexadecimal digits, the API stores only a file with this hash: raises ApiError
        (`request_invalid`) if the file has changed.
        """
        headers = digest_header(sha256)
        answer = self._api.read(StoredFile, "PUT", upload_path(upload_id, path), file=data, headers=headers)
        return answer.uri

    def uploaded(self, upload_id: str, *, page: int = PAGE) -> Iterator[UploadedFile]:
        """Yield the files of an upload by path; an unknown upload has none."""
        return self._api.pages(UploadedFilePage, path_of("uploads", upload_id, "files"), query_of(limit=page))

    def submit(self, request: JobRequest, *, idempotency_key: str | None = None, wait_s: int | None = None) -> Job:
        """Submit a job; a repeated key returns the first job. With `wait_s` (1 to 60), wait that long for its end."""
        options = waiting(wait_s, once_only(idempotency_key))
        return self._api.read(Job, "POST", path_of("jobs"), json=body_of(request), **options)

    def put(self, client_id: str, request: JobRequest, *, wait_s: int | None = None) -> Job:
        """Submit a job once under an id of your own; a repeated request returns the first job.

        Raises ApiError (`job_exists`) if the id belongs to a job of a different request.
        """
        path = path_of("jobs", client_id)
        return self._api.read(Job, "PUT", path, json=body_of(request), **waiting(wait_s))

    def check(self, request: JobRequest, *, objects: bool = True) -> Check:
        """Return what a job would do, and what is wrong with it, without submitting it.

        Without `objects`, it is not checked whether the photos are in the storage.
        """
        params = {"validate": "true"} if objects else {"validate": "true", "objects": "false"}
        return self._api.read(Check, "POST", path_of("jobs"), json=body_of(request), params=params)

    def job(self, job_id: str, *, wait_s: int | None = None) -> Job:
        """Return a job by its id or yours; with `wait_s` (1 to 60), wait up to that long for its end."""
        return self._api.read(Job, "GET", path_of("jobs", job_id), **waiting(wait_s))

    def jobs(
        self,
        *,
        status: JobStatus | None = None,
        method: str | None = None,
        metadata: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        page: int = PAGE,
    ) -> Iterator[Job]:
        """Yield jobs, newest first: all, or those that match every given filter."""
        times = {"created_after": created_after, "created_before": created_before}
        labels = {f"metadata.{key}": value for key, value in (metadata or {}).items()}
        query = query_of(limit=page, status=status, method=method, **times, **labels)
        return self._api.pages(JobPage, path_of("jobs"), query)

    def delete(self, job_id: str, *, results: bool = False) -> None:
        """Delete a job, and its images if `results` is set; raise ApiError (`unfinished`) if it has not ended."""
        params = {"results": "true" if results else "false"}
        self._api.call("DELETE", path_of("jobs", job_id), params=params)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; started images are finished, and finished images are kept."""
        return self._api.read(Job, "POST", path_of("jobs", job_id, "cancel"))

    def pause(self, job_id: str) -> Job:
        """Pause a job; started images are finished."""
        return self._api.read(Job, "POST", path_of("jobs", job_id, "pause"))

    def resume(self, job_id: str) -> Job:
        """Resume a paused job."""
        return self._api.read(Job, "POST", path_of("jobs", job_id, "resume"))

    def retry(self, job_id: str, *, codes: Sequence[str] | None = None, cancelled: bool = False) -> Job:
        """Retry the failed images of an ended job: all, or those with one of the codes.

        With `cancelled`, also the cancelled ones. Raises ApiError (`nothing_to_retry`) if there is no such image.
        """
        body = body_of(RetryRequest(codes=codes, cancelled=cancelled))
        return self._api.read(Job, "POST", path_of("jobs", job_id, "retry"), json=body, headers=once_only())

    def inputs(self, job_id: str) -> list[str]:
        """Return the addresses in a job's request; empty if its input is a prefix or a manifest."""
        path = path_of("jobs", job_id, "input")
        return [each.uri for each in self._api.pages(InputPage, path, query_of(limit=PAGE))]

    def items(
        self,
        job_id: str,
        *,
        status: ItemStatus | None = None,
        code: str | None = None,
        style: str | None = None,
        after: int | None = None,
        page: int = PAGE,
    ) -> Iterator[Item]:
        """Yield a job's items in order: all, or those of a status, an error code or a style, or after an item's id."""
        query = query_of(limit=page, status=status, code=code, style=style, after_id=after)
        return self._api.pages(ItemPage, path_of("jobs", job_id, "items"), query)

    def output(self, job_id: str, item_id: int) -> bytes:
        """Return the stylized image of an item that succeeded."""
        return self._api.call("GET", path_of("jobs", job_id, "items", str(item_id), "output"))

    def preview(self, job_id: str, item_id: int) -> bytes:
        """Return a JPEG of an item that is being optimised; raise ApiError (`not_found`) while there is none."""
        return self._api.call("GET", path_of("jobs", job_id, "items", str(item_id), "preview"))

    def results(self, job_id: str) -> bytes:
        """Return the JSON lines about the items that succeeded; raise ApiError if the job is not finished."""
        return self._api.call("GET", path_of("jobs", job_id, "results"))

    def errors(self, job_id: str) -> bytes:
        """Return the JSON lines about the items that failed; raise ApiError if the job is not finished."""
        return self._api.call("GET", path_of("jobs", job_id, "errors"))

    def zip(self, job_id: str, path: Path) -> list[Path]:
        """Write the images of a finished job and its reports into a zip file, and return its path.

        A job of more than 50,000 images comes as several files: NAME.zip, NAME-2.zip, and so on. Raises
        FileExistsError for a device or a pipe, to which a download that breaks off could not be repeated.
        """
        link: str | None = path_of("jobs", job_id, "results.zip")
        files: list[Path] = []
        while link is not None:
            target = path.with_name(f"{path.stem}-{len(files) + 1}{path.suffix}") if files else path
            if is_special(target):
                raise FileExistsError(errno.EEXIST, "A zip file cannot be written to a device or a pipe", str(target))
            # The file's own name is not part of it, because it may already have the maximum length.
            part = target.with_name(f".nst-{uuid.uuid4().hex[:12]}.part")
            try:
                with run_io(part.open, "wb") as file:
                    link = self._api.download(link, file)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
            files.append(target)
        return files

    def events(self, job_id: str, *, after: int = 0) -> Generator[Event]:
        """Yield the events of a job from its beginning, or after the event of an id, to its end; waits for new ones.

        Reconnects after a lost connection without missing or repeating an event.
        """
        return self._events.follow(path_of("jobs", job_id, "events"), after=after)

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

        `on_change` is called with the job at first and when its status or counts change, `on_poll` at every look. The
        API reports changes; if it cannot, or for `on_poll`, the job is fetched every `poll_s` seconds and at its end.
        """
        started, seen = self._clock(), None
        path, polls = path_of("jobs", job_id, "events"), on_poll is not None
        until = None if timeout_s is None else started + timeout_s
        with self._events.occasions(path, poll_s=poll_s, until=until, polls=polls) as occasion:
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
                occasion.wait()
