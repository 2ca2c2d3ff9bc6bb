"""Writes results to storage so that an outdated attempt does not replace the result of a newer one.

A worker that was frozen in the middle of an image may come back after another worker has made the image, perhaps on
another kind of processor and so with other bytes. The database ignores its events, but the storage accepts its object.
"""

import logging
from collections.abc import Callable

from nst_core.errors import BlobConflictError, BlobNotFoundError, BlobUnavailableError, BrokerUnavailableError
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.storage.conditional import ConditionalWrites
from worker.runtime.outcomes import InterruptedWorkError

_log = logging.getLogger(__name__)
#: Attempts to write an object. Each conflict is a write by another process in the few milliseconds before.
_TRIES = 5

#: Returns whether a newer attempt exists; raises BrokerUnavailableError if Redis does not answer.
Outdated = Callable[[], bool]


class Results:
    """Writes results. Safe to share between threads.

    Right before the write Redis is asked whether the attempt is outdated. If the storage supports conditional writes,
    an existing object is replaced only if it is still the object that was there when Redis was asked. Then there is no
    moment in which an outdated attempt can replace a newer result. Otherwise that moment lasts as long as one write,
    and the scheduler compares the results with the database when the job ends.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._conditional = ConditionalWrites(blobs)

    def put(
        self,
        uri: BlobUri,
        data: bytes,
        *,
        content_type: str,
        outdated: Outdated,
        touch: Callable[[], object] = lambda: None,
    ) -> None:
        """Write a result; raise InterruptedWorkError if a newer attempt exists, and BlobError as `BlobStore.put`.

        InterruptedWorkError also if an object is to be replaced and Redis does not answer. `touch` is called while a
        large result is on its way.
        """
        if _is_outdated(outdated):
            raise InterruptedWorkError
        if self._conditional.heeded:
            self._put_conditionally(uri, data, content_type=content_type, outdated=outdated, touch=touch)
        else:
            self._blobs.put(uri, data, content_type=content_type, on_piece=touch)

    def _put_conditionally(
        self, uri: BlobUri, data: bytes, *, content_type: str, outdated: Outdated, touch: Callable[[], object]
    ) -> None:
        tag: str | None = None
        for _ in range(_TRIES):
            try:
                self._blobs.put_if(uri, data, tag=tag, content_type=content_type, on_piece=touch)
            except (BlobConflictError, BlobNotFoundError) as error:
                if isinstance(error, BlobNotFoundError) and tag is None:
                    raise  # the bucket does not exist
            else:
                return
            # The tag first, Redis second: Redis already knew the attempt that wrote the object with this tag.
            tag = self._tag(uri)
            try:
                late = outdated()
            except BrokerUnavailableError as error:
                # The object may be of a newer attempt. The picture is not to blame, so it is made again later.
                _log.warning("a result that would replace another one is given back: %s", error)
                raise InterruptedWorkError from error
            if late:
                raise InterruptedWorkError
        raise BlobUnavailableError(f"Other processes keep writing {uri}.")

    def _tag(self, uri: BlobUri) -> str | None:
        """Return the tag of the present object, or None if there is none."""
        try:
            tag = self._blobs.tag(uri)
        except BlobNotFoundError:
            return None
        if not tag:
            raise BlobUnavailableError(f"The storage does not say which content {uri} has.")
        return tag


def _is_outdated(outdated: Outdated) -> bool:
    """Return whether a newer attempt exists; False if Redis does not answer."""
    try:
        return outdated()
    except BrokerUnavailableError as error:
        _log.warning("a result is written without asking for newer attempts: %s", error)
        return False
