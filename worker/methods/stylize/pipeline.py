"""The stages of every image: fetch, decode, stylize, encode, put."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import PurePosixPath
from threading import Semaphore
from typing import TypeVar

import numpy as np

from nst_core import images
from nst_core.clock import Clock
from nst_core.decoding import decoder
from nst_core.decoding.decoder import HasRoom, NoRoomError
from nst_core.errors import NstError
from nst_core.faces.detector import FaceDetector
from nst_core.faces.face import Face
from nst_core.faces.protection import protect
from nst_core.images import Limits, Picture
from nst_core.inference.blend import blend
from nst_core.inference.regions import EVERYWHERE, paint_region, seen
from nst_core.inference.strength import mixed_share
from nst_core.inference.strokes import carried_over, copy_to_paint, largest_photo, painted_size
from nst_core.inference.stylizer import Pixels, Stylizer
from nst_core.metrics import Observer, Stage, ignore
from nst_core.protocol.chunks import ChunkItem, StyleRef, StylizeChunk
from nst_core.protocol.events import ItemOutcome
from nst_core.settings import DecoderSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.system.budget import Budget
from worker.methods.results import Outdated, Results
from worker.methods.stylize.masks import Masks, Weights
from worker.runtime.engine import Engine
from worker.runtime.outcomes import InterruptedWorkError, Recovered, Stopwatch, failure, outcome_of, success
from worker.settings import WorkerSettings

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What the images of one chunk share."""

    chunk: StylizeChunk
    #: The networks of the chunk's style and of its regions, in their order.
    networks: tuple[Stylizer, ...]
    going: Callable[[], bool]
    outdated: Outdated
    #: Called when an image has gone through one of several networks.
    touch: Callable[[], object]
    #: Position among the chunks of this process: older chunks go first.
    order: int
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

    def check(self) -> None:
        """Raise InterruptedWorkError if no further image should begin."""
        if not self.going():
            raise InterruptedWorkError


@dataclass(frozen=True, kw_only=True)
class _Image:
    """An image that is being processed."""

    run: _Run
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


class Pipeline:
    """Takes the images of chunks through all stages; may be used by several threads, one chunk each.

    An image in flight has a thread of its own, which mostly waits: for the storage, for a slot, for the engine. That
    way the stages of one image read from top to bottom, and the stages of different images still overlap.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        blobs: BlobStore,
        engine: Engine,
        recovered: Recovered = lambda problem: False,
        budget_bytes: int = 2**63,
        observe: Observer = ignore,
        clock: Clock = time.perf_counter,
    ) -> None:
        """`recovered` tells failures of an image from those of the process.

        A network may take at most `budget_bytes` of memory for one photo. `observe` receives the time of each stage.
        """
        self._settings = settings
        self._budget_bytes = budget_bytes
        #: Bytes of files that are read ahead, of all chunks.
        self._ahead = Budget(settings.lookahead_bytes)
        #: Pixels of photos and results in memory, of all chunks.
        self._pixels = Budget(settings.pixels_ahead)
        self._recovered = recovered
        self._blobs = blobs
        self._masks = Masks(settings, blobs=blobs, ahead=self._ahead, recovered=recovered)
        self._results = Results(blobs)
        self._engine = engine
        #: Loaded for the first photo whose faces are to be found, on the engine's thread.
        self._detector = cache(FaceDetector)
        self._observe = observe
        self._clock = clock
        self._orders = count()
        self._decoders = max(1, DecoderSettings().processes // max(1, settings.concurrency))
        threads = max(1, settings.concurrency * settings.lookahead)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="image")

    def run(
        self,
        chunk: StylizeChunk,
        stylize: Stylizer,
        *,
        regions: Sequence[Stylizer] = (),
        going: Callable[[], bool],
        outdated: Outdated = lambda: False,
        touch: Callable[[], object] = lambda: None,
    ) -> Iterator[ItemOutcome]:
        """Yield the outcomes of a chunk's items as they come, in any order.

        `regions` are the networks of the chunk's regions. Once `going` returns False, the image in the network and
        those after it are completed, and all others have no outcome. An image that cannot be stylized has a failed
        outcome and does not disturb the others; if a mask of all cannot be used, all have failed. `outdated` returns
        whether a newer attempt at the chunk exists, whose results must not be replaced. `touch` is called between two
        styles of an image: a large one takes minutes in each.
        """
        try:
            weights = self._masks.of_all(chunk)
        except NstError as error:
            yield from (failure(item, error) for item in chunk.items)
            return
        limit = self._settings.max_network_pixels
        networks = (stylize, *regions)
        most = min(largest_photo(each.max_pixels(self._budget_bytes), chunk.options.stroke) for each in networks)
        run = _Run(
            chunk=chunk,
            networks=networks,
            going=going,
            outdated=outdated,
            touch=touch,
            order=next(self._orders),
            decoding=Semaphore(self._decoders),
            max_pixels=most if limit is None else min(most, limit),
            weights=weights,
        )
        items = iter(chunk.items)
        pending: set[Future[ItemOutcome | None]] = set()
        while True:
            while going() and len(pending) < self._settings.lookahead and (item := next(items, None)):
                pending.add(self._threads.submit(copy_context().run, self._process, run, item))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (outcome for future in done if (outcome := future.result()))

    def close(self) -> None:
        """End the threads; call it when no chunk is in flight."""
        self._threads.shutdown()

    def _process(self, run: _Run, item: ChunkItem) -> ItemOutcome | None:
        """Return the outcome of one item, or None if it was not begun."""
        image = _Image(run=run, item=item, observe=self._observe, clock=self._clock)
        return outcome_of(
            lambda: self._complete(image),
            job_id=run.chunk.job_id,
            item=item,
            watch=image.watch,
            recovered=self._recovered,
        )

    def _complete(self, image: _Image) -> ItemOutcome:
        run, item = image.run, image.item
        output = BlobUri.parse(item.output)
        suffix = PurePosixPath(output.key).suffix
        content_type = images.content_type(suffix)  # first: do not spend time on an image that cannot be saved
        with ExitStack() as masks, ExitStack() as pixels:
            weights = self._weights(image, masks)
            picture = self._painted(image, self._load(image, pixels), weights)
            with image.stage(Stage.ENCODE):
                data = images.encode(picture, suffix, quality=run.chunk.options.quality)
            with image.stage(Stage.PUT):
                self._results.put(output, data, content_type=content_type, outdated=run.outdated)
            return success(item, picture, data, ms=image.watch.ms, choice=run.networks[0].choice)

    def _load(self, image: _Image, pixels: ExitStack) -> Picture:
        """Return a photo, and hold room for its pixels until `pixels` is closed."""
        image.run.check()
        with ExitStack() as file:
            data = self._fetch(image, file)
            image.run.check()

            def has_room(count: int) -> bool:
                pixels.close()  # of an earlier try
                room = _room(image.run, count)
                if free := self._pixels.take(room, wait=False):
                    pixels.callback(self._pixels.give_back, room)
                return free

            try:
                return self._decode(image, data, has_room)
            except NoRoomError as error:
                # This may take minutes, and keeps no decoder from other work.
                pixels.enter_context(self._pixels.hold(_room(image.run, error.pixels)))
            image.run.check()
            return self._decode(image, data, lambda count: True)

    def _decode(self, image: _Image, data: bytes, has_room: HasRoom) -> Picture:
        run = image.run
        limits = Limits(
            max_pixels=self._settings.max_pixels,
            max_px=run.chunk.options.max_px,
            max_result_pixels=run.max_pixels,
        )
        with run.decoding, image.stage(Stage.DECODE):
            return decoder.decode(data, limits, has_room=has_room)

    def _weights(self, image: _Image, masks: ExitStack) -> Weights:
        """Return the weights of a photo, and hold room for its own masks until `masks` is closed.

        Nothing else may be held, since this waits.
        """
        item = image.item
        if item.mask is None and not any(item.regions):
            return image.run.weights
        image.run.check()
        masks.enter_context(self._masks.room(item))
        image.run.check()
        with image.watch:
            return self._masks.of_photo(item, image.run.weights)

    def _painted(self, image: _Image, picture: Picture, weights: Weights) -> Picture:
        """Return the stylized picture: the chunk's style, then each region over it, as far as they are seen."""
        options, weight = image.run.chunk.options, weights.photo
        if options.strength == 0.0:
            return picture
        if options.faces == "protect":
            height, width = picture.rgb.shape[:2]
            faces = self._on_engine(image, lambda: self._faces(image, picture.rgb))
            with image.watch:
                weight = protect(faces, height=height, width=width, weight=weight)
        with image.watch:
            (lowest, _), *regions = seen((EVERYWHERE, *weights.regions))
        rgb = self._in_style(image, picture.rgb, lowest)
        for place, (region, _) in enumerate(regions):
            image.run.touch()
            painted = self._in_style(image, picture.rgb, region)
            with image.watch:
                rgb = paint_region(rgb, painted, [each for _, each in regions[place:]])
            del painted  # before the next one is painted
        with image.watch:
            rgb = blend(picture.rgb, rgb, weight=weight)
        return Picture(rgb=rgb, alpha=picture.alpha, warning=picture.warning)

    def _in_style(self, image: _Image, photo: Pixels, place: int) -> Pixels:
        """Return a photo in one of the run's styles, with the strength and the colours that the options ask for.

        The network paints a copy of another size if the strokes are to be so.
        """
        network, options = image.run.networks[place], image.run.chunk.options
        height, width = photo.shape[:2]
        size = painted_size(height, width, options.stroke, min_side_px=network.min_side_px)

        def paint(rgb: Pixels) -> Pixels:
            return self._on_engine(image, lambda: _stylize(image, network, rgb))

        if size == (height, width):
            rgb = paint(photo)
        else:
            with image.watch:
                copy = copy_to_paint(photo, size)
            painted = paint(copy)
            with image.watch:
                rgb = carried_over(photo, copy, painted)
        with image.watch:
            strength = mixed_share(options.strength, fades=image.run.styles[place].fades)
            return blend(photo, rgb, strength=strength, preserve_color=options.preserve_color)

    def _faces(self, image: _Image, rgb: Pixels) -> tuple[Face, ...]:
        """Return the faces on a photo, on the engine's thread."""
        image.run.check()
        with image.watch:
            return self._detector()(rgb)

    def _on_engine(self, image: _Image, call: Callable[[], _T]) -> _T:
        """Return what a call returns on the engine's thread, when it is the image's turn."""
        return self._engine.submit(
            call, order=(image.run.order, image.item.index), lane=image.run.chunk.job_id
        ).result()

    def _fetch(self, image: _Image, held: ExitStack) -> bytes:
        """Return a photo's file, and hold room for its bytes until `held` is closed."""
        with image.stage(Stage.FETCH) as waits:

            def wait_for_room(nbytes: int) -> None:
                held.close()  # of an earlier try
                with waits:
                    held.enter_context(self._ahead.hold(nbytes))

            return self._blobs.get(
                BlobUri.parse(image.item.input), max_bytes=self._settings.max_input_bytes, on_size=wait_for_room
            )


def _room(run: _Run, pixels: int) -> int:
    """Return the room of a photo with so many pixels: with regions there are three pictures of it instead of two."""
    return pixels * 3 // 2 if run.chunk.options.regions else pixels


def _stylize(image: _Image, network: Stylizer, rgb: Pixels) -> Pixels:
    """Stylize one H x W x 3 photo, on the engine's thread."""
    image.run.check()
    with image.stage(Stage.STYLIZE):
        # Always one image: a larger batch may sum in another order, and a chunk that is retried after a crash is
        # grouped differently, although its images must come out the same to the last byte.
        result: Pixels = network(rgb[np.newaxis])[0]
    return result
