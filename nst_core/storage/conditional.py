"""Whether a storage supports conditional writes: S3 has them since 2024, and some servers silently ignore them."""

import secrets
from contextlib import suppress
from threading import Lock

from nst_core.errors import BlobAccessError, BlobConflictError, BlobError, BlobInvalidError, BlobNotFoundError
from nst_core.storage.blobs import BlobStore, BlobUri


class ConditionalWrites:
    """Tests the storage once, with a small object, and remembers the result. Safe to share between threads.

    The result is assumed to hold for all buckets, because they are on the same server.
    """

    def __init__(self, blobs: BlobStore) -> None:
        """Send nothing yet."""
        self._blobs = blobs
        self._lock = Lock()
        self._heeded: bool | None = None

    @property
    def heeded(self) -> bool:
        """Whether `BlobStore.put_if` does what it says; raises a retryable BlobError if the storage does not answer."""
        with self._lock:
            if self._heeded is None:
                self._heeded = self._probe()
            return self._heeded

    def _probe(self) -> bool:
        uri = BlobUri(self._blobs.bucket, f"health/conditional-{secrets.token_hex(8)}")
        try:
            self._write(uri, tag=None)
            return self._refuses(uri, tag=None) and self._refuses(uri, tag='"0"')
        except (BlobAccessError, BlobInvalidError, BlobNotFoundError):
            return False  # the header is refused, or this process may not write to the bucket
        finally:
            with suppress(BlobError):
                self._blobs.delete(uri)

    def _refuses(self, uri: BlobUri, *, tag: str | None) -> bool:
        try:
            self._write(uri, tag=tag)
        except BlobConflictError:
            return True
        return False

    def _write(self, uri: BlobUri, *, tag: str | None) -> None:
        self._blobs.put_if(uri, b"", tag=tag, content_type="application/octet-stream")
