"""Events: what workers tell the scheduler about chunks and training segments, through one Redis stream.

Each event carries the attempt number of its chunk or segment. The number is a fencing token: the scheduler ignores
events of an attempt that it has replaced. Unknown fields are ignored, so that schedulers and workers of two versions
can run side by side.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from nst_core.errors import ProtocolError
from nst_core.protocol.codec import adapter_of, load
from nst_core.protocol.segments import StoredFile

#: Redis stream that workers add events to.
EVENTS_STREAM = "nst:events"


@dataclass(frozen=True, kw_only=True)
class ItemOutcome:
    """The result of one item in one attempt: an output or an error."""

    index: int
    ms: int
    sha256: str | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    #: The engine that made the output, and its precision; see `nst_core.inference.stylizer.EngineChoice`. None if the
    #: method has no engines.
    engine: str | None = None
    precision: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    #: A sentence about an output that may surprise its owner, such as the first frame of several.
    warning: str | None = None
    #: The error may be temporary: the scheduler tries the item again a few times.
    retryable: bool = False

    @property
    def succeeded(self) -> bool:
        return self.error_code is None


@dataclass(frozen=True, kw_only=True)
class ItemProgress:
    """How far an item is that takes many iterations."""

    index: int
    #: The last completed iteration, from 1.
    iteration: int
    iterations: int
    #: Weighted terms of the loss at that iteration, by name; finite.
    losses: dict[str, float] = field(default_factory=dict)
    #: A preview of the item is in storage.
    preview: bool = False


@dataclass(frozen=True, kw_only=True)
class ChunkStarted:
    """A worker has taken a chunk."""

    chunk_id: int
    attempt: int
    worker: str
    #: The worker has the chunk but waits for other work to end: if it dies now, the chunk is not the cause.
    blameless: bool = False


@dataclass(frozen=True, kw_only=True)
class ChunkProgress:
    """A worker is still working on a chunk; renews its lease. May be lost."""

    chunk_id: int
    attempt: int
    outcomes: tuple[ItemOutcome, ...] = ()
    #: The latest progress of items that take many iterations.
    progress: tuple[ItemProgress, ...] = ()
    #: The worker was told to shut down: if it stops responding now, the chunk is not the cause.
    blameless: bool = False


@dataclass(frozen=True, kw_only=True)
class ChunkFinished:
    """A worker is done with a chunk. Items without an outcome were not completed, because of a shutdown or a cancel."""

    chunk_id: int
    attempt: int
    outcomes: tuple[ItemOutcome, ...]
    progress: tuple[ItemProgress, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SegmentStarted:
    """A worker has taken a segment."""

    run_id: str
    attempt: int
    worker: str


@dataclass(frozen=True, kw_only=True)
class TrainProgress:
    """How far a training run is."""

    #: Completed steps since the start of the run.
    step: int
    #: Means of the weighted losses of the last steps, by term; finite.
    losses: dict[str, float] = field(default_factory=dict)
    #: The speed of this worker in the last steps; 0 if it is not known yet.
    steps_per_s: float = 0.0
    #: What the worker does besides training, such as "compiling", for people.
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class SegmentProgress:
    """A worker is still working on a segment; renews its lease. May be lost."""

    run_id: str
    attempt: int
    progress: TrainProgress | None = None


@dataclass(frozen=True, kw_only=True)
class PhotoReport:
    """What a run found out about its training photos."""

    #: Photos used for training, including skipped ones, and photos held out.
    count: int
    held_out: int
    skipped: int = 0
    #: Why photos were skipped, by name; the first hundred.
    reasons: dict[str, str] = field(default_factory=dict)
    #: Sentences about what may make the result worse, such as few photos, and samples that cannot be shown.
    warning: str | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """The style that a run made."""

    weights: StoredFile
    #: s3:// address of the preview sheet, a JPEG.
    sheet: str
    #: Measurements on held-out photos; JSON-ready.
    evaluation: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SegmentFailure:
    """Why a segment failed."""

    code: str
    message: str
    #: The error may be temporary: the scheduler tries again a few times.
    retryable: bool = False


@dataclass(frozen=True, kw_only=True)
class SegmentFinished:
    """A worker is done with a segment.

    After a training phase `checkpoint` is the new last good one, unless `failure` is set. A segment that was stopped
    early has the checkpoint it reached, or none if it was stopped before its first step. After an evaluation `result`
    is set.
    """

    run_id: str
    attempt: int
    worker: str
    #: Completed steps since the start of the run.
    step: int
    seconds: float
    checkpoint: StoredFile | None = None
    #: s3:// address of the segment's losses.
    losses: str | None = None
    #: The config with the style weights that the run determined, if it had to determine them.
    config: dict[str, Any] | None = None
    photos: PhotoReport | None = None
    progress: TrainProgress | None = None
    result: Result | None = None
    failure: SegmentFailure | None = None


ChunkEvent = ChunkStarted | ChunkProgress | ChunkFinished
SegmentEvent = SegmentStarted | SegmentProgress | SegmentFinished
Event = ChunkEvent | SegmentEvent
_TYPES: dict[str, type[Event]] = {
    "chunk_started": ChunkStarted,
    "chunk_progress": ChunkProgress,
    "chunk_finished": ChunkFinished,
    "segment_started": SegmentStarted,
    "segment_progress": SegmentProgress,
    "segment_finished": SegmentFinished,
}
_TYPE = re.compile(rb'\s*\{\s*"type"\s*:\s*"([a-z_]+)"')
_NAMES = {cls: name for name, cls in _TYPES.items()}


def dump_event(event: Event) -> bytes:
    """Return an event as JSON."""
    cls = type(event)
    return b'{"type":"' + _NAMES[cls].encode() + b'",' + adapter_of(cls).dump_json(event)[1:]


def load_event(data: bytes) -> Event:
    """Return the event of `dump_event` JSON; raise ProtocolError if it is not an event."""
    # The type always comes first, so one pass over the JSON is enough.
    found = _TYPE.match(data)
    cls = None if found is None else _TYPES.get(found[1].decode())
    if cls is None:
        raise ProtocolError("An event has no known type.")
    return load(cls, data)
