"""Results in storage: written so that an attempt that is outdated does not replace what a newer one has written.

A worker that was frozen in the middle of an image comes back when another one has long made it, perhaps on another kind
of processor, and so with other bytes. The database takes no notice of what it says, but the storage takes its object.
"""

import logging
from collections.abc import Callable

from nst_core.errors import BlobConflictError, BlobNotFoundError, BlobUnavailableError, BrokerUnavailableError
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.storage.conditional import ConditionalWrites
from worker.runtime.outcomes import InterruptedWorkError

_log = logging.getLogger(__name__)
#: Conflicts after which a write is given up; each is a write by somebody else in the few milliseconds before.
_TRIES = 5

#: Tells whether a newer attempt exists; raises BrokerUnavailableError if Redis does not answer.
Outdated = Callable[[], bool]


class Results:
    """Writes results. Safe to share between threads.

    Right before the write Redis is asked whether the attempt is outdated. If the storage heeds conditional writes, an
    object that is there already is replaced only if it is still the one that was there when Redis was asked, so that
    no moment is left in which an outdated attempt could replace a newer one's result. Otherwise such a moment is as
    long as one write, and the scheduler compares such results with the database when the job ends.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._conditional = ConditionalWrites(blobs)

    def put(self, uri: BlobUri, data: bytes, *, content_type: str, outdated: Outdated) -> None:
        """Write a result; raise InterruptedWorkError if a newer attempt exists, and BlobError as `BlobStore.put`."""
        if _told(outdated):
            raise InterruptedWorkError
        if self._conditional.heeded:
            self._put_conditionally(uri, data, content_type=content_type, outdated=outdated)
        else:
            self._blobs.put(uri, data, content_type=content_type)

    def _put_conditionally(self, uri: BlobUri, data: bytes, *, content_type: str, outdated: Outdated) -> None:
        tag: str | None = None
        for _ in range(_TRIES):
            try:
                self._blobs.put_if(uri, data, tag=tag, content_type=content_type)
            except (BlobConflictError, BlobNotFoundError) as error:
                if isinstance(error, BlobNotFoundError) and tag is None:
                    raise  # there is no such bucket
            else:
                return
            # The tag first, Redis second: an attempt that wrote the object of this tag was known to Redis before.
            tag = self._tag(uri)
            if outdated():
                raise InterruptedWorkError
        raise BlobUnavailableError(f"{uri} is written by others again and again.")

    def _tag(self, uri: BlobUri) -> str | None:
        """Return the tag of what is there; None if there is nothing."""
        try:
            tag = self._blobs.tag(uri)
        except BlobNotFoundError:
            return None
        if not tag:
            raise BlobUnavailableError(f"The storage does not say which content {uri} has.")
        return tag


def _told(outdated: Outdated) -> bool:
    """Return whether Redis says that a newer attempt exists; work goes on while it does not answer."""
    try:
        return outdated()
    except BrokerUnavailableError as error:
        _log.warning("a result is written without a look for newer attempts: %s", error)
        return False
