"""Withdrawal: take back chunks of jobs that are paused or being stopped, if no worker has them yet.

Only Redis knows whether a worker has a chunk that was sent: if its message has left the queue, a worker has taken it,
even if the worker's first event is not in the database yet. If such a chunk were cancelled, its images could be in
storage without being in any manifest. So a chunk ends here, or waits until its job is resumed, only after its message
was removed from the queue. Otherwise its worker reports its end, or the message is lost and the reaper takes the chunk
back. This also holds if a scheduler dies between the two steps.
"""

import logging
from functools import partial

from nst_core.system.logs import about
from scheduler.control.broker import Broker
from scheduler.control.setbacks import Setbacks, of_chunk
from scheduler.domain.jobs import ChunkStatus
from scheduler.jobs import lifecycle
from scheduler.jobs.methods import all_methods
from scheduler.store import chunks as chunk_rows
from scheduler.store import jobs as job_rows
from scheduler.store.chunks import Chunk
from scheduler.store.database import Database

log = logging.getLogger(__name__)


class Withdrawer:
    """Tells workers which jobs are being stopped, and takes back the chunks that no worker has."""

    def __init__(self, database: Database, broker: Broker) -> None:
        self._database = database
        self._broker = broker
        self._setbacks = Setbacks[int]("withdrawal", ids=of_chunk)

    def tick(self) -> bool:
        """Announce stops and withdraw chunks; return whether there were any."""
        with self._database.read() as connection:
            stopping = set(job_rows.stopping_jobs(connection))
            unwanted = chunk_rows.unwanted(connection)
        # Before the queues are read: a worker that takes a message from now on begins none of its photos. At
        # each tick, since Redis may have lost it.
        for job_id in stopping:
            self._broker.cancel_job(job_id)
        withdrawn = False
        for method in all_methods().values():
            found = {(chunk.id, chunk.attempt): chunk for chunk in unwanted if chunk.method == method.name}
            for key in self._broker.withdraw_chunks(method.queue, found):
                # Its message is gone. If this fails, the reaper takes the chunk back.
                withdrawn |= self._setbacks.attempt(key[0], partial(self._take_back, found[key]))
        return withdrawn

    def _take_back(self, found: Chunk) -> bool:
        with self._database.write() as connection:
            locked = chunk_rows.lock_attempt(connection, found.id, found.attempt)
            if locked is None or locked[1].status is not ChunkStatus.DISPATCHED:
                return True  # its lease has expired in the meantime, or a worker received another message for it
            job, chunk = locked
            with about(job_id=job.id, tenant=job.tenant, attempt=chunk.attempt):
                log.info("Chunk %d of %s, attempt %d, was withdrawn", chunk.id, job.id, chunk.attempt)
            if job.stop is not None:
                lifecycle.settle(connection, job, lifecycle.drop(connection, chunk.id))
            else:
                # Its job is paused, or was resumed just now. The attempt did not fail, so it does not count as one.
                chunk_rows.set_pending(
                    connection, chunk.id, failures=chunk.failures, deaths=chunk.deaths, not_before=0.0
                )
        return True
