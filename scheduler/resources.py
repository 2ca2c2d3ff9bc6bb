"""What clients of the API send and get: frozen values like its JSON. Fields that a newer API adds are ignored."""

from dataclasses import dataclass, field
from typing import Any

from nst_core.protocol.chunks import ItemStatus, StyleRef
from scheduler.domain.jobs import (
    DEFAULT_METHOD,
    DEFAULT_NAME,
    DEFAULT_PRESET,
    DEFAULT_PREVIEW_EVERY,
    Counts,
    JobInput,
    JobStatus,
    Priority,
)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a job or an item failed."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where a job's results go; a `prefix` of None lets the scheduler choose."""

    prefix: str | None = None
    format: str = "keep"
    quality: int = 92
    name: str = DEFAULT_NAME
    max_px: int | None = None


@dataclass(frozen=True, kw_only=True)
class Optimize:
    """How photos are optimised: a preset, and what differs from it."""

    preset: str = DEFAULT_PRESET
    #: Fields of the preset's config with other values.
    options: dict[str, Any] = field(default_factory=dict)
    #: A preview each time after so many iterations; 0: none.
    preview_every: int = DEFAULT_PREVIEW_EVERY


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """What `Client.submit` asks for: `styles`, or `paintings` for the method optimize."""

    input: JobInput
    styles: tuple[str, ...] = ()
    method: str = DEFAULT_METHOD
    #: s3:// addresses.
    paintings: tuple[str, ...] = ()
    optimize: Optimize | None = None
    strength: float = 1.0
    preserve_color: bool = False
    output: Output = Output()
    metadata: dict[str, str] = field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    #: RFC 3339 with its offset; what is not begun then is cancelled.
    deadline: str | None = None
    #: The deadline as seconds from now on; one of the two, or neither.
    expires_after_s: float | None = None
    #: More failed images than this end the job as failed.
    max_failures: int | None = None
    #: Tries at an image after faults that may pass, 1 to 10.
    max_attempts: int | None = None


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with a request, or with one of its photos."""

    code: str
    message: str
    #: JSON pointer of the field in the request.
    pointer: str | None = None
    #: Number of the line in the manifest, from 1.
    line: int | None = None
    #: Address of the photo.
    input: str | None = None


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a job would do."""

    #: It would be accepted, and have an item that does not fail at once.
    valid: bool
    photos: int
    items: int
    #: Items that would fail at once.
    failing: int
    #: There are more photos than were looked at.
    truncated: bool = False
    #: Photos of which it is known whether they are in the storage; None if nobody has looked.
    objects_checked: int | None = None
    #: The first ones.
    problems: tuple[Problem, ...] = ()
    #: About how long the job would take with the workers that there are; None where nothing was measured yet.
    estimated_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Optimizing:
    """How the photos of a job are optimised."""

    preset: str
    #: The preset with the options of the request.
    config: dict[str, Any]
    preview_every: int


@dataclass(frozen=True, kw_only=True)
class Input:
    """Where the photos of a job come from: one of the three is set."""

    #: Number of addresses, which `Client.inputs` yields.
    count: int | None = None
    prefix: str | None = None
    manifest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as the API shows it. Times are RFC 3339."""

    id: str
    status: JobStatus
    styles: tuple[StyleRef, ...]
    input: Input
    output: Output
    counts: Counts
    method: str = DEFAULT_METHOD
    paintings: tuple[str, ...] = ()
    optimize: Optimizing | None = None
    strength: float = 1.0
    preserve_color: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    #: The id that the client chose.
    client_id: str | None = None
    #: Why the job is being or was stopped: cancel, deadline or max_failures.
    stop: str | None = None
    priority: str = Priority.NORMAL.value
    deadline: str | None = None
    max_failures: int | None = None
    max_attempts: int | None = None
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    error: Failure | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the optimisation of an item has come, as last heard."""

    iteration: int
    iterations: int
    #: Weighted terms of the loss.
    losses: dict[str, float] = field(default_factory=dict)
    #: `Client.preview` has a picture.
    preview: bool = False


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image of a job with one style, as the API shows it."""

    #: Position in the job, from 0.
    id: int
    input: str
    style: str
    status: ItemStatus
    custom_id: str | None = None
    output: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    attempt: int | None = None
    progress: Progress | None = None
    error: Failure | None = None
    #: One sentence on an output that may not be what is expected, such as the first frame of several.
    warning: str | None = None


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A set of options of the method optimize."""

    name: str
    summary: str
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Style:
    """A style that jobs may name. The card says who painted it and when."""

    name: str
    version: str
    card: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StyleVersion(Style):
    """One of the versions that a style has or had."""

    #: The style's name stands for it.
    current: bool = False
    #: The name ever did; otherwise nobody else sees it.
    published: bool = True
    #: The run that made it, where one did.
    run: str | None = None
    created_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A place in the storage for photos of this client."""

    id: str
    prefix: str
    #: RFC 3339.
    created_at: str | None = None
    #: When a file came last, to the hour.
    used_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class UploadedFile:
    """A file of an upload."""

    #: Below the upload's prefix.
    path: str
    bytes: int
