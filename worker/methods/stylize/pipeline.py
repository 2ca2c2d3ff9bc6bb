"""The stages of every image: fetch, decode, stylize, encode, put."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from contextvars import copy_context
from itertools import count
from pathlib import PurePosixPath
from threading import Semaphore
from typing import TypeVar

from nst_core import images
from nst_core.clock import Clock
from nst_core.decoding import decoder
from nst_core.decoding.decoder import HasRoom, NoRoomError
from nst_core.errors import NstError
from nst_core.images import Limits, Picture
from nst_core.inference.strokes import largest_photo
from nst_core.inference.stylizer import Stylizer
from nst_core.metrics import Observer, Stage, ignore
from nst_core.protocol.chunks import ChunkItem, StylizeChunk, StylizeOptions
from nst_core.protocol.events import ItemOutcome
from nst_core.settings import DecoderSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.system.budget import Budget, Share
from worker.methods.results import Outdated, Results
from worker.methods.stylize.image import Image, Run
from worker.methods.stylize.masks import Masks, Weights
from worker.methods.stylize.painter import Painter
from worker.methods.stylize.place import Place, Traffic
from worker.runtime.engine import Engine
from worker.runtime.outcomes import Recovered, failure, outcome_of, success
from worker.settings import WorkerSettings

_T = TypeVar("_T")


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
        self._paint = Painter(engine)
        self._observe = observe
        self._clock = clock
        self._orders, self._traffic = count(), Traffic()
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
        whether a newer attempt at the chunk exists, whose results must not be replaced. `touch` is called before each
        pass of an image through a network, and regularly while an image waits for something that gets on.
        """
        place = Place(next(self._orders), touch=touch, traffic=self._traffic)
        try:
            weights = self._masks.of_all(chunk, place)
        except NstError as error:
            yield from (failure(item, error) for item in chunk.items)
            return
        limit = self._settings.max_network_pixels
        networks, options = (stylize, *regions), chunk.options
        most = min(largest_photo(each.max_pixels(self._budget_bytes), options.stroke) for each in networks)
        # The result too may have no more pixels than a photo.
        most = min(most, self._settings.max_pixels // options.upscale**2)
        run = Run(
            chunk=chunk,
            networks=networks,
            going=going,
            outdated=outdated,
            place=place,
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

    def _process(self, run: Run, item: ChunkItem) -> ItemOutcome | None:
        """Return the outcome of one item, or None if it was not begun."""
        image = Image(run=run, item=item, observe=self._observe, clock=self._clock)
        return outcome_of(
            lambda: self._complete(image),
            job_id=run.chunk.job_id,
            item=item,
            watch=image.watch,
            recovered=self._recovered,
            waits=run.touch,
        )

    def _complete(self, image: Image) -> ItemOutcome:
        run, item = image.run, image.item
        output = BlobUri.parse(item.output)
        suffix = PurePosixPath(output.key).suffix
        content_type = images.content_type(suffix)  # first: do not spend time on an image that cannot be saved
        with ExitStack() as masks, run.place.share(self._pixels) as pixels:
            weights = self._weights(image, masks)
            picture = self._paint(image, self._load(image, pixels), weights)
            with image.stage(Stage.ENCODE):
                data = images.encode(picture, suffix, quality=run.chunk.options.quality)
            with image.stage(Stage.PUT):
                self._results.put(output, data, content_type=content_type, outdated=run.outdated, touch=run.touch)
            return success(item, picture, data, ms=image.watch.ms, choice=run.networks[0].choice)

    def _load(self, image: Image, pixels: Share) -> Picture:
        """Return a photo, and hold room for its pixels."""
        run = image.run
        run.check()
        with run.place.share(self._ahead) as file:
            data = self._fetch(image, file)
            run.check()
            options = run.chunk.options
            try:
                return self._decode(image, data, lambda count: pixels.take(room_of(options, count), wait=False))
            except NoRoomError as error:
                # This may take minutes, and keeps no decoder from other work.
                pixels.take(room_of(options, error.pixels))
            run.check()
            return self._decode(image, data, lambda count: True)

    def _decode(self, image: Image, data: bytes, has_room: HasRoom) -> Picture:
        run, suffix = image.run, PurePosixPath(BlobUri.parse(image.item.output).key).suffix
        limits = Limits(
            max_pixels=self._settings.max_pixels,
            max_px=run.chunk.options.max_px,
            max_result_pixels=run.max_pixels,
            # Before it is painted: an enlarged result may be too long for its format.
            max_result_side_px=images.longest_side_px(suffix) // run.chunk.options.upscale,
        )
        with run.decoding, image.stage(Stage.DECODE):
            return decoder.decode(data, limits, has_room=has_room)

    def _weights(self, image: Image, masks: ExitStack) -> Weights:
        """Return the weights of a photo, and hold room for its own masks until `masks` is closed.

        Nothing else may be held, since this waits.
        """
        item = image.item
        if item.mask is None and not any(item.regions):
            return image.run.weights
        image.run.check()
        masks.enter_context(self._masks.room(item, image.run.place))
        image.run.check()
        with image.watch:
            return self._masks.of_photo(item, image.run.weights, image.run.place)

    def _fetch(self, image: Image, file: Share) -> bytes:
        """Return a photo's file, and hold room for its bytes."""
        with image.stage(Stage.FETCH) as waits:

            def wait_for_room(nbytes: int) -> None:
                with waits:
                    file.take(nbytes)

            return self._blobs.get(
                BlobUri.parse(image.item.input),
                max_bytes=self._settings.max_input_bytes,
                on_size=wait_for_room,
                on_piece=image.run.touch,
            )


def room_of(options: StylizeOptions, pixels: int) -> int:
    """Return the room of a photo with so many pixels: that of two pictures of it.

    There is one more with regions and one with planes. While the network paints there is one more with strokes of
    several sizes; for strokes of another size it paints a copy, with planes or without. Then there is one with
    faces in fine strokes. An enlarged result is beside the photo and the painted picture.
    """
    has_planes = options.forms == "planes"
    painting: float = options.stroke == "varied"
    if isinstance(options.stroke, float) and options.stroke != 1:
        painting = (2 + has_planes) / options.stroke**2
    pictures = 2 + bool(options.regions) + has_planes + max(painting, options.faces == "fine")
    if options.upscale > 1:
        pictures = max(pictures, 2 + options.upscale**2)
    return int(pixels * pictures / 2)
