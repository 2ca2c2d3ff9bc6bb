"""Collect what workers report about segments of runs, each event in one transaction.

An event takes effect only while its attempt is the run's current one and live. The end of a segment makes it not live,
so that of several deliveries of one segment a single end is accepted; what the others put into storage is garbage.
"""

import logging
from dataclasses import asdict
from typing import Any

from nst_core.client.resources.runs import RunStatus
from nst_core.clock import Clock
from nst_core.protocol.events import SegmentEvent, SegmentFinished, SegmentProgress, SegmentStarted, TrainProgress
from nst_core.protocol.segments import Phase, StoredFile
from scheduler.domain.runs import Run, Segment, SegmentState, Stop
from scheduler.runs.ends import FORGIVEN, RetryPolicy, at_checkpoint, failed, released
from scheduler.store import runs as run_rows
from scheduler.store import segments as segment_rows
from scheduler.store.database import Connection, Database
from scheduler.store.runs import RunChanges

log = logging.getLogger(__name__)


class RunCollector:
    """Applies events of segments to the database."""

    def __init__(self, database: Database, *, clock: Clock, lease_s: float, retries: RetryPolicy | None = None) -> None:
        """A worker that is silent for `lease_s` loses its segment."""
        self._database = database
        self._clock = clock
        self._lease_s = lease_s
        self._retries = retries or RetryPolicy()

    def apply(self, event: SegmentEvent) -> bool:
        """Write one event to the database; return False if its attempt is not live."""
        with self._database.write() as connection:
            run = run_rows.lock_run(connection, event.run_id)
            if run is None or run.attempt != event.attempt or run.live is SegmentState.NONE:
                log.info("%s: attempt %d is outdated", event.run_id, event.attempt)
                return False
            values = self._begun(run, event)
            if isinstance(event, SegmentFinished):
                values |= self._ended(connection, run, event)
            run_rows.update_run(connection, run.id, **values)
        return True

    def _begun(self, run: Run, event: SegmentEvent) -> RunChanges:
        """Renew the lease; the first event of an attempt sets its run running."""
        now = self._clock()
        values: RunChanges = {"live": SegmentState.RUNNING, "lease_until": now + self._lease_s}
        if run.status is RunStatus.QUEUED:
            values["status"] = RunStatus.RUNNING
        if run.started_at is None:
            values["started_at"] = now
        if isinstance(event, SegmentStarted | SegmentFinished):
            values["worker"] = event.worker[:255]
        if isinstance(event, SegmentProgress) and event.progress is not None:
            values["progress"] = merged(run.progress, event.progress)
        return values

    def _ended(self, connection: Connection, run: Run, event: SegmentFinished) -> RunChanges:
        values: RunChanges = {"train_seconds": run.train_seconds + event.seconds}
        if event.photos is not None:
            values["photos"] = asdict(event.photos)
        if (failure := event.failure) is not None:
            log.warning("%s, attempt %d failed: %s (%s)", run.id, run.attempt, failure.message, failure.code)
            return values | failed(
                run,
                code=failure.code,
                message=failure.message,
                retryable=failure.retryable,
                now=self._clock(),
                retries=self._retries,
            )
        if run.phase is Phase.EVALUATE:
            return values | self._evaluated(connection, run, event)
        return values | self._trained(connection, run, event)

    def _trained(self, connection: Connection, run: Run, event: SegmentFinished) -> RunChanges:
        checkpoint = event.checkpoint
        if checkpoint is None or (run.checkpoint is not None and event.step <= run.step):
            return self._stopped_early(run)
        self._note(connection, run, event, checkpoint=checkpoint)
        through = event.step >= run.steps
        return FORGIVEN | released(
            run,
            now=self._clock(),
            status=RunStatus.EVALUATING if through else RunStatus.RUNNING,
            step=event.step,
            checkpoint=checkpoint,
            config=event.config or run.config,
            progress=merged(run.progress, event.progress or TrainProgress(step=event.step)),
        )

    def _evaluated(self, connection: Connection, run: Run, event: SegmentFinished) -> RunChanges:
        if event.result is None or run.stop is not Stop.NONE:
            return self._stopped_early(run)
        self._note(connection, run, event, checkpoint=None)
        return FORGIVEN | released(run, now=self._clock(), result=asdict(event.result))

    def _stopped_early(self, run: Run) -> RunChanges:
        """Return the changes of a run whose segment made no progress, for example because its worker shut down."""
        now = self._clock()
        # A pause, in case workers end like this again and again. If a client stopped the run, the client resumes it.
        not_before = now + self._retries.backoff_s if run.stop is Stop.NONE else 0.0
        return released(run, now=now, progress=at_checkpoint(run), not_before=not_before)

    def _note(self, connection: Connection, run: Run, event: SegmentFinished, *, checkpoint: StoredFile | None) -> None:
        segment = Segment(
            attempt=run.attempt,
            phase=run.phase or Phase.TRAIN,
            from_step=run.step,
            to_step=event.step,
            worker=event.worker[:255],
            seconds=event.seconds,
            checkpoint=checkpoint,
            losses=event.losses,
            finished_at=self._clock(),
        )
        segment_rows.insert_segment(connection, run.id, segment)


def merged(before: dict[str, Any] | None, progress: TrainProgress) -> dict[str, Any]:
    """Return a progress for the database; missing values keep their previous ones."""
    values = asdict(progress)
    for name in ("losses", "steps_per_s"):
        values[name] = values[name] or (before or {}).get(name) or values[name]
    return values
