"""Masks: pictures that say where photos are painted."""

from contextlib import ExitStack

import numpy as np

from nst_core.decoding import decoder
from nst_core.errors import ImageError
from nst_core.images import Limits
from nst_core.inference.blend import Weight
from nst_core.inference.luminance import PARTS, luminance
from nst_core.protocol.chunks import StylizeChunk
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.system.budget import Budget
from worker.runtime.outcomes import Recovered, retried
from worker.settings import WorkerSettings

#: Longest side of a mask in memory; larger ones are reduced. It is stretched to each photo in any case.
_MOST_PX = 4096


class Masks:
    """Reads the masks of chunks."""

    def __init__(self, settings: WorkerSettings, *, blobs: BlobStore, ahead: Budget, recovered: Recovered) -> None:
        """`ahead` has the room for files; `recovered` tells failures of a mask from those of the process."""
        self._settings = settings
        self._blobs = blobs
        self._ahead = ahead
        self._recovered = recovered

    def of_all(self, chunk: StylizeChunk) -> Weight | None:
        """Return the weight of the mask for all photos of a chunk, if there is one that a photo needs."""
        mask = chunk.options.mask
        if mask is None or all(item.mask for item in chunk.items):
            return None
        label = f"job {chunk.job_id} mask"
        return retried(lambda: self.read(mask), label=label, what="mask", recovered=self._recovered)

    def read(self, uri: str) -> Weight:
        """Return the weight of a mask. The caller may hold no room for files, since this may wait for some."""
        with ExitStack() as held:

            def wait_for_room(nbytes: int) -> None:
                held.close()  # of an earlier try
                held.enter_context(self._ahead.hold(nbytes))

            limit = self._settings.max_input_bytes
            data = self._blobs.get(BlobUri.parse(uri), max_bytes=limit, on_size=wait_for_room)
            return decode_mask(data, max_pixels=self._settings.max_pixels)


def decode_mask(data: bytes, *, max_pixels: int) -> Weight:
    """Return the luminance of a mask's file, without its opacity, as a weight for `blend`.

    A file that cannot be used is the ImageError of a photo with such a file.
    """
    limits = Limits(max_pixels=max_pixels, max_px=_MOST_PX, ignore_alpha=True)
    try:
        picture = decoder.decode(data, limits)
    except ImageError as error:
        raise type(error)(f"The mask cannot be used: {error.message}") from error
    return ((luminance(picture.rgb) + PARTS // 2) // PARTS).astype(np.uint8)
