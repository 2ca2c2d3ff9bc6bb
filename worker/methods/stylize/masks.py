"""Masks: pictures that say where photos are painted, and where in which style."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from nst_core.decoding import decoder
from nst_core.errors import ImageError
from nst_core.images import Limits
from nst_core.inference.blend import Weight
from nst_core.inference.luminance import PARTS, luminance
from nst_core.protocol.chunks import ChunkItem, StylizeChunk
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.system.budget import Budget
from worker.methods.stylize.place import Place
from worker.runtime.outcomes import Recovered, retried
from worker.settings import WorkerSettings

#: Longest side of a mask in memory; larger ones are reduced. It is stretched to each photo in any case.
_MOST_PX = 4096
#: The most masks of regions in memory that photos have of their own. A photo waits for its room.
_MOST_OWN = 16


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where a photo is painted."""

    #: By the mask of the photo; None: everywhere.
    photo: Weight | None = None
    #: Where it has the regions of the job, in their order; None: nowhere.
    regions: tuple[Weight | None, ...] = ()


class Masks:
    """Reads the masks of chunks."""

    def __init__(self, settings: WorkerSettings, *, blobs: BlobStore, ahead: Budget, recovered: Recovered) -> None:
        """`ahead` has the room for files; `recovered` tells failures of a mask from those of the process."""
        self._settings = settings
        self._blobs = blobs
        self._ahead = ahead
        self._own = Budget(_MOST_OWN)
        self._recovered = recovered

    def of_all(self, chunk: StylizeChunk, place: Place) -> Weights:
        """Return the weights of the masks for all photos of a chunk, of those that a photo needs."""
        options, items = chunk.options, chunk.items

        def of_all(mask: str | None, own: Sequence[str | None], name: str) -> Weight | None:
            if mask is None or all(own):
                return None
            label = f"job {chunk.job_id} {name}"
            return retried(
                lambda: self._read(mask, name, place),
                label=label,
                what=name,
                recovered=self._recovered,
                waits=place.touch,
            )

        return Weights(
            photo=of_all(options.mask, [item.mask for item in items], "mask"),
            regions=tuple(
                of_all(region.mask, [_own(item, number) for item in items], _name(number))
                for number, region in enumerate(options.regions)
            ),
        )

    @contextmanager
    def room(self, item: ChunkItem, place: Place) -> Iterator[None]:
        """Wait for the room of a photo's own masks of regions and hold it. The caller may hold no other room."""
        with place.share(self._own) as share:
            share.take(sum(mask is not None for mask in item.regions))
            yield

    def of_photo(self, item: ChunkItem, of_all: Weights, place: Place) -> Weights:
        """Return the weights of a photo. The caller may hold no room for files or pixels, since this may wait."""
        own = [_own(item, number) for number in range(len(of_all.regions))]
        return Weights(
            photo=of_all.photo if item.mask is None else self._read(item.mask, "mask", place),
            regions=tuple(
                weight if mask is None else self._read(mask, _name(number), place)
                for number, (mask, weight) in enumerate(zip(own, of_all.regions, strict=True))
            ),
        )

    def _read(self, uri: str, name: str, place: Place) -> Weight:
        with place.share(self._ahead) as file:
            limit = self._settings.max_input_bytes
            data = self._blobs.get(BlobUri.parse(uri), max_bytes=limit, on_size=file.take, on_piece=place.touch)
            return decode_mask(data, max_pixels=self._settings.max_pixels, name=name)


def decode_mask(data: bytes, *, max_pixels: int, name: str = "mask") -> Weight:
    """Return the luminance of a mask's file, without its opacity, as a weight for `blend`.

    A file that cannot be used is the ImageError of a photo with such a file; `name` is what the message calls it.
    """
    # It is stretched to each photo, so that it may have any size, unlike what a network paints.
    limits = Limits(max_pixels=max_pixels, min_side_px=1, max_px=_MOST_PX, ignore_alpha=True)
    try:
        picture = decoder.decode(data, limits)
    except ImageError as error:
        raise type(error)(f"The {name} cannot be used: {error.message}") from error
    return ((luminance(picture.rgb) + PARTS // 2) // PARTS).astype(np.uint8)


def _own(item: ChunkItem, number: int) -> str | None:
    """Return a photo's own mask of a region, if it has one."""
    return item.regions[number] if number < len(item.regions) else None


def _name(number: int) -> str:
    return f"mask of region {number + 1}"
