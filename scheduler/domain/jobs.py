"""The words of the scheduler: statuses of jobs and chunks, what a job asks for, and how outputs are named."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from nst_core.errors import ConfigError
from nst_core.formats import JPEG_SUFFIXES
from nst_core.protocol.chunks import StyleRef, StylizeOptions

DEFAULT_METHOD = "feedforward"
DEFAULT_NAME = "{stem}__{style}.{ext}"
#: Of the method optimize.
DEFAULT_PRESET = "gatys2016"
DEFAULT_PREVIEW_EVERY = 25
#: The tenant of the first key, whose installation it is.
FIRST_TENANT = "default"
#: No tenant is kept from all work by its weight.
LEAST_WEIGHT = 0.001
RESULTS_NAME = "results.jsonl"
ERRORS_NAME = "errors.jsonl"
_PLACEHOLDERS = frozenset({"stem", "index", "style", "ext"})
_MAX_KEY_BYTES = 1024
#: What is a file somewhere has no longer name.
_MAX_PART_BYTES = 255
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
#: Times that percent signs are decoded. Each takes a time that is linear in the key.
_MAX_DECODED = 4


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"  # accepted, nothing else done
    PLANNING = "planning"  # its inputs are being listed; the first may be running already
    RUNNING = "running"  # every item is known
    PAUSED = "paused"  # nothing more is sent to workers; what they have in hand is finished
    CANCELLING = "cancelling"  # is being stopped, for whatever reason: waits for the images that workers have in hand
    FINALIZING = "finalizing"  # every item is terminal; the reports are being written
    SUCCEEDED = "succeeded"  # every item succeeded
    PARTIALLY_SUCCEEDED = "partially_succeeded"  # some items have no result
    FAILED = "failed"  # no item succeeded, there was none, or too many failed
    CANCELLED = "cancelled"  # a client stopped it; finished items are kept
    EXPIRED = "expired"  # its deadline passed; finished items are kept

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = (
    JobStatus.SUCCEEDED,
    JobStatus.PARTIALLY_SUCCEEDED,
    JobStatus.FAILED,
    JobStatus.CANCELLED,
    JobStatus.EXPIRED,
)
#: Statuses of jobs that a client, a deadline or too many failures may stop.
STOPPABLE = (JobStatus.QUEUED, JobStatus.PLANNING, JobStatus.RUNNING, JobStatus.PAUSED)


class Priority(StrEnum):
    """Which of a tenant's jobs come first."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """Return a number by which jobs are sorted, the first ones first."""
        return {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}[self]


class StopReason(StrEnum):
    """Why a job ends before its time."""

    CANCEL = "cancel"
    DEADLINE = "deadline"
    MAX_FAILURES = "max_failures"


class ChunkStatus(StrEnum):
    """Where a chunk stands."""

    PENDING = "pending"  # waits for its place in the dispatch window
    DISPATCHED = "dispatched"  # a message is in Redis
    RUNNING = "running"  # a worker holds the lease
    DONE = "done"  # every item is terminal, or is in another chunk


@dataclass(frozen=True, kw_only=True)
class JobInput:
    """Where a job's photos come from: exactly one of the three."""

    uris: tuple[str, ...] | None = None
    prefix: str | None = None
    manifest: str | None = None


@dataclass(frozen=True, kw_only=True)
class JobOutput:
    """Where a job's results go."""

    #: s3:// address that ends in a slash.
    prefix: str
    #: keep (JPEG, PNG and WebP stay what they are, the rest becomes PNG), jpeg, png or webp.
    format: str = "keep"
    name: str = DEFAULT_NAME


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """What a client asked for, with everything resolved; never changes."""

    input: JobInput
    output: JobOutput
    styles: tuple[StyleRef, ...]
    options: StylizeOptions
    metadata: dict[str, str] = field(default_factory=dict)
    #: The name of the method; see `scheduler.jobs.methods`.
    method: str = DEFAULT_METHOD
    #: What the method itself resolved, JSON-ready.
    details: dict[str, Any] = field(default_factory=dict)

    def style(self, name: str) -> StyleRef:
        """Return the style of a name."""
        return next(style for style in self.styles if style.name == name)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Items of a job by status; they always sum to total."""

    total: int = 0
    pending: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def unfinished(self) -> int:
        return self.pending + self.running


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as the store has it. Times are seconds since 1970, UTC."""

    id: str
    tenant: str
    status: JobStatus
    spec: JobSpec
    counts: Counts
    created_at: float
    started_at: float | None
    finished_at: float | None
    error_code: str | None
    error_message: str | None
    #: Inputs that are planned so far, and the key of the last one where the input is a prefix.
    planned_inputs: int
    planned_key: str
    #: The input is read to its end, or cannot be read any further.
    planned: bool = False
    #: There may be pending items that are in no chunk.
    unchunked: bool = False
    #: Why the job is being or was stopped.
    stop: StopReason | None = None
    #: The id that the client chose.
    client_id: str | None = None
    priority: Priority = Priority.NORMAL
    deadline: float | None = None
    max_failures: int | None = None
    #: Items that had failed when the job was last retried; they do not count against `max_failures`.
    forgiven: int = 0
    #: None: as the settings say.
    max_attempts: int | None = None
    retries: int = 0
    #: Number of inline photos. Their addresses are in the spec only where a look-up was asked for them.
    input_count: int | None = None


def final_status(job: Job) -> JobStatus:
    """Return how a job ends whose items are all terminal."""
    if job.stop is not None:
        return {
            StopReason.CANCEL: JobStatus.CANCELLED,
            StopReason.DEADLINE: JobStatus.EXPIRED,
            StopReason.MAX_FAILURES: JobStatus.FAILED,
        }[job.stop]
    if job.counts.succeeded == 0:
        return JobStatus.FAILED
    # A job with an error of its own did not get to read all of its input; items that are cancelled without a reason
    # to stop are those that a retry has left as they were.
    incomplete = job.counts.failed or job.counts.cancelled or job.error_code
    return JobStatus.PARTIALLY_SUCCEEDED if incomplete else JobStatus.SUCCEEDED


def check_client_id(text: str) -> None:
    """Raise ConfigError unless a text may be the id that a client gives a job."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text) or text in (".", ".."):
        raise ConfigError("A job's own id has from 1 to 64 letters, digits, dots, underscores and hyphens.")
    if text.startswith("job_"):
        raise ConfigError("Ids that begin with job_ are given by the scheduler alone.")


def check_name_template(template: str) -> None:
    """Raise ConfigError unless a template uses only {stem}, {index}, {style} and {ext}, and is a safe relative key."""
    rest = re.sub(r"\{(\w+)\}", lambda match: "" if match[1] in _PLACEHOLDERS else match[0], template)
    if "{" in rest or "}" in rest:
        raise ConfigError("The name template may use {stem}, {index}, {style} and {ext}, and no other braces.")
    if not template.endswith(".{ext}"):
        raise ConfigError("The name template must end in .{ext}, so that each file's suffix fits its format.")
    check_key(template)


def storable(text: str) -> bool:
    """Return whether databases and storages take a text: no NUL character and no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def may_use(key: str, tenant: str, *, is_prefix: bool = False) -> bool:
    """Return whether a tenant's jobs may use a key, or all below a prefix, in the bucket that tenants share."""
    if key.startswith(f"tenants/{tenant}/"):
        return True
    # A prefix such as "" or "ten" reaches other tenants' keys too.
    return not key.startswith("tenants/") and not (is_prefix and "tenants/".startswith(key))


def job_key(tenant: str, job_id: str) -> str:
    """Return the prefix of a job's results in the bucket that tenants share, if the client names no other place."""
    return f"tenants/{tenant}/jobs/{job_id}/"


def upload_key(tenant: str, upload_id: str) -> str:
    """Return the prefix of an upload's files in the bucket that tenants share."""
    return f"tenants/{tenant}/uploads/{upload_id}/"


def scratch_key(tenant: str, job_id: str) -> str:
    """Return the prefix of a job's previews and checkpoints in the bucket that tenants share.

    It is never below the job's output, which another job may read as its input or write to as well.
    """
    return f"tenants/{tenant}/scratch/{job_id}/"


def is_scratch(key: str) -> bool:
    """Return whether a key of the bucket that tenants share is in the place of a job or of a run."""
    return re.match(r"tenants/[^/]+/(scratch|runs)/", key) is not None


def check_key(key: str) -> None:
    """Raise ConfigError unless `key` is a safe relative object key."""
    if not storable(key):
        raise ConfigError("A key has no NUL character and no half of a surrogate pair.")
    if not key or len(key.encode()) > _MAX_KEY_BYTES:
        raise ConfigError(f"A key has from 1 to {_MAX_KEY_BYTES} bytes.")
    _check_parts(key)
    if any(len(part.encode()) > _MAX_PART_BYTES for part in key.split("/")):
        raise ConfigError(f"A key's parts have at most {_MAX_PART_BYTES} bytes.")


def check_address(bucket: str, key: str, *, is_prefix: bool = False) -> None:
    """Raise ConfigError unless an address means one object, or all below a prefix, to every storage and gateway.

    Some of them resolve `..`, drop empty parts, take a backslash for a slash, or decode percent signs. What looks like
    a place that a tenant may use could then be another one.
    """
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise ConfigError(f"{bucket[:80]!r} is not the name of a bucket.")
    if not key and not is_prefix:
        raise ConfigError("The address names no object: its key is empty.")
    key = key.removesuffix("/") if is_prefix else key
    if not storable(key):
        raise ConfigError("A key has no NUL character and no half of a surrogate pair.")
    if len(key.encode()) > _MAX_KEY_BYTES:
        raise ConfigError(f"A key has at most {_MAX_KEY_BYTES} bytes.")
    if key:
        _check_parts(key)


def _check_parts(key: str) -> None:
    for text in (key, *_decoded(key)):
        if any(part in ("", ".", "..") for part in text.split("/")):
            raise ConfigError("A key has no empty part and no part . or ..")
        if any(ord(char) < 32 or ord(char) == 127 or char == "\\" for char in text):
            raise ConfigError("A key has no control characters and no backslash.")
        if text.count("/") != key.count("/"):
            raise ConfigError("A key has no slash that is written with percent signs.")


def _decoded(key: str) -> Iterator[str]:
    """Yield what a key is after its percent signs are decoded once, twice and so on."""
    for _ in range(_MAX_DECODED):
        # Surrogates stand for bytes that are no UTF-8.
        decoded = unquote(key, errors="surrogateescape")
        if decoded == key:
            return
        yield decoded
        key = decoded
    raise ConfigError("A key is not encoded with percent signs many times over.")


def output_suffix(input_key: str, format: str) -> str:
    """Return the suffix of a result, without the dot: jpg, png or webp."""
    if format != "keep":
        return {"jpeg": "jpg", "png": "png", "webp": "webp"}[format]
    suffix = PurePosixPath(input_key).suffix.lower()
    if suffix in JPEG_SUFFIXES:
        return "jpg"
    return "webp" if suffix == ".webp" else "png"


def output_key(template: str, *, input_key: str, index: int, style: str, suffix: str) -> str:
    """Return the name of a result from its template; `index` is the input's place in the job."""
    values = {"stem": PurePosixPath(input_key).stem, "index": f"{index:06d}", "style": style, "ext": suffix}
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], template)
