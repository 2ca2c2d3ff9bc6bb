"""Bodies of requests and responses. Unknown fields are refused."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, JsonValue, StringConstraints, model_validator

from nst_core.client.resources.methods import MethodName
from nst_core.protocol.chunks import ItemStatus, StylizeOptions
from scheduler.api.bodies import Body, PinnedStyle, Uri
from scheduler.api.pages import Page
from scheduler.api.times import Moment, moment_if
from scheduler.domain.jobs import (
    DEFAULT_METHOD,
    DEFAULT_NAME,
    DEFAULT_PRESET,
    DEFAULT_PREVIEW_EVERY,
    Job,
    JobInput,
    JobStatus,
    Priority,
    StopReason,
)
from scheduler.jobs.methods import find_method
from scheduler.jobs.methods.optimize import OptimizeRequest
from scheduler.jobs.requests import JobRequest
from scheduler.store.items import Item

MAX_INLINE_INPUTS = 1000
_LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_LabelValue = Annotated[str, StringConstraints(max_length=512)]
MAX_COUNT = 10**9
#: Ten years.
MAX_SECONDS = 10 * 366 * 24 * 3600


class InputBody(Body):
    """Where the photos come from: exactly one of the three."""

    uris: Annotated[tuple[Uri, ...], Field(min_length=1, max_length=MAX_INLINE_INPUTS)] | None = Field(
        None, description="Addresses of photos, 1,000 at most."
    )
    prefix: Uri | None = Field(None, description="All photos below an address; sub-folders are kept.")
    manifest: Uri | None = Field(None, description='A JSONL object with lines {"input": "s3://…", "custom_id": "…"}.')

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(value is not None for value in (self.uris, self.prefix, self.manifest)) != 1:
            raise ValueError("give exactly one of uris, prefix and manifest")
        return self


class OutputBody(Body):
    """Where the results go, and how they are saved."""

    prefix: Uri | None = Field(None, description="An address; a place of the job's own if it is not given.")
    format: Literal["keep", "jpeg", "png", "webp"] = "keep"
    quality: int = Field(92, ge=1, le=100, description="Of JPEG and WebP.")
    name: str = Field(DEFAULT_NAME, max_length=256, description="May use {stem}, {index}, {style} and {ext}.")
    max_px: int | None = Field(None, ge=16, le=65535, description="Longest side; larger photos are scaled down.")


class OptimizeBody(Body):
    """How photos are optimised: a preset, and what differs from it."""

    preset: str = Field(DEFAULT_PRESET, max_length=64, description="See /v1/presets.")
    options: dict[Annotated[str, StringConstraints(max_length=64)], JsonValue] = Field(
        {}, max_length=100, description="Fields of the preset's config with other values."
    )
    preview_every: int = Field(
        DEFAULT_PREVIEW_EVERY, ge=0, le=100_000, description="A preview each time after so many iterations; 0: none."
    )


class JobBody(Body):
    """A bulk stylization job."""

    input: InputBody
    method: MethodName = Field(DEFAULT_METHOD, description="optimize takes minutes an image, and any painting.")
    styles: Annotated[tuple[PinnedStyle, ...], Field(max_length=100)] = Field(
        (), description="Of feedforward: names, or name@version with 8 digits of the version at least."
    )
    paintings: Annotated[tuple[Uri, ...], Field(max_length=100)] = Field((), description="Of optimize: addresses.")
    optimize: OptimizeBody | None = None
    strength: float = Field(1.0, ge=0.0, le=1.0, description="0 is the photo, 1 the full style.")
    preserve_color: bool = Field(False, description="Keep the photo's colours.")
    output: OutputBody = OutputBody()
    priority: Priority = Field(Priority.NORMAL, description="Among the jobs of the same tenant.")
    deadline: Moment | None = Field(
        None, description="What is not begun at this time is cancelled, and the job ends as expired."
    )
    expires_after_s: float | None = Field(
        None, gt=0, le=MAX_SECONDS, description="The deadline, from now on, in seconds."
    )
    max_failures: int | None = Field(
        None, ge=0, le=MAX_COUNT, description="More failed images than this end the job as failed."
    )
    max_attempts: int | None = Field(
        None, ge=1, le=10, description="Tries at an image after faults that may pass; otherwise the scheduler's."
    )
    metadata: Annotated[dict[_LabelKey, _LabelValue], Field(max_length=16)] = Field(
        {}, description="What the job is to be found by, besides its id."
    )

    @model_validator(mode="after")
    def _one_deadline(self) -> Self:
        if self.deadline is not None and self.expires_after_s is not None:
            raise ValueError("give one of deadline and expires_after_s")
        return self

    def to_request(self) -> JobRequest:
        """Return the request as the service takes it."""
        return JobRequest(
            input=JobInput(uris=self.input.uris, prefix=self.input.prefix, manifest=self.input.manifest),
            styles=self.styles,
            options=StylizeOptions(
                strength=self.strength,
                preserve_color=self.preserve_color,
                max_px=self.output.max_px,
                quality=self.output.quality,
            ),
            output_prefix=self.output.prefix,
            output_format=self.output.format,
            output_name=self.output.name,
            metadata=self.metadata,
            method=self.method,
            paintings=self.paintings,
            optimize=None if self.optimize is None else OptimizeRequest(**dict(self.optimize)),
            priority=self.priority,
            deadline=None if self.deadline is None else self.deadline.timestamp(),
            expires_after_s=self.expires_after_s,
            max_failures=self.max_failures,
            max_attempts=self.max_attempts,
        )


class ErrorView(BaseModel):
    """A stable code and a sentence."""

    code: str
    message: str


class StyleRefView(BaseModel):
    """A style, and the version of it that the job uses."""

    name: str
    version: str


class CountsView(BaseModel):
    """Items by status; they sum to total."""

    total: int
    pending: int
    running: int
    succeeded: int
    failed: int
    cancelled: int


class OutputView(BaseModel):
    """Where the results go."""

    prefix: str
    format: str
    quality: int
    name: str
    max_px: int | None


class OptimizeView(BaseModel):
    """How the photos are optimised."""

    preset: str
    config: dict[str, Any] = Field(description="The preset with the options of the request.")
    preview_every: int


class InputView(BaseModel):
    """Where the photos come from."""

    count: int | None = Field(description="Number of addresses in uris; GET /v1/jobs/{job_id}/input lists them.")
    prefix: str | None
    manifest: str | None

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return the view of a job's input."""
        source = job.spec.input
        return cls(count=job.input_count, prefix=source.prefix, manifest=source.manifest)


class JobView(BaseModel):
    """A job."""

    id: str
    client_id: str | None = Field(description="The id that the client chose, where it did.")
    status: JobStatus
    stop: StopReason | None = Field(description="Why the job is being or was stopped.")
    method: str
    styles: list[StyleRefView] = Field(description="Of the method optimize: the paintings' names.")
    paintings: list[str]
    optimize: OptimizeView | None
    input: InputView
    output: OutputView
    strength: float
    preserve_color: bool
    metadata: dict[str, str]
    priority: Priority
    deadline: datetime | None
    max_failures: int | None
    max_attempts: int | None
    counts: CountsView
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: ErrorView | None

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return the view of a job."""
        spec, options = job.spec, job.spec.options
        return cls(
            id=job.id,
            client_id=job.client_id,
            status=job.status,
            stop=job.stop,
            method=spec.method,
            styles=[StyleRefView(name=style.name, version=style.version) for style in spec.styles],
            **{"paintings": [], "optimize": None, **find_method(spec.method).shown(spec)},
            input=InputView.of(job),
            output=OutputView(
                prefix=spec.output.prefix,
                format=spec.output.format,
                quality=options.quality,
                name=spec.output.name,
                max_px=options.max_px,
            ),
            strength=options.strength,
            preserve_color=options.preserve_color,
            metadata=spec.metadata,
            priority=job.priority,
            deadline=moment_if(job.deadline),
            max_failures=job.max_failures,
            max_attempts=job.max_attempts,
            counts=CountsView(**vars(job.counts)),
            created_at=datetime.fromtimestamp(job.created_at, UTC),
            started_at=moment_if(job.started_at),
            finished_at=moment_if(job.finished_at),
            error=_error(job.error_code, job.error_message),
        )


class ProgressView(BaseModel):
    """How far the optimisation of an item has come, as last heard."""

    iteration: int
    iterations: int
    losses: dict[str, float] = Field(description="Weighted terms of the loss.")
    preview: bool = Field(description="Whether …/items/{item_id}/preview has a picture.")


class ItemView(BaseModel):
    """One photo of a job with one style."""

    id: int = Field(description="Its place in the job.")
    input: str
    custom_id: str | None
    style: str
    status: ItemStatus
    output: str | None
    width: int | None
    height: int | None
    bytes: int | None
    sha256: str | None
    attempt: int | None
    progress: ProgressView | None
    error: ErrorView | None
    warning: str | None = Field(
        description="One sentence on an output that may not be what is expected, such as the first frame of several."
    )

    @classmethod
    def of(cls, item: Item) -> Self:
        """Return the view of an item."""
        return cls(
            id=item.index,
            input=item.input,
            custom_id=item.custom_id,
            style=item.style,
            status=item.status,
            output=item.output if item.status is ItemStatus.SUCCEEDED else None,
            width=item.width,
            height=item.height,
            bytes=item.bytes,
            sha256=item.sha256,
            attempt=item.attempt,
            progress=None if item.progress is None else ProgressView.model_validate(item.progress),
            error=_error(item.error_code, item.error_message),
            warning=item.warning,
        )


class InputEntryView(BaseModel):
    """One of the addresses that a job was given."""

    id: int = Field(description="Its place in the request, from 0.")
    uri: str


class InputPage(Page[InputEntryView, int]):
    """A page of the addresses of a job's photos."""


class JobPage(Page[JobView, str]):
    """A page of jobs."""


class ItemPage(Page[ItemView, int]):
    """A page of items."""


def _error(code: str | None, message: str | None) -> ErrorView | None:
    return None if code is None else ErrorView(code=code, message=message or "")
