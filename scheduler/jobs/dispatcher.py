"""Dispatch: keep a short window of chunks in Redis, shared fairly between tenants and jobs.

The window is short, so that cancelling acts at once and a job of ten images does not wait for one of a million.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from nst_core.client.resources.jobs import JobStatus
from nst_core.clock import Clock
from nst_core.protocol.chunks import ChunkMessage
from nst_core.system import traces
from nst_core.system.logs import about
from scheduler.control.broker import Broker
from scheduler.control.metrics import Metrics
from scheduler.control.setbacks import Setbacks, of_job
from scheduler.domain import addresses
from scheduler.domain.jobs import Job
from scheduler.jobs.fair_share import FairShare
from scheduler.jobs.methods import find_method
from scheduler.jobs.methods.base import Window
from scheduler.store import chunks as chunk_rows
from scheduler.store import items
from scheduler.store import jobs as job_rows
from scheduler.store.chunks import Chunk
from scheduler.store.database import Connection, Database
from scheduler.store.jobs import Waiting

log = logging.getLogger(__name__)

_SENDING = (JobStatus.PLANNING, JobStatus.RUNNING)


class Dispatcher:
    """Sends chunks to the workers' queues.

    Each method has a queue and a window of its own: chunks that take minutes do not fill the window of those that
    take seconds.
    """

    def __init__(
        self,
        database: Database,
        broker: Broker,
        *,
        clock: Clock,
        bucket: str,
        windows: Mapping[str, Window],
        weights: Callable[[], Mapping[str, float]] = dict,
        crew: Callable[[Connection], int] = lambda connection: 0,
        metrics: Metrics | None = None,
    ) -> None:
        """`bucket` is the one that tenants share, where jobs have their previews and checkpoints.

        `weights` gives the weights of tenants, as they are now; those that it leaves out have the weight 1.
        `crew` counts the workers; 0 where none has reported yet.
        """
        self._database = database
        self._broker = broker
        self._clock = clock
        self._bucket = bucket
        self._windows = windows
        self._weights = weights
        self._crew = crew
        self._metrics = metrics or Metrics()
        self._setbacks = Setbacks[str]("sending", ids=of_job)

    def tick(self) -> bool:
        """Fill the windows; return whether a chunk was sent."""
        with self._database.read() as connection:
            waiting = job_rows.waiting_jobs(connection, now=self._clock())
            waiting = [job for job in waiting if self._setbacks.is_ready(job.id)]
            if not waiting:
                return False
            shares = chunk_rows.active_shares(connection)
            dispatched = chunk_rows.dispatched_counts(connection)
            oldest = chunk_rows.oldest_claims(connection)
            crew = self._crew(connection)
        weights = self._weights()
        sent = []
        for method, window in self._windows.items():
            most = min(window.chunks, crew or window.chunks)
            fair = FairShare((share for share in shares if share.method == method), weights)
            # Urgent jobs may overfill the window up to twice.
            room, room_ahead = most - dispatched[method], 2 * most - dispatched[method]
            own = [job for job in waiting if job.method == method]
            # Once a chunk has waited for long, no others may overtake it.
            patient = self._clock() - oldest.get(method, self._clock()) <= window.lease_s / 4
            sent.append(self._fill(own, fair, room, room_ahead=room_ahead if patient else 0))
        return any(sent)

    def _fill(self, waiting: list[Waiting], fair: FairShare, room: int, *, room_ahead: int) -> bool:
        """Send up to `room` chunks, or up to `room_ahead` if they overtake the queue, each of the next job."""
        sent = 0
        while waiting:
            job = fair.next(waiting)
            ahead = sent < room_ahead and fair.is_ahead(job)
            if not ahead and sent >= room:
                break
            if not self._setbacks.attempt(job.id, partial(self._send_next, job.id, ahead=ahead)):
                waiting.remove(job)
                continue
            self._metrics.sent(job.method)
            fair.add(job)
            sent += 1
        return sent > 0

    def _send_next(self, job_id: str, *, ahead: bool) -> bool:
        """Send the next chunk of a job; return False if there is none."""
        message = self._claim(job_id)
        if message is None:
            return False
        # Claimed first, sent second: if the scheduler dies in between, the claim runs out. There is never a
        # message without a claim.
        with about(chunk_id=message.chunk_id, attempt=message.attempt):
            with traces.span("dispatch", kind="producer", parent=message.traceparent):
                message = replace(message, traceparent=traces.traceparent() or message.traceparent)
                self._broker.send_chunk(message, ahead=ahead)
            log.debug("Chunk %d of %s, attempt %d, was sent", message.chunk_id, job_id, message.attempt)
        return True

    def _claim(self, job_id: str) -> ChunkMessage | None:
        now = self._clock()
        with self._database.write() as connection:
            job = job_rows.find_job(connection, job_id)
            # It may have been paused since it was read.
            if job is None or job.status not in _SENDING:
                return None
            # A photo that kills its worker takes all chunks on that worker along. So the last try is alone on its
            # worker, and the last tries of one tenant leave some workers to others.
            last = max(1, job.spec.max_attempts - 1)
            at_once = max(1, self._crew(connection) // 2)
            busy = chunk_rows.count_last_tries(connection, job.tenant, job.spec.method, deaths=last) >= at_once
            chunk = chunk_rows.next_chunk(connection, job_id, now=now, deaths_below=last if busy else None)
            if chunk is None:
                return None
            attempt = chunk_rows.claim(connection, chunk, now=now, lease_s=self._windows[chunk.method].lease_s)
            alone = chunk.deaths >= last
            message = None if attempt is None else self._message(connection, job, chunk, attempt, alone=alone)
        if message is not None and job.retries:
            # Workers may still have the hint that the job was stopped before the retry.
            self._broker.revive_job(job_id)
        return message

    def _message(self, connection: Connection, job: Job, chunk: Chunk, attempt: int, *, alone: bool) -> ChunkMessage:
        head = ChunkMessage(
            job_id=job.id,
            chunk_id=chunk.id,
            attempt=attempt,
            items=tuple(items.chunk_items(connection, chunk.id)),
            alone=alone,
            traceparent=job.spec.traceparent,
        )
        scratch = f"s3://{self._bucket}/{addresses.scratch_key(job.tenant, job.id)}"
        return find_method(job.spec.method).message(head, job.spec, job.spec.style(chunk.style), scratch=scratch)
