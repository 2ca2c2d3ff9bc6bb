"""Checkpoints of optimisations in the storage: what lets another worker go on where one was killed.

They need no fence against outdated attempts. An optimisation is deterministic, and a checkpoint names what it is an
optimisation of, so whichever attempt wrote it, it is a state that every attempt at the item goes through. An outdated
attempt can at worst put an earlier state in the place of a later one, or take it away: some iterations are done
again then, with the same result.
"""

import hashlib
import json
import tempfile
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from nst_core.errors import BlobNotFoundError, WeightsError
from nst_core.nets.safetensors_files import write_safetensors
from nst_core.storage.blobs import BlobStore, BlobUri

#: The key of the JSON in the header's metadata.
CHECKPOINT_KEY = "nst_optimize"
_FORMAT = 1


def origin_of(config: dict[str, Any], photo: bytes, painting: bytes) -> str:
    """Return the SHA-256 of all that the course of an optimisation follows from, in hex."""
    parts = [_FORMAT, config, hashlib.sha256(photo).hexdigest(), hashlib.sha256(painting).hexdigest()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class CheckpointFile:
    """The checkpoint of one item."""

    def __init__(self, blobs: BlobStore, uri: BlobUri, *, origin: str) -> None:
        """Name the place, and what the optimisation is made from; nothing is read yet."""
        self._blobs = blobs
        self._uri = uri
        self._origin = origin

    def load(self) -> dict[str, Tensor] | None:
        """Return the state that was saved last, or None where there is none.

        Raises WeightsError where it is damaged or one of another optimisation, BlobError where it cannot be read.
        """
        try:
            data = self._blobs.get(self._uri)
        except BlobNotFoundError:
            return None
        try:
            state = load(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        except (SafetensorError, ValueError, RuntimeError) as error:
            raise WeightsError(f"The checkpoint {self._uri} is damaged: {error}") from error
        if header.get("__metadata__") != {CHECKPOINT_KEY: self._origin}:
            raise WeightsError(f"The checkpoint {self._uri} is one of another optimisation.")
        return state

    def save(self, state: dict[str, Tensor]) -> None:
        """Replace the checkpoint; raise BlobError, or OSError for a full disk, if that is not possible.

        The state goes through a temporary file: it may have a gigabyte, and a second one of memory is not there.
        """
        with tempfile.TemporaryFile() as file:
            write_safetensors(file, state, {CHECKPOINT_KEY: self._origin})
            file.seek(0)
            self._blobs.put_file(self._uri, file)

    def delete(self) -> None:
        """Remove the checkpoint where there is one; raise BlobError where that is not possible."""
        self._blobs.delete(self._uri)
