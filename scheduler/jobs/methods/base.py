"""The base class of methods: what the scheduler needs to know about one way to stylize photos."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from nst_core.client.resources.jobs import JobRequest
from nst_core.protocol.chunks import ChunkMessage, Region, StyleRef
from nst_core.storage.blobs import BlobUri
from scheduler.domain.errors import RequestInvalidError
from scheduler.domain.jobs import JobSpec
from scheduler.domain.looks import Look
from scheduler.settings import SchedulerSettings


@dataclass(frozen=True, kw_only=True)
class Window:
    """How many chunks of a method wait in its queue, and for how long."""

    #: The maximum number of chunks. It is also limited to the number of workers: a chunk may be a minute of work, and
    #: an urgent job that comes later would wait for all of them.
    chunks: int
    #: A chunk that no worker has started after this time, in seconds, is sent again.
    lease_s: float


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """The result of a method's planning of a request."""

    #: The job has an item for each photo and style.
    styles: tuple[StyleRef, ...]
    #: Parts of the photos in other styles.
    regions: tuple[Region, ...] = ()
    #: The looks of the styles by their names, if the request wants them.
    looks: Mapping[str, Look] = field(default_factory=dict)
    #: Whatever else the method needs to know later, JSON-ready. It is stored with the job and never changes.
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A stored file that items need besides their photos."""

    #: The names of the styles whose items need it.
    styles: tuple[str, ...]
    uri: str
    #: JSON pointer of the field in the request that names it.
    pointer: str


class Lookup(Protocol):
    """What a method can look up for the tenant whose request it resolves."""

    def styles(self, texts: Sequence[str]) -> tuple[StyleRef, ...]:
        """Return the styles that `/styles` names; raise RequestInvalidError if one does not exist."""
        ...

    def look(self, style: StyleRef, *, pointer: str) -> Look:
        """Return the look of a style, or of the largest of a blend; raise RequestInvalidError for one that is wrong."""
        ...

    def style(self, text: str, *, pointer: str) -> StyleRef:
        """Return a style or a blend of styles; raise RequestInvalidError if one does not exist."""
        ...

    def readable(self, text: str, *, pointer: str) -> BlobUri:
        """Return the address of an object; raise RequestInvalidError unless the tenant's jobs may read it."""
        ...


class Method(ABC):
    """One way to stylize photos. Stateless: a job's own values are in its `JobSpec`."""

    #: The name in requests, in the database and in reports; at most 16 characters.
    name: ClassVar[str]
    #: The Celery queue of the method, which is also the name of its task.
    queue: ClassVar[str]
    #: How many items a chunk has. None: as many as the measured times suggest.
    chunk_items: ClassVar[int | None] = None
    #: All styles take about the same time, so the times of one are a good guess for another that was never measured.
    styles_alike: ClassVar[bool] = False
    #: A line of a manifest may name masks.
    takes_masks: ClassVar[bool] = False
    #: Workers save checkpoints of items, which are removed at the end of the job.
    has_checkpoints: ClassVar[bool] = False
    #: JSON pointer of the field in a request that limits the longest side of results.
    longest_side_pointer: ClassVar[str] = "/output/max_px"

    def window(self, settings: SchedulerSettings) -> Window:
        """Return how many chunks may wait in the queue."""
        return Window(chunks=settings.dispatch_window, lease_s=settings.dispatch_lease_s)

    @abstractmethod
    def resolve(self, request: JobRequest, lookup: Lookup) -> Resolved:
        """Return what a job does; raise RequestInvalidError if the request has fields that do not fit the method."""

    @abstractmethod
    def message(self, head: ChunkMessage, spec: JobSpec, style: StyleRef, *, scratch: str) -> ChunkMessage:
        """Return the message for a chunk, whose items all have the same style.

        `head` has the fields that all messages share. `scratch` is the s3:// prefix, with a trailing slash, of the
        job's previews and checkpoints.
        """

    def longest_side_px(self, spec: JobSpec) -> int | None:
        """Return the maximum length of a result's longest side in pixels; None if it is the photo's own.

        It is the length before the result is enlarged (`upscale`).
        """
        return spec.options.max_px

    def sources(self, spec: JobSpec) -> Sequence[Source]:
        """Return the files besides photos and weights that a dry run looks for in the storage."""
        return ()

    def report(self, spec: JobSpec, style: StyleRef) -> dict[str, Any]:
        """Return the fields of results.jsonl that say how the items of a style were made."""
        return {"style_version": style.version}

    def shown(self, spec: JobSpec) -> dict[str, Any]:
        """Return the values of the method's own fields of a job in the API."""
        return {}


def require(good: bool, message: str, pointer: str) -> None:
    """Raise RequestInvalidError unless a condition holds."""
    if not good:
        raise RequestInvalidError(message, pointer=pointer)
