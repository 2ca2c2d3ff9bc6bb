"""Jobs: what a client asked for, as it is stored, the statuses of chunks, and how a job ends."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from nst_core.client.resources.jobs import DEFAULT_NAME, Counts, JobInput, JobStatus, LookName, Priority, StopReason
from nst_core.client.resources.methods import DEFAULT_METHOD
from nst_core.errors import ConfigError
from nst_core.protocol.chunks import StyleRef, StylizeOptions
from scheduler.domain.looks import Look

#: The tenant of the first key, whose installation it is.
FIRST_TENANT = "default"
#: No tenant is kept from all work by its weight.
LEAST_WEIGHT = 0.001
RESULTS_NAME = "results.jsonl"
ERRORS_NAME = "errors.jsonl"


#: Statuses of jobs that a client, a deadline or too many failures may stop.
STOPPABLE = (JobStatus.QUEUED, JobStatus.PLANNING, JobStatus.RUNNING, JobStatus.PAUSED)


class ChunkStatus(StrEnum):
    """Where a chunk stands."""

    PENDING = "pending"  # waits for its place in the dispatch window
    DISPATCHED = "dispatched"  # a message is in Redis
    RUNNING = "running"  # a worker holds the lease
    DONE = "done"  # every item is terminal, or is in another chunk


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
    #: gallery: what `options` leave to the styles is as their looks have it.
    look: LookName | None = None
    #: These looks, by the names of the styles.
    looks: dict[str, Look] = field(default_factory=dict)
    #: More failed items than this end the job.
    max_failures: int | None = None
    #: How often an item is tried if errors are temporary, and how many workers in a row may die of a chunk.
    max_attempts: int
    #: The request in its trace, as in the header of W3C Trace Context; None if nobody records it.
    traceparent: str | None = None

    def style(self, name: str) -> StyleRef:
        """Return the style of a name."""
        return next(style for style in self.styles if style.name == name)

    def options_of(self, style: StyleRef) -> StylizeOptions:
        """Return how photos are stylized in one of the styles: its look decides what the job leaves to it."""
        options, look = self.options, self.looks.get(style.name, Look())
        return replace(
            options,
            stroke=look.stroke if options.stroke is None else options.stroke,
            forms=look.forms if options.forms is None else options.forms,
            faces=options.faces or look.faces or "paint",  # older workers do not know None
        )


@dataclass(frozen=True, kw_only=True)
class Reopening:
    """Which items of a job that has ended are to be tried again."""

    #: Failed items with one of these errors; None: all failed ones.
    codes: tuple[str, ...] | None = None
    #: Cancelled items, too.
    cancelled: bool = False

    @classmethod
    def load(cls, column: Mapping[str, Any]) -> Self:
        """Return what `vars` of an object was, which went through JSON."""
        codes = column["codes"]
        return cls(codes=None if codes is None else tuple(codes), cancelled=column["cancelled"])


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job in the database. Times are seconds since 1970, UTC."""

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
    #: The number of inputs planned so far and, if the input is a prefix, the key of the last one.
    planned_inputs: int
    planned_key: str
    #: The input is read to its end, or cannot be read any further.
    planned: bool = False
    #: There may be pending items that the planner has to put into chunks or, if the job is being stopped, to cancel.
    unchunked: bool = False
    #: The job was retried: which of its items, if they are too many for one transaction, have not all been reopened.
    reopening: Reopening | None = None
    #: Why the job is being or was stopped.
    stop: StopReason | None = None
    #: The id that the client chose.
    client_id: str | None = None
    priority: Priority = Priority.NORMAL
    deadline: float | None = None
    #: Items that had failed when the job was last retried; they do not count against `max_failures`.
    forgiven: int = 0
    retries: int = 0
    #: Number of inline photos. Their addresses are in the spec only if they were requested.
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
