"""What scheduler and workers say to each other about trainings: one Celery task and three events, plain JSON.

A run, the training of one style, is a chain of segments of about a minute. A segment begins with the last good
checkpoint and ends with a new one. Its attempt number is the fencing token, as for chunks: the scheduler takes one
end of the attempt that it has sent last, and whatever another says is dropped, the checkpoint that it wrote included.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: Name of the Celery task that works at one segment, and of its queue; its only argument is the segment as a dict.
TRAIN_TASK = "nst.train"


class Phase(StrEnum):
    """What a segment does."""

    TRAIN = "train"  # takes the training some steps further
    EVALUATE = "evaluate"  # makes a style of the last checkpoint, and measures it on photos that it was not trained on


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """An object in storage."""

    #: s3:// address.
    uri: str
    #: SHA-256 of its bytes, in hex.
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TrainSegment:
    """The argument of the training task."""

    run_id: str
    attempt: int
    phase: Phase = Phase.TRAIN
    #: A TrainConfig, as its `to_dict` gives it; `steps` is where the run is to end.
    config: dict[str, Any]
    #: The style weights of the config are scaled so that style and content pull alike at the start, times this;
    #: None: they are taken as they are.
    strength: float | None = None
    #: s3:// address of the painting, and what its bytes must be.
    painting: StoredFile
    #: s3:// address of the prefix of the training photos.
    photos: str
    #: So many of the photos are left out of the training, for the evaluation.
    held_out: int = 0
    #: Weights of a style, or a checkpoint of another run, to begin with.
    initial: StoredFile | None = None
    #: s3:// addresses of photos to stylize every `sample_every` steps; 0: never.
    samples: tuple[str, ...] = ()
    sample_every: int = 250
    #: The segment ends after the step at which so much time is over.
    segment_s: float = 60.0
    #: The last good checkpoint; None at the start.
    checkpoint: StoredFile | None = None
    #: s3:// address that ends in a slash: the run's own place.
    place: str
    #: In float32 and not compiled: several times slower, and the result has the same bytes on every CPU of a kind.
    exact: bool = False


def checkpoint_uri(segment: TrainSegment, *, step: int, nonce: str) -> str:
    """Return where a segment puts its checkpoint: a place that no other attempt, and no other delivery, writes to."""
    return f"{segment.place}checkpoints/{step:08d}-{segment.attempt}-{nonce}.safetensors"


def losses_uri(segment: TrainSegment, *, nonce: str) -> str:
    """Return where a segment puts its losses, a CSV file with a line a step."""
    return f"{segment.place}losses/{segment.attempt}-{nonce}.csv"


def sample_uri(place: str, *, stem: str, step: int) -> str:
    """Return where a sample is, a JPEG: what the network made of a photo after so many steps."""
    return f"{place}samples/{stem}_{step:08d}.jpg"


@dataclass(frozen=True, kw_only=True)
class SegmentStarted:
    """A worker has begun a segment."""

    run_id: str
    attempt: int
    worker: str


@dataclass(frozen=True, kw_only=True)
class TrainProgress:
    """How far a run has come."""

    #: Steps that are done since the run began.
    step: int
    #: Means of the weighted losses of the last steps, by term; finite.
    losses: dict[str, float] = field(default_factory=dict)
    #: Of this worker, at the last steps; 0 where it is not known yet.
    steps_per_s: float = 0.0
    #: What the worker does besides training, such as "compiling", for people.
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class SegmentProgress:
    """A worker still works at a segment; renews its lease. May be lost."""

    run_id: str
    attempt: int
    progress: TrainProgress | None = None


@dataclass(frozen=True, kw_only=True)
class PhotoReport:
    """What a run has found of its training photos."""

    #: Photos that are trained on, skipped ones included, and those that are held out.
    count: int
    held_out: int
    skipped: int = 0
    #: Why photos were skipped, by name; the first hundred.
    reasons: dict[str, str] = field(default_factory=dict)
    #: One sentence if the photos are so few that the result may suffer.
    warning: str | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """The style that a run has made."""

    weights: StoredFile
    #: s3:// address of the preview sheet, a JPEG.
    sheet: str
    #: What was measured on held-out photos; JSON-ready.
    evaluation: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SegmentFailure:
    """Why a segment ended before its time."""

    code: str
    message: str
    #: The error may pass: the scheduler tries again a few times.
    retryable: bool = False


@dataclass(frozen=True, kw_only=True)
class SegmentFinished:
    """A worker is through with a segment.

    After a training phase `checkpoint` is the new last good one, unless `failure` is set; a segment that was stopped
    before its time, or before its first step, has what it had come to, maybe none. After an evaluation `result` is set.
    """

    run_id: str
    attempt: int
    worker: str
    #: Steps that are done since the run began.
    step: int
    seconds: float
    checkpoint: StoredFile | None = None
    #: s3:// address of the segment's losses.
    losses: str | None = None
    #: The config with the style weights as they came out where they were to be found.
    config: dict[str, Any] | None = None
    photos: PhotoReport | None = None
    progress: TrainProgress | None = None
    result: Result | None = None
    failure: SegmentFailure | None = None


SegmentEvent = SegmentStarted | SegmentProgress | SegmentFinished
