"""Tests whether this process can use the storage and the disk, before an object is blamed for a failure."""

import secrets
import tempfile
from contextlib import suppress

from nst_core.errors import BlobAccessError, BlobReplacedError, DiskError
from nst_core.storage.blobs import BlobStore, BlobUri

#: Bytes that are written to test a disk.
_DISK_BYTES = 1 << 20


class StorageTest:
    """Writes a small object to the process's bucket, reads it and deletes it. Only one thread at a time may use it."""

    def __init__(self, blobs: BlobStore, name: str) -> None:
        """Use a key of this test only, which begins with the `name` of the process.

        It stays the same, so that a process that may not delete objects leaves one and no more.
        """
        self._blobs = blobs
        self._uri = BlobUri(blobs.bucket, f"health/{name}-{secrets.token_hex(4)}")

    def __call__(self) -> None:
        """Raise a BlobError if the storage refuses something, and BlobUnavailableError if it does not answer."""
        data = secrets.token_bytes(16)
        self._blobs.put(self._uri, data)
        if self._blobs.get(self._uri) != data:
            raise BlobReplacedError(f"{self._uri} does not have the content that was just written.")
        # Not every worker may delete objects, and the next test overwrites this one.
        with suppress(BlobAccessError):
            self._blobs.delete(self._uri)


def check_disk() -> None:
    """Raise DiskError if no file can be written to the folder for temporary files."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(_DISK_BYTES))
            file.flush()
    except OSError as error:
        raise DiskError(f"No file can be written to {tempfile.gettempdir()}: {error.strerror}.") from error
