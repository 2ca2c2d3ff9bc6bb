"""The slow method: each photo's own pixels are optimised, iteration by iteration (Gatys et al. 2016)."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import PurePosixPath
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nst_core import images
from nst_core.clock import Clock
from nst_core.decoding import decoder
from nst_core.errors import BlobError, ImageError, WeightsError
from nst_core.gatys.config import GatysConfig
from nst_core.gatys.costs import optimize_max_pixels
from nst_core.gatys.optimizer import GatysOptimizer, Iterate, StyleSource
from nst_core.images import Limits, Picture
from nst_core.nets.tensors import to_tensor, to_uint8
from nst_core.protocol.chunks import ChunkItem, OptimizeChunk, item_checkpoint_uri, preview_uri
from nst_core.protocol.events import ItemOutcome, ItemProgress
from nst_core.storage.blobs import BlobStore, BlobUri
from worker.methods.optimize.checkpoints import CheckpointFile, origin_of
from worker.methods.results import Results
from worker.runtime.engine import Engine
from worker.runtime.limits import optimize_bytes
from worker.runtime.loss_networks import LossNetworks
from worker.runtime.outcomes import InterruptedWorkError, Recovered, Stopwatch, outcome_of, success
from worker.runtime.steering import Steering
from worker.settings import WorkerSettings

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
#: JPEG quality of previews, which are looked at once.
_PREVIEW_QUALITY = 85
#: Longest side of a painting in memory; it is reduced further to the size for the result.
_PAINTING_PX = 4096
#: After a save, this many times its duration passes until the next one, because the size is not known beforehand.
_CHECKPOINT_REST = 10.0


@dataclass(frozen=True, kw_only=True)
class _Course:
    """The optimisation of one item."""

    chunk: OptimizeChunk
    item: ChunkItem
    steering: Steering[ItemProgress]
    #: Position among the chunks of this process: older chunks go first.
    order: int
    watch: Stopwatch

    @property
    def label(self) -> str:
        return f"job {self.chunk.job_id} item {self.item.index}"

    @property
    def checkpoint(self) -> BlobUri:
        return BlobUri.parse(item_checkpoint_uri(self.chunk.scratch, self.item.index))

    @property
    def preview(self) -> BlobUri:
        return BlobUri.parse(preview_uri(self.chunk.scratch, self.item.index))


class Optimization:
    """Optimises the items of chunks; may be used by several threads, one chunk each.

    The engine runs one iteration at a time, so that images of other chunks run in between. The state is saved every
    `checkpoint_s` seconds and at a shutdown, and the next attempt at the item continues from there. Its result has the
    same bytes as without the interruption, on the same kind of device and with the same number of threads.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        blobs: BlobStore,
        engine: Engine,
        device: torch.device,
        recovered: Recovered = lambda problem: False,
        clock: Clock = time.monotonic,
    ) -> None:
        """`recovered` tells failures of an image from those of the process."""
        self._settings = settings
        self._recovered = recovered
        self._blobs = blobs
        self._results = Results(blobs)
        self._engine = engine
        self._device = device
        self._max_bytes = optimize_bytes(settings, device)
        self._clock = clock
        self._networks = LossNetworks()
        self._orders = count()

    def run(self, chunk: OptimizeChunk, steering: Steering[ItemProgress]) -> Iterator[ItemOutcome]:
        """Yield the outcomes of a chunk's items in order.

        Once the chunk is stopped, the present item ends after its iteration and has no outcome. An item that fails has
        a failed outcome and does not disturb the others.
        """
        order = next(self._orders)
        for item in chunk.items:
            course = _Course(chunk=chunk, item=item, steering=steering, order=order, watch=Stopwatch())
            outcome = self._outcome(course)
            if outcome is None:
                return
            yield outcome

    def _outcome(self, course: _Course) -> ItemOutcome | None:
        outcome = outcome_of(
            lambda: self._complete(course),
            job_id=course.chunk.job_id,
            item=course.item,
            watch=course.watch,
            recovered=self._recovered,
            waits=course.steering.touch,
        )
        if outcome is not None and not outcome.retryable:
            _try(lambda: self._blobs.delete(course.checkpoint), course, "its checkpoint cannot be removed")
        return outcome

    def _complete(self, course: _Course) -> ItemOutcome:
        item, output = course.item, BlobUri.parse(course.item.output)
        suffix = PurePosixPath(output.key).suffix
        images.content_type(suffix)  # first: do not spend time on an image that cannot be saved
        config = GatysConfig.from_dict(course.chunk.config)
        with course.watch:
            photo = self._fetch(course, item.input)
            painting = self._fetch(course, course.chunk.painting)
            checkpoint = CheckpointFile(
                self._blobs,
                course.checkpoint,
                origin=origin_of(course.chunk.config, photo, painting),
                touch=course.steering.touch,
            )
            content = decoder.decode(
                photo,
                Limits(
                    max_pixels=self._settings.max_pixels,
                    max_px=config.size_px,
                    max_result_pixels=optimize_max_pixels(config, self._max_bytes),
                    option="size_px, --size",
                ),
            )
            style = _decode_painting(painting, max_pixels=self._settings.max_pixels)
        optimizer = self._begin(course, config, content, style, checkpoint)
        self._iterate(course, optimizer, checkpoint)
        rgb = self._compute(course, lambda: to_uint8(optimizer.result())[0].cpu().numpy())
        with course.watch:
            picture = Picture(rgb=rgb, alpha=_fitted(content.alpha, rgb.shape[:2]), warning=content.warning)
            data = images.encode(picture, suffix, quality=course.chunk.quality)
            self._results.put(
                output,
                data,
                content_type=images.content_type(suffix),
                outdated=course.steering.outdated,
                touch=course.steering.touch,
            )
        return success(item, picture, data, ms=course.watch.ms)

    def _fetch(self, course: _Course, uri: str) -> bytes:
        limit = self._settings.max_input_bytes
        return self._blobs.get(BlobUri.parse(uri), max_bytes=limit, on_piece=course.steering.touch)

    def _begin(
        self, course: _Course, config: GatysConfig, content: Picture, style: Tensor, checkpoint: CheckpointFile
    ) -> GatysOptimizer:
        """Return the optimizer at the start, or in the state that the last attempt at the item saved."""
        # Loaded here and not by the engine, because it may have to be downloaded first.
        network = self._networks.get(config, on_bytes=lambda: self._wait(course, config))

        def build() -> GatysOptimizer:
            return GatysOptimizer(
                config,
                content=to_tensor(content.rgb),
                styles=[StyleSource(image=style)],
                device=self._device,
                network=network,
                max_bytes=self._max_bytes,
                on_tile=lambda: self._touch(course),
            )

        optimizer = self._compute(course, build)
        try:
            if (state := checkpoint.load()) is None:
                return optimizer
            self._compute(course, lambda: optimizer.restore(state))
        except WeightsError as error:
            _log.warning("%s: starts again: %s", course.label, error)
            return self._compute(course, build)  # the state was restored in part only
        _log.info("%s: continues after iteration %d of %d", course.label, optimizer.iteration, optimizer.iterations)
        return optimizer

    def _touch(self, course: _Course) -> None:
        """Record that the work goes on, for an iteration of a large picture may take minutes.

        Raises InterruptedWorkError if nobody wants the result any more. To be continued, an iteration must be complete.
        """
        self._engine.proceed()
        course.steering.touch()
        if not course.steering.going() and not course.steering.wanted():
            raise InterruptedWorkError

    def _wait(self, course: _Course, config: GatysConfig) -> None:
        """Report progress before the first iteration; raise InterruptedWorkError if the chunk was stopped."""
        if not course.steering.going():
            raise InterruptedWorkError
        course.steering.on_progress(ItemProgress(index=course.item.index, iteration=0, iterations=config.iterations))

    def _iterate(self, course: _Course, optimizer: GatysOptimizer, checkpoint: CheckpointFile) -> None:
        """Optimise to the end; raise InterruptedWorkError if the chunk was stopped."""
        every = course.chunk.preview_every
        previewed = 0 < every <= optimizer.iteration
        save_at = self._clock() + self._settings.checkpoint_s
        while not optimizer.done:
            if not course.steering.going():
                if course.steering.wanted():
                    _try(lambda: checkpoint.save(optimizer.state(copy=False)), course, "its state cannot be saved")
                raise InterruptedWorkError
            iterate = self._compute(course, optimizer.step)
            if every and iterate.iteration % every == 0:
                previewed |= self._store_preview(course, optimizer)
            course.steering.on_progress(_progress(course.item, iterate, preview=previewed))
            if (began := self._clock()) >= save_at:
                _try(lambda: checkpoint.save(optimizer.state(copy=False)), course, "its state cannot be saved")
                ended = self._clock()
                save_at = ended + max(self._settings.checkpoint_s, _CHECKPOINT_REST * (ended - began))

    def _store_preview(self, course: _Course, optimizer: GatysOptimizer) -> bool:
        rgb = self._compute(course, lambda: to_uint8(optimizer.preview())[0].cpu().numpy())
        data = images.encode(Picture(rgb=rgb), "jpg", quality=_PREVIEW_QUALITY)
        put = partial(self._blobs.put, course.preview, data, content_type=images.content_type("jpg"))
        return _try(put, course, "its preview cannot be stored")

    def _compute(self, course: _Course, call: Callable[[], _T]) -> _T:
        """Run a call on the engine and return its result; its time counts for the item."""

        def timed() -> _T:
            with course.watch:
                return call()

        return self._engine.run(timed, order=(course.order,), lane=course.chunk.queue, waits=course.steering.touch)


def _fitted(alpha: NDArray[np.uint8] | None, size: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Return the opacity of a photo in the size (height, width) of its result."""
    if alpha is None or alpha.shape == size:
        return alpha
    return np.array(Image.fromarray(alpha).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _decode_painting(data: bytes, *, max_pixels: int) -> Tensor:
    try:
        return to_tensor(decoder.decode(data, Limits(max_pixels=max_pixels, max_px=_PAINTING_PX)).rgb)
    except ImageError as error:
        raise type(error)(f"The painting cannot be used: {error.message}") from error


def _progress(item: ChunkItem, iterate: Iterate, *, preview: bool) -> ItemProgress:
    # JSON has no NaN and no infinity.
    losses = {name: value for name, value in iterate.losses.items() if math.isfinite(value)}
    return ItemProgress(
        index=item.index,
        iteration=iterate.iteration,
        iterations=iterate.iterations,
        losses=losses,
        preview=preview,
    )


def _try(call: Callable[[], None], course: _Course, fault: str) -> bool:
    """Return whether a call succeeded; the work continues without it."""
    try:
        call()
    except (BlobError, OSError) as error:  # for example a full disk
        _log.warning("%s: %s: %s", course.label, fault, error)
        return False
    return True
