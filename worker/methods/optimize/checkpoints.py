"""Checkpoints of optimisations in storage, from which another worker continues after a crash.

They need no fence against outdated attempts. An optimisation is deterministic, and a checkpoint names its inputs, so
that every attempt at an item goes through the same states. At worst, an outdated attempt replaces a later state by an
earlier one, or deletes it: then some iterations are repeated, with the same result.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from nst_core.errors import BlobNotFoundError, WeightsError
from nst_core.nets.safetensors_files import write_safetensors
from nst_core.nets.safetensors_header import read_header
from nst_core.storage.blobs import BlobStore, BlobUri

#: The key of the JSON in the header's metadata.
CHECKPOINT_KEY = "nst_optimize"
_FORMAT = 2


def origin_of(config: dict[str, Any], photo: bytes, painting: bytes) -> str:
    """Return the SHA-256, in hex, of everything that decides the result of an optimisation."""
    parts = [_FORMAT, config, hashlib.sha256(photo).hexdigest(), hashlib.sha256(painting).hexdigest()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class CheckpointFile:
    """The checkpoint of one item."""

    def __init__(
        self, blobs: BlobStore, uri: BlobUri, *, origin: str, touch: Callable[[], object] = lambda: None
    ) -> None:
        """Read nothing yet. `origin` is the hash of the inputs; see `origin_of`.

        `touch` is called while a state is on its way, which may take minutes.
        """
        self._touch = touch
        self._blobs = blobs
        self._uri = uri
        self._origin = origin

    def load(self) -> dict[str, Tensor] | None:
        """Return the state that was saved last, or None if there is none.

        Raises WeightsError if it is damaged or belongs to another optimisation, and BlobError if it cannot be read.
        """
        try:
            data = self._blobs.get(self._uri, on_piece=self._touch)
        except BlobNotFoundError:
            return None
        try:
            state = load(data)
        except (SafetensorError, ValueError, RuntimeError) as error:
            raise WeightsError(f"The checkpoint {self._uri} is damaged: {error}") from error
        if read_header(data, name=str(self._uri)).metadata != {CHECKPOINT_KEY: self._origin}:
            raise WeightsError(f"The checkpoint {self._uri} belongs to another optimisation.")
        return state

    def save(self, state: dict[str, Tensor]) -> None:
        """Replace the checkpoint. Raises BlobError, or OSError if the disk is full.

        The state is written to a temporary file: it can have a gigabyte, and a copy might not fit into memory.
        """
        with tempfile.TemporaryFile() as file:
            write_safetensors(file, state, {CHECKPOINT_KEY: self._origin})
            file.seek(0)
            self._blobs.put_file(self._uri, file, on_piece=self._touch)

    def delete(self) -> None:
        """Delete the checkpoint if it exists; raise BlobError if that fails."""
        self._blobs.delete(self._uri)
