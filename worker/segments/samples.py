"""Sample photos of a run, which are stylized from time to time to show its progress."""

import logging
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from nst_core.errors import BlobError, ImageError
from nst_core.nets.families import one_style
from nst_core.protocol.segments import sample_uri
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.training.pictures import dump_sample, parse_sample, stylized
from nst_core.training.trainer import Trainer

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
Pixels = npt.NDArray[np.uint8]


class Compute(Protocol):
    """Runs calls on the thread where networks run."""

    def __call__(self, call: Callable[[], _T], /) -> _T:
        """Return what the call returns."""
        ...


class Samples:
    """Stylizes the samples of a run during its training.

    Samples are only for people to look at. If one cannot be read or written, a warning is logged and the training
    continues.
    """

    def __init__(self, blobs: BlobStore, uris: Sequence[str], *, place: str, max_bytes: int) -> None:
        """Take photos at s3:// addresses, of up to `max_bytes` each, and read nothing yet. Results go to `place`."""
        self._blobs = blobs
        self._uris = named(uris)
        self._place = place
        self._max_bytes = max_bytes
        self._photos: dict[str, Tensor] = {}

    def problems(self) -> list[str]:
        """Read the samples, and return a sentence for each that can never be shown."""
        found = []
        for stem, uri in self._uris.items():
            try:
                self._photo(stem, uri)
            except (BlobError, ImageError) as error:
                if not error.retryable:
                    found.append(f"A sample cannot be shown: {error.message}")
        return found

    def show(self, trainer: Trainer, compute: Compute) -> None:
        """Store the present stylization of each sample."""
        for stem, uri in self._uris.items():
            try:
                photo = self._photo(stem, uri)
                picture = compute(lambda photo=photo: _stylized(trainer, photo))  # type: ignore[misc]
                result = BlobUri.parse(sample_uri(self._place, stem=stem, step=trainer.step_number))
                self._blobs.put(result, dump_sample(picture), content_type="image/jpeg")
            except (BlobError, ImageError, MemoryError, RuntimeError) as error:
                _log.warning("the sample %s at step %d: %s", uri, trainer.step_number, error)

    def _photo(self, stem: str, uri: str) -> Tensor:
        if stem not in self._photos:
            data = self._blobs.get(BlobUri.parse(uri), max_bytes=self._max_bytes)
            self._photos[stem] = parse_sample(data, name=uri)
        return self._photos[stem]


def named(uris: Sequence[str]) -> dict[str, str]:
    """Return addresses by the stems of their file names; equal stems get a number."""
    found: dict[str, str] = {}
    for uri in dict.fromkeys(uris):
        stem = name = PurePosixPath(uri).stem
        number = 1
        while name in found:
            number += 1
            name = f"{stem}-{number}"
        found[name] = uri
    return found


def _stylized(trainer: Trainer, photo: Tensor) -> Pixels:
    return stylized(one_style(trainer.transformer, 0), photo)
