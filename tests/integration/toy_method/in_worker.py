"""The method as a worker sees it."""

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from nst_core import images
from nst_core.decoding import decoder
from nst_core.images import Limits, Picture
from nst_core.protocol.chunks import ChunkItem
from nst_core.protocol.events import ItemOutcome
from nst_core.storage.blobs import BlobStore, BlobUri
from tests.integration.toy_method.message import GreyChunk
from worker.methods.report import ChunkReport
from worker.methods.task import ChunkTask
from worker.runtime.outcomes import Stopwatch, outcome_of, success
from worker.runtime.work import Parts, Work
from worker.settings import WorkerSettings


class GreyTask(ChunkTask[GreyChunk]):
    """Turns the photos of a chunk grey, one by one."""

    chunk = GreyChunk

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._blobs: BlobStore = parts.blobs

    def _outcomes(self, chunk: GreyChunk, report: ChunkReport) -> Iterator[ItemOutcome]:
        for item in chunk.items:
            if not self._going(report):
                return
            outcome = self._outcome(chunk, item)
            if outcome is not None:
                yield outcome

    def _outcome(self, chunk: GreyChunk, item: ChunkItem) -> ItemOutcome | None:
        watch = Stopwatch()

        def complete() -> ItemOutcome:
            with watch:
                data = self._blobs.get(BlobUri.parse(item.input), max_bytes=self._settings.max_input_bytes)
                photo = decoder.decode(data, Limits(max_pixels=self._settings.max_pixels))
                picture = Picture(rgb=greyed(photo.rgb, chunk.amount), alpha=photo.alpha)
                suffix = PurePosixPath(item.output).suffix
                result = images.encode(picture, suffix, quality=92)
                self._blobs.put(BlobUri.parse(item.output), result, content_type=images.content_type(suffix))
            return success(item, picture, result, ms=watch.ms)

        return outcome_of(
            complete,
            job_id=chunk.job_id,
            item=item,
            watch=watch,
            recovered=self._recovered,
            waits=lambda: None,  # its chunks take no time
        )


class Grey(Work):
    """Turns photos grey."""

    queue = GreyChunk.queue

    def slots(self, settings: WorkerSettings) -> int:
        return 1

    def task(self, parts: Parts) -> Callable[[Any], None]:
        return GreyTask(parts)


def greyed(rgb: npt.NDArray[np.uint8], amount: float) -> npt.NDArray[np.uint8]:
    """Return an image with a part of its colour removed."""
    grey = rgb.mean(axis=2, keepdims=True)
    return np.asarray(rgb + (grey - rgb) * amount).round().astype(np.uint8)
