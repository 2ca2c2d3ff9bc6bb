"""Data types of trainings: statuses of runs, their specs, and their prefix in storage."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nst_core.client.resources.runs import Parent, RunStatus
from nst_core.protocol.segments import Phase, StoredFile

#: The checkpoints of a run that are kept: this many of the newest, and one for each of this many steps.
KEPT_NEWEST = 3
KEPT_EVERY_STEPS = 1000
#: The folders in a run's place in storage.
CHECKPOINTS = "checkpoints/"
LOSSES = "losses/"
RESULTS = "result/"
SAMPLES = "samples/"
#: The checkpoint that a fork begins with, in its own place.
INITIAL = "initial.safetensors"
#: The key of a result that marks it as one of fewer steps than the run has now.
OUTDATED = "outdated"


class SegmentState(StrEnum):
    """What the current attempt of a run is doing."""

    NONE = "none"  # there is no segment: late reports of the last one are dropped
    DISPATCHED = "dispatched"  # a message is in Redis
    RUNNING = "running"  # a worker holds the lease


class Stop(StrEnum):
    """What a client has requested for a run with a live segment."""

    NONE = "none"
    PAUSE = "pause"
    CANCEL = "cancel"

    @property
    def ends_as(self) -> RunStatus:
        return RunStatus.PAUSED if self is Stop.PAUSE else RunStatus.CANCELLED


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What a client asked for, with everything resolved; nothing but its number of steps ever changes."""

    #: The scheduler's own copy of the painting.
    painting: StoredFile
    #: What the client called the painting: an s3:// address, or the name of a file.
    painting_source: str
    #: s3:// address of the prefix of the training photos, and their number when the run was submitted.
    photos: str
    photo_count: int
    held_out: int
    preset: str
    #: The family that the style joins.
    family: str | None = None
    #: Size of the strokes and weight of the style, as in the request. The config has both already.
    stroke: float
    strength: float | None
    #: For the segments: a TrainConfig as `to_dict` returns it.
    config: dict[str, Any]
    #: The weights that the training starts from, and their name in the request.
    initial: StoredFile | None = None
    initial_name: str | None = None
    samples: tuple[str, ...] = ()
    sample_every: int = 250
    publish: bool = True
    exact: bool = False
    #: For the style's card: title, artist, year, rights, data, ...
    about: dict[str, Any] = field(default_factory=dict)
    parent: Parent | None = None
    #: A sentence about what may make the result worse.
    warning: str | None = None
    #: The request in its trace, as in the header of W3C Trace Context; None if nobody records it.
    traceparent: str | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run in the database. Times are seconds since 1970, UTC."""

    id: str
    tenant: str
    #: The name of the style.
    name: str
    status: RunStatus
    spec: RunSpec
    #: Steps of the last good checkpoint, and the number of steps at which the run ends.
    step: int
    steps: int
    #: The fencing token: the number of segments that were sent.
    attempt: int
    live: SegmentState
    #: The phase of the last segment that was sent.
    phase: Phase | None
    claimed_at: float | None
    lease_until: float | None
    not_before: float
    #: Segments in a row that failed.
    failures: int
    worker: str | None
    #: The last reported TrainProgress.
    progress: dict[str, Any] | None
    #: The last reported PhotoReport.
    photos: dict[str, Any] | None
    #: The config with the resulting style weights.
    config: dict[str, Any] | None
    #: The last good checkpoint.
    checkpoint: StoredFile | None
    #: A Result that will become, or has become, a version of the style. Of a run that goes on after that, it is still
    #: the one before, and has the key OUTDATED, until there is a new one.
    result: dict[str, Any] | None
    #: The newest version of the style that the run has made.
    version: str | None
    stop: Stop
    error_code: str | None
    error_message: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    #: Seconds that segments took.
    train_seconds: float
    #: The run's place in storage may have objects that nothing needs.
    untidy: bool
    #: Its checkpoints and samples were deleted some time after its end, and it cannot be continued.
    emptied: bool = False

    @property
    def is_through(self) -> bool:
        """Whether there is a result of all its steps."""
        return self.result is not None and not self.result.get(OUTDATED)

    @property
    def has_all_steps(self) -> bool:
        return self.checkpoint is not None and self.step >= self.steps

    @property
    def next_phase(self) -> Phase:
        return Phase.EVALUATE if self.has_all_steps else Phase.TRAIN


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A segment whose end was accepted."""

    attempt: int
    phase: Phase
    from_step: int
    to_step: int
    worker: str
    seconds: float
    #: None if there was no checkpoint, or if it was not kept.
    checkpoint: StoredFile | None
    #: s3:// address of a CSV file.
    losses: str | None
    finished_at: float


def place_key(tenant: str, run_id: str) -> str:
    """Return the prefix of a run's own place in the bucket that tenants share."""
    return f"tenants/{tenant}/runs/{run_id}/"


def not_kept(segments: Sequence[Segment]) -> list[Segment]:
    """Return the segments whose checkpoint is not to be kept; all of the given ones have a checkpoint.

    The checkpoints of the newest segments are kept, and the first one at or after each multiple of KEPT_EVERY_STEPS.
    """
    ordered = sorted(segments, key=lambda segment: segment.attempt)
    kept = {segment.attempt for segment in ordered[-KEPT_NEWEST:]}
    reached = 0
    for segment in ordered:
        if segment.to_step // KEPT_EVERY_STEPS > reached:
            kept.add(segment.attempt)
            reached = segment.to_step // KEPT_EVERY_STEPS
    return [segment for segment in ordered if segment.attempt not in kept]


def attempt_of(name: str) -> int | None:
    """Return the attempt that made a checkpoint, losses or a result, by the file's name; None for names of other forms.

    The names are those of `segments.segment_checkpoint_uri`, `segments.losses_uri` and `segments.result_uri`.
    """
    parts = name.partition(".")[0].split("-")
    number = parts[-2] if len(parts) in (2, 3) else ""
    return int(number) if number.isdecimal() and number.isascii() else None
