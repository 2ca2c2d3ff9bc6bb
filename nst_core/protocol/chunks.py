"""What scheduler and workers say to each other about jobs: a Celery task for each method and three events, plain JSON.

A task is only a hint: ids, keys and options; the scheduler's database is the truth. An event carries the chunk's
attempt number, the fencing token: the collector drops what an outdated attempt says. What they say about trainings is
in `segments`, and events of both share one stream. Fields that a newer version
adds are ignored, so workers and schedulers of two versions may run side by side.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from pydantic import TypeAdapter, ValidationError

from nst_core.errors import ProtocolError
from nst_core.protocol.segments import SegmentEvent, SegmentFinished, SegmentProgress, SegmentStarted, TrainSegment

#: Redis stream that workers add events to.
EVENTS_STREAM = "nst:events"
#: The folder of checkpoints in a job's place.
CHECKPOINTS = "checkpoints/"


class Method(StrEnum):
    """How a photo gets the look of a painting."""

    FEEDFORWARD = "feedforward"  # by a network that was trained on the painting; takes a second
    OPTIMIZE = "optimize"  # by optimising the photo's own pixels (Gatys et al. 2016); takes minutes

    @property
    def task(self) -> str:
        """Name of the Celery task that works at one chunk; its only argument is the chunk as a dict."""
        return {Method.FEEDFORWARD: "nst.stylize", Method.OPTIMIZE: "nst.optimize"}[self]

    @property
    def queue(self) -> str:
        """Name of the Celery queue that the task waits in; each method has its own, so that none waits for another."""
        return self.task


class ItemStatus(StrEnum):
    """Where one image with one style stands."""

    PENDING = "pending"  # waits for a worker
    RUNNING = "running"  # in a chunk that a worker has started
    SUCCEEDED = "succeeded"  # its output is in storage
    FAILED = "failed"  # it has an error code and a sentence, and no output
    CANCELLED = "cancelled"  # the job was cancelled before its turn

    @property
    def is_terminal(self) -> bool:
        return self in (ItemStatus.SUCCEEDED, ItemStatus.FAILED, ItemStatus.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class StylizeOptions:
    """How every image of a job is stylized and saved."""

    #: 0 gives the photo back, 1 the full style.
    strength: float = 1.0
    #: Keep the photo's colours and take only the luminance from the style.
    preserve_color: bool = False
    #: Longest side of the output in pixels; a larger photo is scaled down first. None: the photo's own size.
    max_px: int | None = None
    #: JPEG and lossy WebP quality, 1 to 100.
    quality: int = 92


@dataclass(frozen=True, kw_only=True)
class StyleRef:
    """One immutable version of a style."""

    name: str
    #: SHA-256 of the weights file, in hex.
    version: str


@dataclass(frozen=True, kw_only=True)
class ChunkItem:
    """One image of a chunk."""

    #: Position in the job, from 0.
    index: int
    #: s3:// address of the photo.
    input: str
    #: s3:// address of the result; its suffix (jpg, png, webp) decides the format.
    output: str


@dataclass(frozen=True, kw_only=True)
class ChunkMessage:
    """What the arguments of all tasks have: which items, for whom, as which attempt."""

    method: ClassVar[Method]

    job_id: str
    chunk_id: int
    attempt: int
    items: tuple[ChunkItem, ...]
    #: Workers died of it, perhaps: nothing else is worked at beside it.
    alone: bool = False


@dataclass(frozen=True, kw_only=True)
class StylizeChunk(ChunkMessage):
    """The argument of the feed-forward method's task."""

    method = Method.FEEDFORWARD

    style: StyleRef
    #: s3:// address of the weights.
    weights: str
    options: StylizeOptions


@dataclass(frozen=True, kw_only=True)
class OptimizeChunk(ChunkMessage):
    """The argument of the optimize method's task."""

    method = Method.OPTIMIZE

    #: s3:// address of the painting.
    painting: str
    #: A GatysConfig, as its `to_dict` gives it.
    config: dict[str, Any]
    #: s3:// address that ends in a slash: the job's place for what comes up during the work.
    scratch: str
    #: A preview is stored each time after so many iterations; 0: none.
    preview_every: int = 0
    #: JPEG and lossy WebP quality, 1 to 100.
    quality: int = 92


def preview_uri(scratch: str, index: int) -> str:
    """Return the s3:// address of the preview, a JPEG, of an item in its job's place."""
    return f"{scratch}previews/{index}.jpg"


def checkpoint_uri(scratch: str, index: int) -> str:
    """Return the s3:// address of the checkpoint of an item in its job's place."""
    return f"{scratch}{CHECKPOINTS}{index}.safetensors"


@dataclass(frozen=True, kw_only=True)
class ItemOutcome:
    """What became of one item in one attempt: an output, or an error."""

    index: int
    ms: int
    sha256: str | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    #: One sentence on an output that may not be what its owner expects, such as the first frame of several.
    warning: str | None = None
    #: The error may pass: the scheduler tries the item again a few times.
    retryable: bool = False

    @property
    def succeeded(self) -> bool:
        return self.error_code is None


@dataclass(frozen=True, kw_only=True)
class ItemProgress:
    """How far the optimisation of one item has come."""

    index: int
    #: The last one that is done, from 1.
    iteration: int
    iterations: int
    #: Weighted terms of the loss at that iteration, by name; finite.
    losses: dict[str, float] = field(default_factory=dict)
    #: A preview of the item is in storage.
    preview: bool = False


@dataclass(frozen=True, kw_only=True)
class ChunkStarted:
    """A worker has begun a chunk."""

    chunk_id: int
    attempt: int
    worker: str
    #: The worker has the chunk, but waits for others to end: if it dies, it did not die of this chunk.
    blameless: bool = False


@dataclass(frozen=True, kw_only=True)
class ChunkProgress:
    """A worker still works at a chunk; renews its lease. May be lost."""

    chunk_id: int
    attempt: int
    outcomes: tuple[ItemOutcome, ...] = ()
    #: The newest of items that are being optimised.
    progress: tuple[ItemProgress, ...] = ()
    #: The worker was told to end: if it falls silent now, it did not die of this chunk.
    blameless: bool = False


@dataclass(frozen=True, kw_only=True)
class ChunkFinished:
    """A worker is through with a chunk. Items without an outcome were not completed (shutdown or cancel)."""

    chunk_id: int
    attempt: int
    outcomes: tuple[ItemOutcome, ...]
    progress: tuple[ItemProgress, ...] = ()


ChunkEvent = ChunkStarted | ChunkProgress | ChunkFinished
Event = ChunkEvent | SegmentEvent
_EVENTS: dict[str, type[Event]] = {
    "chunk_started": ChunkStarted,
    "chunk_progress": ChunkProgress,
    "chunk_finished": ChunkFinished,
    "segment_started": SegmentStarted,
    "segment_progress": SegmentProgress,
    "segment_finished": SegmentFinished,
}
_EVENT_NAMES = {cls: name for name, cls in _EVENTS.items()}
_T = TypeVar("_T")
_Chunk = TypeVar("_Chunk", bound=ChunkMessage)


def dump_chunk(chunk: ChunkMessage) -> dict[str, Any]:
    """Return a chunk as JSON-ready values."""
    result: dict[str, Any] = TypeAdapter(type(chunk)).dump_python(chunk, mode="json")
    return result


def load_chunk(cls: type[_Chunk], values: Any) -> _Chunk:
    """Return the chunk of `dump_chunk` values; raise ProtocolError where a field is missing or wrong."""
    return _validate(cls, values)


def dump_segment(segment: TrainSegment) -> dict[str, Any]:
    """Return a segment as JSON-ready values."""
    result: dict[str, Any] = TypeAdapter(TrainSegment).dump_python(segment, mode="json")
    return result


def load_segment(values: Any) -> TrainSegment:
    """Return the segment of `dump_segment` values; raise ProtocolError where a field is missing or wrong."""
    return _validate(TrainSegment, values)


def dump_event(event: Event) -> bytes:
    """Return an event as JSON."""
    name = _EVENT_NAMES[type(event)]
    body = TypeAdapter(type(event)).dump_json(event)
    return b'{"type":"' + name.encode() + b'",' + body[1:]


def load_event(data: bytes) -> Event:
    """Return the event of `dump_event` JSON; raise ProtocolError where it is none."""
    values = _validate(dict[str, Any], data)
    cls = _EVENTS.get(str(values.pop("type", None)))
    if cls is None:
        raise ProtocolError("An event has no known type.")
    return _validate(cls, values)


def _validate(cls: type[_T], values: Any) -> _T:
    adapter = TypeAdapter(cls)
    try:
        return adapter.validate_json(values) if isinstance(values, bytes) else adapter.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        raise ProtocolError(f"A {cls.__name__} message is wrong at {where}: {first['msg']}.") from error
