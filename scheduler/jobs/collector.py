"""Collect what workers report and write it to the database, each event in one transaction.

An event takes effect only while its attempt is the chunk's current one; whatever an outdated attempt says is dropped.
An event that is applied twice changes nothing the second time. So several schedulers may collect at once, and none of
them has to: one does, as long as it is alive.
"""

import logging
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from nst_core.clock import Clock
from nst_core.errors import NstError, ProtocolError
from nst_core.protocol.chunks import (
    ChunkEvent,
    ChunkFinished,
    ChunkProgress,
    ChunkStarted,
    Event,
    ItemOutcome,
    ItemStatus,
    load_event,
)
from nst_core.protocol.segments import SegmentProgress
from nst_core.queue.broker import Broker
from scheduler.domain.jobs import ChunkStatus, Job
from scheduler.jobs import lifecycle
from scheduler.jobs.item_times import Rates
from scheduler.runs.collector import RunCollector
from scheduler.store import chunks as chunk_rows
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store.chunks import Chunk
from scheduler.store.database import Connection, Database
from scheduler.store.errors import UnstorableError

log = logging.getLogger(__name__)

#: Events that are read at once.
_PAGE = 200
#: The role of the one that collects. It is taken from one that was not heard of for `_HELD_S`.
_ROLE, _HELD_S, _RENEW_S = "collector", 3.0, 1.0


class Collector:
    """Applies events of chunks to the database, and hands on those of runs."""

    def __init__(
        self,
        database: Database,
        broker: Broker,
        *,
        runs: RunCollector,
        clock: Clock,
        lease_s: float,
        max_attempts: int,
        backoff_s: float,
        rates: Rates | None = None,
    ) -> None:
        self._rates = rates or Rates(clock=clock)
        self._database = database
        self._broker = broker
        self._runs = runs
        self._clock = clock
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._backoff_s = backoff_s
        #: What workers said before this time is in the database; of what they said since, some may not be.
        self.known_until = float("-inf")
        #: Whether something began or ended by the last events; others only told of progress.
        self.turned = False
        #: Whether events are collected here, and not by another scheduler.
        self.leads = False
        self._name = secrets.token_hex(8)
        self._renewed_at = float("-inf")

    def tick(self, *, block_ms: int = 500) -> bool:
        """Apply the events that are there, waiting for some; return whether there were any.

        Where another scheduler collects, wait for as long.
        """
        self.turned = False
        try:
            if self._lead():
                return self._collect(block_ms=block_ms)
        except NstError:
            # While events cannot be read or stored, every lease looks overdue; another scheduler may be better off.
            self.known_until = float("-inf")
            with suppress(NstError):
                self.close()
            raise
        self.known_until = float("-inf")
        time.sleep(block_ms / 1000)
        return False

    @property
    def is_current(self) -> bool:
        """Whether all that workers said up to `known_until` was collected here."""
        return self.leads and self.known_until > float("-inf")

    def close(self) -> None:
        """Leave the events to another scheduler."""
        if self.leads:
            self.leads = False
            self._broker.let_go(_ROLE, self._name)

    def _lead(self) -> bool:
        """Take the role, or keep it: to be called more often than it runs out."""
        now = self._clock()
        if not self.leads or not 0 <= now - self._renewed_at < _RENEW_S:
            # Only who reaches the database may have it: nobody else would collect meanwhile.
            self._database.ping()
            self.leads = self._broker.hold(_ROLE, self._name, seconds=_HELD_S)
            self._renewed_at = now
        return self.leads

    def _collect(self, *, block_ms: int) -> bool:
        asked_at = self._clock()
        stored = self._broker.read_events(limit=_PAGE, block_ms=block_ms)
        forged = sum(not entry.is_genuine for entry in stored)
        if forged:
            log.error(
                "%d events were dropped: they are not signed with this process's NST_MESSAGE_SECRET. They are forged,"
                " or a worker has another secret.",
                forged,
            )
        for entry in (each for each in stored if each.is_genuine):
            self._lead()
            try:
                event = load_event(entry.data)
            except ProtocolError as error:
                log.error("An event was dropped: %s", error.message)
            else:
                self.turned |= not isinstance(event, ChunkProgress | SegmentProgress)
                self._apply_or_drop(event)
        if stored:
            # Dropped only now: a scheduler that dies before this finds them again, and applies them to no effect.
            self._broker.drop_events(stored)
        if self.leads and len(stored) < _PAGE:
            self.known_until = asked_at
        return bool(stored)

    def _apply_or_drop(self, event: Event) -> None:
        """Write an event to the database; drop one that cannot be written, or it would stop all others for ever.

        What a dropped event is about is tried again when its lease ends.
        """
        try:
            self.apply(event)
        except NstError as error:
            if error.retryable:
                raise  # the database does not answer: the event is read again
            log.error("An event was dropped: %s", error.message)
        except (UnstorableError, OverflowError, UnicodeEncodeError) as error:
            log.error("An event that cannot be stored was dropped: %s", error)
        except Exception:
            log.exception("An event that cannot be applied was dropped")

    def apply(self, event: Event) -> bool:
        """Write one event to the database; return False where its attempt is outdated."""
        return self._apply(event) if isinstance(event, ChunkEvent) else self._runs.apply(event)

    def _apply(self, event: ChunkEvent) -> bool:
        with self._database.write() as connection:
            known = chunk_rows.find_chunk(connection, event.chunk_id)
            if known is None:
                return False
            if known.status not in chunk_rows.ACTIVE or known.attempt != event.attempt:
                log.info("Chunk %d: attempt %d is outdated", event.chunk_id, event.attempt)
                return False
            job = job_rows.lock_job(connection, known.job_id)
            chunk = chunk_rows.lock_attempt(connection, event.chunk_id, event.attempt)
            if chunk is None:
                return False  # ended while its job was locked
            changes = self._begin(connection, job, chunk, event)
            applied: list[ItemOutcome] = []
            if not isinstance(event, ChunkStarted):
                if item_rows.set_progress(connection, chunk.id, event.progress) and chunk.failures + chunk.deaths:
                    # An optimisation that goes on after a worker's death was not the reason for it.
                    chunk_rows.forgive(connection, chunk.id)
                    chunk = replace(chunk, failures=0, deaths=0)
                kept = [outcome for outcome in event.outcomes if not self._try_again(job, chunk, outcome)]
                applied, moved = item_rows.apply_outcomes(connection, chunk.id, chunk.attempt, kept)
                changes.update(moved)
            if isinstance(event, ChunkFinished):
                changes.update(self._finish(connection, job, chunk, event.outcomes))
            lifecycle.settle(connection, job, changes)
            # Last, because rows that many transactions change are locked for as short as can be.
            worker = event.worker if isinstance(event, ChunkStarted) else chunk.worker
            if worker is not None:
                self._rates.see(connection, worker)
            self._rates.note(connection, job.spec, chunk.version, applied)
        return True

    def _begin(self, connection: Connection, job: Job, chunk: Chunk, event: ChunkEvent) -> Counter[ItemStatus]:
        """Renew the lease; the first event of an attempt sets its items running."""
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
        most = job.max_attempts or self._max_attempts
        return not outcome.succeeded and outcome.retryable and chunk.failures + 1 < most

    def _finish(
        self, connection: Connection, job: Job, chunk: Chunk, outcomes: Sequence[ItemOutcome]
    ) -> Counter[ItemStatus]:
        """End the chunk, or let it wait with the items that are to be tried again."""
        rest = item_rows.chunk_items(connection, chunk.id)
        if not rest:
            chunk_rows.set_done(connection, chunk.id)
            return Counter()
        if job.stop is not None:
            return lifecycle.drop(connection, chunk.id)
        passing = any(self._try_again(job, chunk, outcome) for outcome in outcomes)
        pause_s = self._backoff_s * 2**chunk.failures if passing else 0.0
        chunk_rows.set_pending(
            connection,
            chunk.id,
            failures=chunk.failures + passing,
            deaths=chunk.deaths,
            not_before=self._clock() + pause_s,
        )
        return item_rows.set_unfinished(connection, chunk.id, ItemStatus.PENDING)
