"""Apply what workers report about chunks to the database, each event in one transaction.

If an attempt ends and some of its items are not done, the chunk waits for its next attempt (`_finish`).

An event takes effect only while its attempt is the chunk's current one. Applying an event twice changes nothing the
second time.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from nst_core.client.resources.items import ItemStatus
from nst_core.clock import Clock
from nst_core.protocol.events import ChunkEvent, ChunkFinished, ChunkProgress, ChunkStarted, ItemOutcome
from nst_core.system.logs import about
from scheduler.control.metrics import Metrics
from scheduler.domain.jobs import ChunkStatus, Job
from scheduler.jobs import lifecycle
from scheduler.jobs.item_times import ItemTimes
from scheduler.store import chunks as chunk_rows
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store.chunks import Chunk
from scheduler.store.database import Connection, Database

log = logging.getLogger(__name__)


class ChunkCollector:
    """Applies events of chunks to the database."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        lease_s: float,
        backoff_s: float,
        item_times: ItemTimes,
        metrics: Metrics | None = None,
    ) -> None:
        """A worker that is silent for `lease_s` loses its chunk.

        The pause before the second try of an item is `backoff_s`; it doubles with each further try.
        """
        self._metrics = metrics or Metrics()
        self._item_times = item_times
        self._database = database
        self._clock = clock
        self._lease_s = lease_s
        self._backoff_s = backoff_s

    def apply(self, event: ChunkEvent) -> bool:
        """Write one event to the database; return False if its attempt is outdated."""
        with self._database.write() as connection:
            locked = chunk_rows.lock_attempt(connection, event.chunk_id, event.attempt)
            if locked is None:
                log.info("Chunk %d: attempt %d is outdated", event.chunk_id, event.attempt)
                return False
            job, chunk = locked
            changes = self._begin(connection, job, chunk, event)
            applied: list[ItemOutcome] = []
            if not isinstance(event, ChunkStarted):
                if item_rows.set_progress(connection, chunk.id, event.progress) and chunk.failures + chunk.deaths:
                    # An optimization that gets further than the attempts that failed was not the cause of their end.
                    chunk_rows.forgive(connection, chunk.id)
                    chunk = replace(chunk, failures=0, deaths=0)
                kept = [outcome for outcome in event.outcomes if not self._try_again(job, chunk, outcome)]
                applied, moved = item_rows.apply_outcomes(connection, chunk.id, chunk.attempt, kept)
                changes.update(moved)
            if isinstance(event, ChunkFinished):
                changes.update(self._finish(connection, job, chunk, event.outcomes))
            lifecycle.settle(connection, job, changes)
            # Last, because many transactions change these rows: they stay locked for as short a time as possible.
            worker = event.worker if isinstance(event, ChunkStarted) else chunk.worker
            if worker is not None:
                self._item_times.see(connection, worker)
            self._item_times.note(connection, job.spec, chunk.style, applied)
        pixels = sum((outcome.width or 0) * (outcome.height or 0) for outcome in applied)
        self._metrics.ended(chunk.method, changes, pixels=pixels)
        return True

    def _begin(self, connection: Connection, job: Job, chunk: Chunk, event: ChunkEvent) -> Counter[ItemStatus]:
        """Renew the lease. The first event of an attempt also sets the chunk's items running."""
        worker = event.worker if isinstance(event, ChunkStarted) else None
        now = self._clock()
        blameless = event.blameless if isinstance(event, ChunkStarted) else None
        if isinstance(event, ChunkProgress) and event.blameless:
            blameless = True
        chunk_rows.set_running(
            connection, chunk.id, lease_until=now + self._lease_s, worker=worker, blameless=blameless
        )
        if chunk.status is not ChunkStatus.DISPATCHED:
            return Counter()
        if job.started_at is None:
            job_rows.update_job(connection, job.id, started_at=now)
        return item_rows.set_unfinished(connection, chunk.id, ItemStatus.RUNNING)

    def _try_again(self, job: Job, chunk: Chunk, outcome: ItemOutcome) -> bool:
        return not outcome.succeeded and outcome.retryable and chunk.failures + 1 < job.spec.max_attempts

    def _finish(
        self, connection: Connection, job: Job, chunk: Chunk, outcomes: Sequence[ItemOutcome]
    ) -> Counter[ItemStatus]:
        """End the chunk, or let it wait if some of its items are tried again."""
        rest = item_rows.chunk_items(connection, chunk.id)
        if not rest:
            chunk_rows.set_done(connection, chunk.id)
            return Counter()
        if job.stop is not None:
            return lifecycle.drop(connection, chunk.id)
        passing = any(self._try_again(job, chunk, outcome) for outcome in outcomes)
        pause_s = self._backoff_s * 2**chunk.failures if passing else 0.0
        if chunk.deaths and not outcomes:
            # It may have to be alone on its worker, and that one has long work. Its slot is for others meanwhile.
            pause_s = self._lease_s
        codes = sorted({outcome.error_code for outcome in outcomes if outcome.error_code})
        why = f"after temporary errors ({', '.join(codes)})" if passing else "given back by a worker"
        with about(job_id=job.id, tenant=job.tenant):
            log.info(
                "Chunk %d of %s, attempt %d: %d images wait for another attempt, %s",
                *(chunk.id, job.id, chunk.attempt, len(rest), why),
            )
        chunk_rows.set_pending(
            connection,
            chunk.id,
            failures=chunk.failures + passing,
            deaths=chunk.deaths,
            not_before=self._clock() + pause_s,
        )
        return item_rows.set_unfinished(connection, chunk.id, ItemStatus.PENDING)
