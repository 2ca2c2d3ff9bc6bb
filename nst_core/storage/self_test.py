"""Whether this process can use the storage at all: asked before an object is blamed for a refusal."""

import secrets
import tempfile
from contextlib import suppress

from nst_core.errors import BlobAccessError, BlobReplacedError, DiskError
from nst_core.storage.blobs import BlobStore, BlobUri

#: What is written to a disk to see whether that is possible.
_DISK_BYTES = 1 << 20


class StorageTest:
    """A small object is written to the process's own bucket, read, and removed, as its work needs it."""

    def __init__(self, blobs: BlobStore, name: str) -> None:
        """Use a key of this process alone; `name` is one that no other process has."""
        self._blobs = blobs
        self._uri = BlobUri(blobs.bucket, f"health/{name}")

    def __call__(self) -> None:
        """Raise the BlobError of what the storage refuses; BlobUnavailableError if it does not answer."""
        data = secrets.token_bytes(16)
        self._blobs.put(self._uri, data)
        if self._blobs.get(self._uri) != data:
            raise BlobReplacedError(f"{self._uri} does not have what was just written to it.")
        # Not every worker may remove objects, and the next test writes this one again.
        with suppress(BlobAccessError):
            self._blobs.delete(self._uri)


def check_disk() -> None:
    """Raise DiskError if no file can be written to the folder of temporary files."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(_DISK_BYTES))
            file.flush()
    except OSError as error:
        raise DiskError(f"No file can be written to {tempfile.gettempdir()}: {error.strerror}.") from error
