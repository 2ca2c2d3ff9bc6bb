"""What clients can ask for, independent of HTTP: submit, look up and cancel jobs, upload photos, check keys."""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from sqlalchemy.exc import IntegrityError

from nst_core.blobs import BlobStore, BlobUri
from nst_core.clock import Clock
from nst_core.errors import ConfigError
from nst_core.protocol import ItemStatus, StyleRef, StylizeOptions
from nst_core.styles import shipped_styles, version_of
from scheduler import domain
from scheduler.domain import Job, JobInput, JobOutput, JobSpec, JobStatus
from scheduler.errors import ConflictError, KeyReusedError, NotFoundError, RequestInvalidError, UnauthenticatedError
from scheduler.plan import InputEntry, may_write, plan_items, refuse_taken
from scheduler.store import access
from scheduler.store import chunks as chunk_rows
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store.access import ApiKeyRow, StyleRow
from scheduler.store.database import Database
from scheduler.store.items import Item

_KEY_PATTERN = re.compile(r"nst_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")
_UPLOAD_PATTERN = re.compile(r"upl_[0-9a-f]{24}")
_CANCELLABLE = (JobStatus.QUEUED, JobStatus.PLANNING, JobStatus.RUNNING)


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A job as a client asks for it; `output_prefix` None means a place of the job's own."""

    input: JobInput
    styles: tuple[str, ...]
    options: StylizeOptions
    output_prefix: str | None
    output_format: str
    output_name: str
    metadata: dict[str, str]


def new_api_key() -> str:
    """Return a random API key: nst_, 8 hex digits that name it, and 32 secret bytes."""
    return f"nst_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"


class Service:
    """The scheduler's operations. Every look-up is limited to the tenant that asks."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        clock: Clock,
        buckets: frozenset[str],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """`buckets` are those that jobs may use; `wake` is called when there is work for the control loops."""
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._buckets = buckets
        self._wake = wake

    def add_key(self, key: str, *, tenant: str) -> None:
        """Make an API key valid; only its hash is kept. Raises ConfigError where it has not the form of one."""
        match = _KEY_PATTERN.fullmatch(key)
        if match is None:
            raise ConfigError("An API key is nst_, 8 hex digits, _ and 43 characters of URL-safe base64.")
        row = ApiKeyRow(prefix=match[1], sha256=_sha256(key), tenant=tenant)
        with self._database.write() as connection:
            access.put_key(connection, row, now=self._clock())

    def authenticate(self, key: str) -> str:
        """Return the tenant of an API key; raise UnauthenticatedError where it is not valid."""
        match = _KEY_PATTERN.fullmatch(key)
        found = None
        if match is not None:
            with self._database.read() as connection:
                found = access.find_key(connection, match[1])
        if found is None or not hmac.compare_digest(found.sha256, _sha256(key)):
            raise UnauthenticatedError("The API key is not valid.")
        return found.tenant

    def register_shipped_styles(self) -> None:
        """Put the styles of the package into storage and into the database."""
        for style in shipped_styles():
            weights = style.weights()
            version = version_of(weights)
            uri = BlobUri(self._blobs.bucket, f"styles/{version}.safetensors")
            if not self._blobs.exists(uri):
                self._blobs.put(uri, weights)
            row = StyleRow(name=style.name, version=version, weights=str(uri), card=style.card)
            with self._database.write() as connection:
                access.put_style(connection, row, now=self._clock())

    def styles(self) -> list[StyleRow]:
        """Return all styles."""
        with self._database.read() as connection:
            return access.list_styles(connection)

    def style(self, name: str) -> StyleRow:
        """Return a style; raise NotFoundError where there is none of that name."""
        with self._database.read() as connection:
            found = access.find_style(connection, name)
        if found is None:
            raise NotFoundError(f"There is no style {name!r}.")
        return found

    def submit(self, tenant: str, request: JobRequest, *, idempotency_key: str | None = None) -> tuple[Job, bool]:
        """Accept a job and return it, and whether it is new.

        The same Idempotency-Key with the same request returns the first job; with another it raises KeyReusedError.
        Raises RequestInvalidError where the request cannot be done.
        """
        fingerprint = _fingerprint(request)
        if idempotency_key is not None and (replayed := self._replay(tenant, idempotency_key, fingerprint)):
            return replayed, False
        job_id = f"job_{int(self._clock() * 1000):012x}{secrets.token_hex(6)}"
        spec = self._resolve(tenant, job_id, request)
        try:
            with self._database.write() as connection:
                job_rows.insert_job(
                    connection,
                    id=job_id,
                    tenant=tenant,
                    spec=spec,
                    fingerprint=fingerprint,
                    idempotency_key=idempotency_key,
                    now=self._clock(),
                )
        except IntegrityError:
            # Two requests with one key at once: the other was first.
            if idempotency_key is None or not (replayed := self._replay(tenant, idempotency_key, fingerprint)):
                raise
            return replayed, False
        self._wake()
        return self.job(tenant, job_id), True

    def _replay(self, tenant: str, key: str, fingerprint: str) -> Job | None:
        with self._database.read() as connection:
            found = job_rows.find_by_idempotency_key(connection, tenant, key)
        if found is None:
            return None
        if found[1] != fingerprint:
            raise KeyReusedError("The Idempotency-Key was used before with another request.")
        return found[0]

    def _resolve(self, tenant: str, job_id: str, request: JobRequest) -> JobSpec:
        if len(set(request.styles)) != len(request.styles):
            raise RequestInvalidError("A style is named twice.", pointer="/styles")
        with self._database.read() as connection:
            found = [(name, access.find_style(connection, name)) for name in request.styles]
        for place, (name, style) in enumerate(found):
            if style is None:
                raise RequestInvalidError(f"There is no style {name!r}.", pointer=f"/styles/{place}")
        self._check_input(tenant, request.input)
        try:
            domain.check_name_template(request.output_name)
        except ConfigError as error:
            raise RequestInvalidError(error.message, pointer="/output/name") from error
        prefix = request.output_prefix or f"s3://{self._blobs.bucket}/tenants/{tenant}/jobs/{job_id}/"
        spec = JobSpec(
            input=request.input,
            output=JobOutput(
                prefix=self._check_prefix(tenant, prefix), format=request.output_format, name=request.output_name
            ),
            styles=tuple(StyleRef(name=style.name, version=style.version) for _, style in found if style),
            options=request.options,
            metadata=request.metadata,
        )
        if request.input.uris is not None:
            entries = [InputEntry(uri=uri) for uri in request.input.uris]
            planned = plan_items(spec, entries, first_input=0, tenant=tenant, shared=self._blobs.bucket)
            for item in refuse_taken(list(planned), set()):
                if item.error is not None:
                    raise RequestInvalidError(item.error[1], pointer=f"/input/uris/{item.index // len(spec.styles)}")
        return spec

    def _check_input(self, tenant: str, input: JobInput) -> None:
        for place, uri in enumerate(input.uris or ()):
            if not self._allowed(tenant, uri, pointer=f"/input/uris/{place}").key:
                raise RequestInvalidError(f"{uri} names no object.", pointer=f"/input/uris/{place}")
        if input.prefix is not None:
            self._allowed(tenant, input.prefix, pointer="/input/prefix", is_prefix=True)
        if input.manifest is not None and not self._allowed(tenant, input.manifest, pointer="/input/manifest").key:
            raise RequestInvalidError(f"{input.manifest} names no object.", pointer="/input/manifest")

    def _check_prefix(self, tenant: str, prefix: str) -> str:
        prefix = prefix if prefix.endswith("/") else prefix + "/"
        uri = self._allowed(tenant, prefix, pointer="/output/prefix")
        key = uri.key
        try:
            if key:
                domain.check_key(key.removesuffix("/"))
        except ConfigError as error:
            raise RequestInvalidError(error.message, pointer="/output/prefix") from error
        if uri.bucket == self._blobs.bucket and not may_write(key, tenant):
            raise RequestInvalidError(f"{prefix} is not in a place that jobs may use.", pointer="/output/prefix")
        return prefix

    def _allowed(self, tenant: str, text: str, *, pointer: str, is_prefix: bool = False) -> BlobUri:
        """Return the address if a tenant's jobs may use it."""
        if not domain.storable(text):
            raise RequestInvalidError("The address has characters that cannot be stored.", pointer=pointer)
        try:
            uri = BlobUri.parse(text)
        except ConfigError as error:
            raise RequestInvalidError(error.message, pointer=pointer) from error
        foreign = uri.bucket == self._blobs.bucket and not domain.may_use(uri.key, tenant, is_prefix=is_prefix)
        if uri.bucket not in self._buckets or foreign:
            raise RequestInvalidError(f"{text} is not in a place that jobs may use.", pointer=pointer)
        return uri

    def job(self, tenant: str, job_id: str) -> Job:
        """Return a job; raise NotFoundError where the tenant has none of that id."""
        with self._database.read() as connection:
            found = job_rows.find_job(connection, job_id, tenant=tenant)
        if found is None:
            raise NotFoundError(f"There is no job {job_id}.")
        return found

    def jobs(self, tenant: str, *, limit: int, after_id: str | None) -> list[Job]:
        """Return a tenant's jobs, newest first."""
        with self._database.read() as connection:
            return job_rows.list_jobs(connection, tenant, limit=limit, after_id=after_id)

    def items(
        self, tenant: str, job_id: str, *, limit: int, after: int, status: ItemStatus | None = None
    ) -> list[Item]:
        """Return a job's items in order."""
        self.job(tenant, job_id)
        with self._database.read() as connection:
            return item_rows.list_items(connection, job_id, limit=limit, after=after, status=status)

    def output(self, tenant: str, job_id: str, index: int) -> tuple[Item, Iterator[bytes]]:
        """Return a succeeded item and the bytes of its image."""
        self.job(tenant, job_id)
        with self._database.read() as connection:
            item = item_rows.find_item(connection, job_id, index)
        if item is None:
            raise NotFoundError(f"Job {job_id} has no item {index}.")
        if item.status is not ItemStatus.SUCCEEDED:
            raise ConflictError(f"Item {index} of {job_id} has no output: it is {item.status}.")
        return item, self._blobs.stream(BlobUri.parse(item.output))

    def report(self, tenant: str, job_id: str, name: str) -> Iterator[bytes]:
        """Return the bytes of a finished job's results.jsonl or errors.jsonl."""
        job = self.job(tenant, job_id)
        if not job.status.is_terminal:
            raise NotFoundError(f"Job {job_id} has no {name} yet: it is {job.status}.")
        return self._blobs.stream(BlobUri.parse(job.spec.output.prefix + name))

    def cancel(self, tenant: str, job_id: str) -> Job:
        """Stop a job: what was not begun is cancelled now, what workers have in hand is completed.

        Cancelling twice, or cancelling a finished job, changes nothing.
        """
        self.job(tenant, job_id)
        with self._database.write() as connection:
            job = job_rows.lock_job(connection, job_id)
            if job.status in _CANCELLABLE:
                job_rows.update_job(connection, job_id, status=JobStatus.CANCELLING, cancel_requested=True)
                chunk_rows.end_unbegun(connection, job_id)
                job_rows.move_counts(connection, job_id, item_rows.cancel_pending(connection, job_id))
                job_rows.finalize_if_through(connection, job_id)
        self._wake()
        return self.job(tenant, job_id)

    def new_upload(self, tenant: str) -> tuple[str, str]:
        """Return the id and the s3:// prefix of a new place for photos."""
        upload_id = f"upl_{secrets.token_hex(12)}"
        return upload_id, str(self._upload_uri(tenant, upload_id, ""))

    def upload(self, tenant: str, upload_id: str, path: str, file: IO[bytes]) -> str:
        """Store a photo at `path` in an upload and return its s3:// address."""
        if not _UPLOAD_PATTERN.fullmatch(upload_id):
            raise NotFoundError(f"There is no upload {upload_id!r}.")
        try:
            domain.check_key(path)
        except ConfigError as error:
            raise RequestInvalidError(error.message, pointer="") from error
        uri = self._upload_uri(tenant, upload_id, path)
        self._blobs.put_file(uri, file)
        return str(uri)

    def _upload_uri(self, tenant: str, upload_id: str, path: str) -> BlobUri:
        return BlobUri(self._blobs.bucket, f"tenants/{tenant}/uploads/{upload_id}/{path}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _fingerprint(request: JobRequest) -> str:
    def plain(value: Any) -> Any:
        return vars(value)

    return _sha256(json.dumps(request, default=plain, sort_keys=True))
