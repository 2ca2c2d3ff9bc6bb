"""The way of every image: fetch, decode, stylize, encode, put."""

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import PurePosixPath
from threading import Semaphore

import numpy as np

from nst_core import images
from nst_core.decoding import decoder
from nst_core.images import Picture
from nst_core.protocol.chunks import ChunkItem, StylizeChunk
from nst_core.protocol.events import ItemOutcome
from nst_core.settings import DecoderSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.system.budget import ByteBudget
from worker.methods.results import Outdated, Results
from worker.runtime.engine import Engine
from worker.runtime.health import Stylize
from worker.runtime.outcomes import InterruptedWorkError, Recovered, Stopwatch, outcome_of, success
from worker.settings import WorkerSettings


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What the images of one chunk share."""

    chunk: StylizeChunk
    stylize: Stylize
    going: Callable[[], bool]
    outdated: Outdated
    #: Position among the chunks of this process: older chunks go first.
    order: int
    #: Slots for decoded images, so that few large photos wait as pixels.
    decoded: Semaphore
    #: Images that are decoded at once: a part of the processes that do it, so that files that keep them busy for as
    #: long as they are let hold up no other chunk.
    decoding: Semaphore
    #: Pixels that the network takes at once.
    max_pixels: int | None

    def check(self) -> None:
        """Raise InterruptedWorkError where no image is to be begun any more."""
        if not self.going():
            raise InterruptedWorkError


class Pipeline:
    """Takes the images of chunks through all stages; may be used by several threads, one chunk each.

    An image in flight has a thread of its own, which mostly waits: for the storage, for a slot, for the engine. So
    the way of an image reads from top to bottom, and the stages of different images still overlap.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        blobs: BlobStore,
        engine: Engine,
        recovered: Recovered = lambda problem: False,
        limit: Callable[[Stylize], int | None] = lambda stylize: None,
    ) -> None:
        """`recovered` tells images that failed from a process that was ill.

        `limit` says how many pixels the memory is enough for with a network.
        """
        self._settings = settings
        self._limit = limit
        #: Bytes of files that are read ahead, of all chunks.
        self._ahead = ByteBudget(settings.lookahead_bytes)
        self._recovered = recovered
        self._blobs = blobs
        self._results = Results(blobs)
        self._engine = engine
        self._orders = count()
        self._decoders = max(1, DecoderSettings().processes // max(1, settings.concurrency))
        threads = max(1, settings.concurrency * settings.lookahead)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="image")

    def run(
        self,
        chunk: StylizeChunk,
        stylize: Stylize,
        *,
        going: Callable[[], bool],
        outdated: Outdated = lambda: False,
    ) -> Iterator[ItemOutcome]:
        """Yield the outcomes of a chunk's items as they come, in any order.

        Once `going` returns False, the image in the network and those behind it are completed; all others have
        no outcome. An image that cannot be stylized has a failed outcome and never disturbs another. `outdated` tells
        whether a newer attempt at the chunk exists, whose results are not to be replaced.
        """
        slots = Semaphore(self._settings.decoded_ahead)
        limits = [limit for limit in (self._limit(stylize), self._settings.max_network_pixels) if limit is not None]
        run = _Run(
            chunk=chunk,
            stylize=stylize,
            going=going,
            outdated=outdated,
            order=next(self._orders),
            decoded=slots,
            decoding=Semaphore(self._decoders),
            max_pixels=min(limits, default=None),
        )
        items = iter(chunk.items)
        pending: set[Future[ItemOutcome | None]] = set()
        while True:
            while going() and len(pending) < self._settings.lookahead and (item := next(items, None)):
                pending.add(self._threads.submit(self._process, run, item))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (outcome for future in done if (outcome := future.result()))

    def close(self) -> None:
        """End the threads; to be called when no chunk is in flight."""
        self._threads.shutdown()

    def _process(self, run: _Run, item: ChunkItem) -> ItemOutcome | None:
        """Return the outcome of one item, or None where it was not begun."""
        watch = Stopwatch()
        return outcome_of(
            lambda: self._complete(run, item, watch),
            job_id=run.chunk.job_id,
            item=item,
            watch=watch,
            recovered=self._recovered,
        )

    def _complete(self, run: _Run, item: ChunkItem, watch: Stopwatch) -> ItemOutcome:
        output = BlobUri.parse(item.output)
        suffix = PurePosixPath(output.key).suffix
        images.content_type(suffix)  # no time is spent on an image that could not be saved
        picture = self._load_and_stylize(run, item, watch)
        with watch:
            data = images.encode(picture, suffix, quality=run.chunk.options.quality)
            self._results.put(output, data, content_type=images.content_type(suffix), outdated=run.outdated)
        return success(item, picture, data, ms=watch.ms)

    def _load_and_stylize(self, run: _Run, item: ChunkItem, watch: Stopwatch) -> Picture:
        run.check()
        with ExitStack() as held, ExitStack() as slot:
            data = self._fetch(item, held, watch)
            slot.enter_context(run.decoded)
            run.check()
            with run.decoding, watch:
                picture = decoder.decode(
                    data,
                    max_pixels=self._settings.max_pixels,
                    max_px=run.chunk.options.max_px,
                    max_result_pixels=run.max_pixels,
                )
            # The file is not needed any more: there is room for the next one.
            del data
            held.close()
            return self._engine.submit(
                lambda: _stylize(run, picture, watch), order=(run.order, item.index), lane=run.chunk.job_id
            ).result()

    def _fetch(self, item: ChunkItem, held: ExitStack, watch: Stopwatch) -> bytes:
        """Return a photo's file, for whose bytes there is room until `held` is closed."""
        waited = Stopwatch()

        def wait_for_room(nbytes: int) -> None:
            held.close()  # of an earlier try
            with waited:
                held.enter_context(self._ahead.hold(nbytes))

        with watch:
            data = self._blobs.get(
                BlobUri.parse(item.input), max_bytes=self._settings.max_input_bytes, on_size=wait_for_room
            )
        watch.less(waited)
        return data


def _stylize(run: _Run, picture: Picture, watch: Stopwatch) -> Picture:
    """Stylize one picture, on the engine's thread."""
    run.check()
    options = run.chunk.options
    with watch:
        # Always one image: a larger batch may sum in another order, and a chunk that is tried again after a crash is
        # grouped differently, yet its images must come out the same to the last byte.
        result = run.stylize(picture.rgb[np.newaxis], strength=options.strength, preserve_color=options.preserve_color)
    return Picture(rgb=result[0], alpha=picture.alpha, warning=picture.warning)
