"""The message that starts a training segment, a Celery task with plain JSON as its argument.

A run, the training of one style, is a chain of segments of about a minute. A segment starts from the last good
checkpoint and ends with a new one. Its attempt number is a fencing token, as for chunks: the scheduler accepts one end
of the newest attempt and ignores every other attempt, including the checkpoint it wrote.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nst_core.protocol.codec import dump, load

#: Name of the Celery task that works on one segment, and of its queue; its only argument is the segment as a dict.
TRAIN_TASK = "nst.train"


class Phase(StrEnum):
    """What a segment does."""

    TRAIN = "train"  # continues the training by some steps
    EVALUATE = "evaluate"  # makes a style from the last checkpoint and measures it on held-out photos


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
    #: A TrainConfig, from its `to_dict`; `steps` is the last step of the run.
    config: dict[str, Any]
    #: The painting, and the hash that its bytes must have.
    painting: StoredFile
    #: s3:// address of the prefix of the training photos.
    photos: str
    #: How many photos are kept out of the training, for the evaluation.
    held_out: int = 0
    #: Weights of a style, or a checkpoint of another run, to start from.
    initial: StoredFile | None = None
    #: s3:// addresses of photos to stylize every `sample_every` steps; 0 means never.
    samples: tuple[str, ...] = ()
    sample_every: int = 250
    #: The segment ends after the first step that ends later than this, in seconds.
    segment_s: float = 60.0
    #: The last good checkpoint; None at the start.
    checkpoint: StoredFile | None = None
    #: s3:// prefix, with a trailing slash, of the run's own files.
    place: str
    #: Use float32 without compilation: several times slower, with the same bytes on every CPU of the same kind.
    exact: bool = False
    #: Where the message belongs in a trace, as in the header of W3C Trace Context; None if nobody records it.
    traceparent: str | None = None


def dump_segment(segment: TrainSegment) -> dict[str, Any]:
    """Return a segment as JSON-ready values."""
    return dump(segment)


def load_segment(values: Any) -> TrainSegment:
    """Return the segment of `dump_segment` values; raise ProtocolError if a field is missing or wrong."""
    return load(TrainSegment, values)


def segment_checkpoint_uri(segment: TrainSegment, *, step: int, nonce: str) -> str:
    """Return the address of a segment's checkpoint. No other attempt, and no other delivery, writes to it."""
    return f"{segment.place}checkpoints/{step:08d}-{segment.attempt}-{nonce}.safetensors"


def losses_uri(segment: TrainSegment, *, nonce: str) -> str:
    """Return the address of a segment's losses, a CSV file with one line per step."""
    return f"{segment.place}losses/{segment.attempt}-{nonce}.csv"


def result_uri(segment: TrainSegment, *, nonce: str, suffix: str) -> str:
    """Return the address of a file of an evaluation, which has its attempt in its name like a checkpoint.

    The suffix of the weights is safetensors, that of the preview sheet jpg.
    """
    return f"{segment.place}result/{segment.attempt}-{nonce}.{suffix}"


def sample_uri(place: str, *, stem: str, step: int) -> str:
    """Return the address of a sample, a JPEG: a photo stylized by the network after `step` steps."""
    return f"{place}samples/{stem}_{step:08d}.jpg"
