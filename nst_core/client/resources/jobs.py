"""Jobs: what a client asks for, and what has become of it."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from nst_core.client.resources.base import Code, Failure, Moment, Request, Resource, Uri, shown
from nst_core.client.resources.methods import DEFAULT_METHOD, MethodName, MethodOptions, ResolvedOptions
from nst_core.client.resources.pages import Page
from nst_core.client.resources.styles import JobStyle, PaintedStyle

DEFAULT_NAME = "{stem}__{style}.{ext}"
MAX_INLINE_INPUTS = 1000
#: Each region takes as long as a photo without regions.
MAX_REGIONS = 8
_MAX_COUNT = 10**9
#: Ten years.
_MAX_SECONDS = 10 * 366 * 24 * 3600
#: How exact the results of a job are.
Precision = Literal["auto", "exact"]
Faces = Literal["paint", "fine", "protect"]
#: How many times as long as the painted picture's the sides of a result can be.
Upscale = Literal[1, 2, 4]
#: Sizes of strokes that are no number.
StrokeName = Literal["auto", "fine", "varied"]
#: What pictures show in the flat parts of photos.
Forms = Literal["none", "planes"]
#: Where the strokes, forms and faces come from that a job does not set.
LookName = Literal["gallery"]
#: The smallest and the largest size of strokes that a job may ask for.
STROKES = (0.5, 4.0)
_LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_LabelValue = Annotated[str, StringConstraints(max_length=512)]


def _check_stroke(value: object, check: ValidatorFunctionWrapHandler) -> object:
    try:
        return check(value)
    except ValidationError:
        # One error, instead of one for each kind of value.
        raise ValueError(f"a stroke is a number from {STROKES[0]:g} to {STROKES[1]:g}, auto, fine or varied") from None


#: The size of strokes.
Stroke = Annotated[
    Annotated[float, Field(ge=STROKES[0], le=STROKES[1], strict=True)] | StrokeName, WrapValidator(_check_stroke)
]


class JobStatus(StrEnum):
    """The status of a job."""

    QUEUED = "queued"  # accepted, nothing else done
    PLANNING = "planning"  # its inputs are being listed; the first may be running already
    RUNNING = "running"  # every item is known
    PAUSED = "paused"  # nothing more is sent to workers; they finish what they have started
    CANCELLING = "cancelling"  # being stopped for any reason; waits for the images that workers have started
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


class Priority(StrEnum):
    """Which of a tenant's jobs come first."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """Return a number to sort jobs by, the most urgent first."""
        return {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}[self]


class StopReason(StrEnum):
    """Why a job ends early."""

    CANCEL = "cancel"
    DEADLINE = "deadline"
    MAX_FAILURES = "max_failures"


class JobInput(Request):
    """Where the photos come from: exactly one of the three."""

    uris: Annotated[tuple[Uri, ...], Field(min_length=1, max_length=MAX_INLINE_INPUTS)] | None = Field(
        None, description="Addresses of at most 1,000 photos."
    )
    prefix: Uri | None = Field(None, description="All photos below an address. Sub-folders are kept.")
    manifest: Uri | None = Field(
        None,
        description='The address of an object that names one photo a line, as {"input": "s3://…", "custom_id": "…", '
        '"mask": "s3://…", "regions": ["s3://…"]}, where only `input` is required, or as an address alone. A JSON '
        "array of such objects, or CSV with a column `input`, will do as well. It may be compressed with gzip.",
    )


class InputSummary(Resource):
    """Where the photos come from: one of the three is set."""

    count: int | None = Field(
        None, description="The number of addresses in `uris`; `GET /v1/jobs/{job_id}/input` lists them."
    )
    prefix: str | None = Field(None, description="The address below which the photos are.")
    manifest: str | None = Field(None, description="The address of the object that names the photos.")


class _RegionFields(BaseModel):
    model_config = ConfigDict(frozen=True)

    mask: Uri | None = Field(
        None,
        description="The address of a picture that says where the region is: white is in it, black is not, greys are "
        "between. It is stretched to the size of each photo, and its opacity is ignored. A line of a manifest may name "
        "another one in `regions`. Without one, only photos whose lines name one have the region.",
    )


class Region(_RegionFields, Request):
    """A part of the photos in a style of its own."""

    style: PaintedStyle = Field(description="A style or a blend of styles, as in `styles`.")


class JobRegion(_RegionFields, Resource):
    """A part of a job's photos in a style of its own."""

    style: JobStyle


class _OutputFields(BaseModel):
    model_config = ConfigDict(frozen=True)

    format: Literal["keep", "jpeg", "png", "webp"] = Field(
        "keep", description="keep: JPEG, PNG and WebP photos keep their format, all others become PNG."
    )
    quality: int = Field(92, ge=1, le=100, description="The quality of JPEG and WebP files.")
    name: str = Field(
        DEFAULT_NAME, max_length=256, description="The name of each result, with {stem}, {index}, {style} and {ext}."
    )
    max_px: int | None = Field(None, ge=16, le=65535, description="The longest side; larger photos are scaled down.")


class Output(_OutputFields, Request):
    """Where the results go, and how they are saved."""

    prefix: Uri | None = Field(None, description="An address. If omitted, the job gets a place of its own.")


class ResolvedOutput(_OutputFields, Resource):
    """Where the results of a job go, and how they are saved."""

    prefix: str = Field(description="The address below which the results are.")


class JobTerms(BaseModel):
    """What a request for a job and the job itself have in common."""

    model_config = ConfigDict(frozen=True)

    method: MethodName = Field(DEFAULT_METHOD, description="optimize takes minutes per image, and any painting.")
    paintings: Annotated[tuple[Uri, ...], Field(max_length=100)] = Field(
        (), description="Addresses of paintings, for the method optimize."
    )
    strength: float = Field(
        1.0,
        ge=0.0,
        le=1.0,
        description="0 is the photo, 1 the full style. Below 1, styles that come with nst, and styles of a family, get "
        "weaker strokes; others are mixed with the photo.",
    )
    preserve_color: bool = Field(False, description="Keep the photo's colours.")
    mask: Uri | None = Field(
        None,
        description="The address of a picture that says where photos are painted: white is painted, black stays the "
        "photo, greys are between. It is stretched to the size of each photo, and its opacity is ignored. A line of a "
        "manifest may name another one. Only for the method feedforward.",
    )
    faces: Faces | None = Field(
        None,
        description="protect: faces are found and drawn as in the photo, in the colours and the light of the picture, "
        "so that they can be recognised. fine: the same, with large faces painted in finer strokes than the rest. "
        "paint: they are painted as everything else. Default: as `look` says, or else paint. Only for the method "
        "feedforward.",
    )
    precision: Precision = Field(
        "auto",
        description="auto: each worker uses its own engine. exact: all use the reference engine, which is slower and "
        "gives the same bytes on all processors of the same kind. Only for the method feedforward.",
    )
    look: LookName | None = Field(
        None,
        description="gallery: each style is painted as the gallery shows it, with the strokes, forms and faces that "
        "suit it, which are `look` in its card; `stroke`, `forms` and `faces` of the job take precedence. A blend has "
        "the look of the style with the largest share, and regions have that of the style around them. Default: as the "
        "network paints. Only for the method feedforward.",
    )
    stroke: Stroke | None = Field(
        None,
        description="How large strokes are in the picture. A number: this many times as large as at the photo's own "
        "size. auto: as in a photo of one megapixel, so that the same photo looks alike at any size, and large photos "
        "are fast. fine: as the network paints, and from one megapixel on as auto. varied: in layers, broad strokes "
        "first and finer ones over them, so that pictures have large forms; kept away from faces. Default: as the "
        "network paints, always of the same size in pixels, so that a large photo keeps little of the style. Only for "
        "the method feedforward.",
    )
    forms: Forms | None = Field(
        None,
        description="planes: flat areas such as skies and walls are filled with facets of light and shade, along lines "
        "that extend the photo's edges; for styles with facets, such as udnie. none: nothing is added to them. "
        "Default: with the stroke varied faint clouds, and else nothing. Only for the method feedforward.",
    )
    upscale: Upscale = Field(
        1,
        description="Enlarge the results: 2 or 4 times the width and height. A network adds the lines that an "
        "enlargement lacks; photos are painted in their own size, or in that of `output.max_px`. Only for the method "
        "feedforward.",
    )
    priority: Priority = Field(Priority.NORMAL, description="Relative to the other jobs of the same tenant.")
    deadline: Moment | None = Field(
        None, description="Items that have not started by this time are cancelled, and the job ends as expired."
    )
    max_failures: int | None = Field(
        None, ge=0, le=_MAX_COUNT, description="If more images than this fail, the job ends as failed."
    )
    max_attempts: int | None = Field(
        None, ge=1, le=10, description="How often an image is tried if errors are temporary. Default: the scheduler's."
    )
    metadata: Annotated[dict[_LabelKey, _LabelValue], Field(max_length=16)] = Field(
        {}, description="Your own labels; listings can filter by them."
    )


class JobRequest(JobTerms, MethodOptions, Request):
    """A bulk stylization job. The method feedforward needs `styles`, optimize needs `paintings`."""

    model_config = shown(
        {
            "input": {"prefix": "s3://nst/photos/"},
            "styles": ["great_wave"],
            "output": {"format": "jpeg", "max_px": 1600},
            "stroke": "auto",
            "priority": "high",
            "expires_after_s": 3600,
            "max_failures": 100,
            "metadata": {"album": "spring"},
        },
        {
            "input": {"uris": ["s3://nst/photos/harbour.jpg"]},
            "method": "optimize",
            "paintings": ["s3://nst/paintings/wheatfield.jpg"],
            "optimize": {"preset": "gatys2016"},
        },
    )

    input: JobInput
    styles: Annotated[tuple[PaintedStyle, ...], Field(max_length=100)] = Field(
        (),
        description="NAME, or NAME@VERSION with at least 8 digits of the version, for the method feedforward. A blend "
        "of 2 to 4 styles is NAME:SHARE,NAME:SHARE, such as great_wave:0.6,udnie:0.4; shares are scaled so that they "
        "sum to 1, in thousandths.",
    )
    regions: Annotated[tuple[Region, ...], Field(max_length=MAX_REGIONS)] = Field(
        (),
        description="At most 8 parts of the photos in styles of their own. The rest of each photo is painted in one "
        "of `styles`. Where regions overlap, later ones lie over earlier ones. `mask` says where photos are painted at "
        "all. Only for the method feedforward.",
    )
    output: Output = Output()
    expires_after_s: float | None = Field(
        None, gt=0, le=_MAX_SECONDS, description="The deadline in seconds from now, instead of `deadline`."
    )

    @field_validator("input")
    @classmethod
    def _exactly_one(cls, input: JobInput) -> JobInput:
        if sum(value is not None for value in (input.uris, input.prefix, input.manifest)) != 1:
            raise ValueError("give exactly one of uris, prefix and manifest")
        return input

    @model_validator(mode="after")
    def _one_deadline(self) -> Self:
        if self.deadline is not None and self.expires_after_s is not None:
            raise ValueError("give one of deadline and expires_after_s")
        return self


class RetryRequest(Request):
    """Which items of an ended job are tried again."""

    model_config = shown({"codes": ["blob_unavailable", "worker_lost"]}, {"cancelled": True})

    codes: Annotated[tuple[Code, ...], Field(min_length=1, max_length=100)] | None = Field(
        None, description="Only items that failed with one of these codes."
    )
    cancelled: bool = Field(False, description="Also cancelled items, and input that was not read.")


class Counts(Resource):
    """The number of items by status; they always sum to `total`."""

    total: int = Field(0, description="As far as the input has been read.")
    pending: int = Field(0, description="They wait for a worker.")
    running: int = Field(0, description="They are in chunks that workers have started.")
    succeeded: int = Field(0, description="Their results are in the storage.")
    failed: int = Field(0, description="They have an error.")
    cancelled: int = Field(0, description="The job was stopped before their turn.")

    @property
    def unfinished(self) -> int:
        return self.pending + self.running


class _JobHead(Resource):
    id: str = Field(description="job_ and 24 hex digits.")
    client_id: str | None = Field(None, description="The id that the client chose, if it did.")
    status: JobStatus
    stop: StopReason | None = Field(None, description="Why the job is being or was stopped.")


_JOB: dict[str, Any] = {
    "id": "job_019ab5e0c8a43f9a10c2b4d1",
    "client_id": None,
    "status": "running",
    "stop": None,
    "method": "feedforward",
    "styles": [{"name": "great_wave", "version": "4f" * 32, "parts": []}],
    "paintings": [],
    "optimize": None,
    "input": {"count": None, "prefix": "s3://nst/photos/", "manifest": None},
    "output": {
        "prefix": "s3://nst/painted/",
        "format": "jpeg",
        "quality": 92,
        "name": DEFAULT_NAME,
        "max_px": 1600,
    },
    "strength": 1.0,
    "preserve_color": False,
    "mask": None,
    "regions": [
        {"style": {"name": "udnie", "version": "7c" * 32, "parts": []}, "mask": "s3://nst/photos/masks/sky.png"}
    ],
    "faces": "paint",
    "precision": "auto",
    "look": None,
    "stroke": "auto",
    "forms": None,
    "upscale": 1,
    "metadata": {"album": "spring"},
    "priority": "normal",
    "deadline": None,
    "max_failures": 100,
    "max_attempts": None,
    "counts": {"total": 2000, "pending": 1200, "running": 240, "succeeded": 559, "failed": 1, "cancelled": 0},
    "created_at": "2026-11-22T12:00:00Z",
    "started_at": "2026-11-22T12:00:01Z",
    "finished_at": None,
    "error": None,
}


class Job(ResolvedOptions, JobTerms, _JobHead):
    """A job."""

    model_config = shown(_JOB)

    styles: tuple[JobStyle, ...] = Field(description="For the method optimize: the names of the paintings.")
    regions: tuple[JobRegion, ...] = Field((), description="Parts of the photos in styles of their own.")
    input: InputSummary
    output: ResolvedOutput
    counts: Counts
    created_at: AwareDatetime = Field(description="When it was submitted.")
    started_at: AwareDatetime | None = Field(None, description="When a worker began its first chunk.")
    finished_at: AwareDatetime | None = Field(None, description="When it ended; null again after a retry.")
    error: Failure | None = Field(None, description="Why the job failed as a whole.")


class JobPage(Page[Job, str]):
    """A page of jobs."""


class InputEntry(Resource):
    """One of the addresses that a job was given."""

    model_config = shown({"id": 0, "uri": "s3://nst/photos/harbour.jpg"})

    id: int = Field(description="Its position in the request, from 0.")
    uri: str = Field(description="The address of the photo.")


class InputPage(Page[InputEntry, int]):
    """A page of the addresses of a job's photos."""


class CheckProblem(Resource):
    """What is wrong with a request, or with one of its photos."""

    code: str = Field(description="Stable, for programs; `GET /v1/errors` lists all codes.")
    message: str = Field(description="A sentence for people.")
    pointer: str | None = Field(None, description="JSON pointer of the field in the request.")
    line: int | None = Field(None, description="Line of the manifest, from 1, counting blank lines and comments.")
    input: str | None = Field(None, description="The address of the photo.")


class Check(Resource):
    """What a job would do. Nothing was submitted."""

    model_config = shown(
        {
            "valid": True,
            "photos": 2000,
            "items": 2000,
            "failing": 1,
            "truncated": False,
            "objects_checked": 100,
            "problems": [
                {
                    "code": "input_invalid",
                    "message": 'Line 17 of the manifest: it is not a JSON object with a text "input".',
                    "pointer": None,
                    "line": 17,
                    "input": None,
                }
            ],
            "estimated_s": 240.0,
        }
    )

    valid: bool = Field(description="The job would be accepted, and at least one item would not fail at once.")
    photos: int = Field(description="The number of photos that were found.")
    items: int = Field(description="Photos x styles.")
    failing: int = Field(description="Items that would fail at once.")
    truncated: bool = Field(False, description="There are more photos than were checked.")
    objects_checked: int | None = Field(
        None,
        description="The number of photos that were looked up in the storage: all below a prefix; of `uris` and "
        "manifests the first 100, as far as 2.5 seconds allow. Null if none was looked up.",
    )
    problems: tuple[CheckProblem, ...] = Field((), description="The first 100.")
    estimated_s: float | None = Field(
        None,
        description="About how long the job would take with the present workers; null if nothing was measured yet.",
    )
