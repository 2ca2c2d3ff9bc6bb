"""Withdrawal: take back what was sent of jobs that are being stopped, where no worker has it yet.

Whether a chunk that was sent is begun only Redis knows: its message is in the queue, or a worker has taken it, although
that one's first word may not be in the database yet. Cancelled on suspicion, its photos would have images in the
storage that no manifest names. So a chunk ends here only after its message was taken out of the queue. Else its worker
reports the end of it, having heard that the job is being stopped, or it is lost, and the reaper takes it back: also
where a scheduler dies between the two steps here.
"""

import logging
from functools import partial

from scheduler.control.broker import Broker
from scheduler.control.setbacks import Setbacks
from scheduler.domain.jobs import ChunkStatus
from scheduler.jobs import lifecycle
from scheduler.jobs.methods import all_methods
from scheduler.store import chunks as chunk_rows
from scheduler.store import jobs as job_rows
from scheduler.store.chunks import Chunk
from scheduler.store.database import Database

log = logging.getLogger(__name__)


class Withdrawer:
    """Tells workers of jobs that are being stopped, and ends the chunks that none of them has."""

    def __init__(self, database: Database, broker: Broker) -> None:
        self._database = database
        self._broker = broker
        self._setbacks = Setbacks[int]("withdrawal")

    def tick(self) -> bool:
        """Announce stops and withdraw what can be; return whether a chunk was."""
        with self._database.read() as connection:
            stopping = set(job_rows.stopping_jobs(connection))
            unwanted = chunk_rows.unwanted(connection) if stopping else []
        # Before the queues are looked into: a worker that takes a message from now on begins none of its photos. At
        # each look, since Redis may have lost it.
        for job_id in stopping:
            self._broker.cancel_job(job_id)
        withdrawn = False
        for method in all_methods().values():
            found = {(chunk.id, chunk.attempt): chunk for chunk in unwanted if chunk.method == method.name}
            for key in self._broker.withdraw_chunks(method.queue, found):
                # Its message is gone by now: what fails here is lost, and taken back by the reaper.
                withdrawn |= self._setbacks.attempt(key[0], partial(self._end, found[key]))
        return withdrawn

    def _end(self, found: Chunk) -> bool:
        with self._database.write() as connection:
            locked = chunk_rows.lock_attempt(connection, found.id, found.attempt)
            if locked is None or locked[1].status is not ChunkStatus.DISPATCHED:
                return True  # its lease has ended since, or a worker took a second message of it
            job, chunk = locked
            log.info("Chunk %d of %s, attempt %d, was withdrawn", chunk.id, job.id, chunk.attempt)
            lifecycle.settle(connection, job, lifecycle.drop(connection, chunk.id))
        return True
