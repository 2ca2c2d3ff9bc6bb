"""An image on its way through the stages, and what the images of a chunk share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Semaphore

from nst_core.clock import Clock
from nst_core.inference.stylizer import Stylizer
from nst_core.metrics import Observer, Stage
from nst_core.protocol.chunks import ChunkItem, StyleRef, StylizeChunk
from worker.methods.results import Outdated
from worker.methods.stylize.masks import Weights
from worker.methods.stylize.place import Place
from worker.runtime.outcomes import InterruptedWorkError, Stopwatch


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the images of one chunk share."""

    chunk: StylizeChunk
    #: The networks of the chunk's style and of its regions, in their order.
    networks: tuple[Stylizer, ...]
    going: Callable[[], bool]
    outdated: Outdated
    #: Among the chunks of this process.
    place: Place
    #: Slots for images that are being decoded. A chunk may use a part of the decoder processes only, so that files
    #: that keep decoders busy for a long time do not hold up other chunks.
    decoding: Semaphore
    #: The most pixels of a photo, so that the networks can take what they paint.
    max_pixels: int
    #: From the masks of photos that have none of their own.
    weights: Weights

    @property
    def styles(self) -> tuple[StyleRef, ...]:
        """The styles of the networks."""
        return self.chunk.style, *(region.style for region in self.chunk.options.regions)

    @property
    def order(self) -> int:
        """The position among the chunks of this process: older chunks go first."""
        return self.place.order

    def touch(self) -> None:
        """Record that an image gets on: before each pass through a network, and during it."""
        self.place.touch()

    def check(self) -> None:
        """Raise InterruptedWorkError if no further image should begin."""
        if not self.going():
            raise InterruptedWorkError


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image that is being processed."""

    run: Run
    item: ChunkItem
    observe: Observer
    clock: Clock
    #: Measures the time of all stages, without the waits between them.
    watch: Stopwatch = field(default_factory=Stopwatch)

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[Stopwatch]:
        """Measure a stage; yield a stopwatch for waits inside it that are no part of it."""
        started, waits = self.clock(), Stopwatch(self.clock)
        try:
            with self.watch:
                yield waits
        finally:
            self.watch.less(waits)
        self.observe(stage, self.clock() - started - waits.seconds)
