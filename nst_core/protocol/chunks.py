"""The messages that start the work on a chunk: a Celery task for each method, with plain JSON as its argument.

A message is only a hint with ids, keys and options; the scheduler's database is the truth. It carries the chunk's
attempt number, a fencing token: the scheduler ignores events of an attempt that it has replaced. Unknown fields are
ignored, so that schedulers and workers of two versions can run side by side.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from nst_core.protocol.codec import dump, load

#: The folder of checkpoints below a job's scratch prefix.
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


def item_checkpoint_uri(scratch: str, index: int) -> str:
    """Return the s3:// address of the checkpoint of an item in its job's place."""
    return f"{scratch}{CHECKPOINTS}{index}.safetensors"


_Chunk = TypeVar("_Chunk", bound=ChunkMessage)


def dump_chunk(chunk: ChunkMessage) -> dict[str, Any]:
    """Return a chunk as JSON-ready values."""
    return dump(chunk)


def load_chunk(cls: type[_Chunk], values: Any) -> _Chunk:
    """Return the chunk of `dump_chunk` values; raise ProtocolError if a field is missing or wrong."""
    return load(cls, values)
