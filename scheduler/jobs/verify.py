"""Compares results that may have been replaced with the database, before the reports of a job are written.

An attempt that was given up may still write its result, if it looked at Redis just before. Its result is as good, but
may have other bytes, and then the reports would have a wrong SHA-256. If the storage heeds conditional writes, this
cannot happen, and nothing is compared.
"""

import hashlib
import logging

from nst_core.errors import BlobError
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.storage.conditional import ConditionalWrites
from scheduler.domain.jobs import Job
from scheduler.store import items as item_rows
from scheduler.store.database import Database
from scheduler.store.items import Item

log = logging.getLogger(__name__)

#: The number of results read in one call, while other jobs wait.
AT_ONCE = 100


class Verifier:
    """Checks the results of items that took more than one attempt."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs
        self._conditional = ConditionalWrites(blobs)
        #: The last item that was checked, by job and its number of retries.
        self._done: dict[tuple[str, int], int] = {}

    def verify(self, job: Job) -> bool:
        """Look at the next results of a job; return False if there may be more.

        The database then says of each what is in storage. Raises a retryable BlobError if the storage does not answer.
        """
        key = (job.id, job.retries)
        after = self._done.get(key, -1)
        with self._database.read() as connection:
            found = item_rows.repeated_items(connection, job.id, after=after, limit=AT_ONCE)
        if found and self._conditional.heeded:
            found = []
        for item in found:
            self._compare(job, item)
            self._done[key] = item.index
        if len(found) == AT_ONCE:
            return False
        self._done.pop(key, None)
        return True

    def _compare(self, job: Job, item: Item) -> None:
        digest, size = hashlib.sha256(), 0
        try:
            for piece in self._blobs.stream(BlobUri.parse(item.output)):
                digest.update(piece)
                size += len(piece)
        except BlobError as error:
            if error.retryable:
                raise
            # It was removed, or may not be read; a client that asks for it gets the same error.
            log.warning("Item %d of %s cannot be looked at: %s", item.index, job.id, error.message)
            return
        if digest.hexdigest() == item.sha256:
            return
        log.warning("Item %d of %s has the result of an attempt that was given up.", item.index, job.id)
        with self._database.write() as connection:
            item_rows.set_result(connection, job.id, item, sha256=digest.hexdigest(), size=size)
