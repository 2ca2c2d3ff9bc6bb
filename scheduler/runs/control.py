"""Run control: one live segment for each run at work, whatever becomes of messages and workers.

A segment is claimed in the database and then sent. It is over when its end is accepted (`collector`), when its
worker fell silent, when its message was lost, or when a client wants no more of it before a worker has begun it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nst_core.broker import Broker
from nst_core.clock import Clock
from nst_core.segments import TrainSegment
from scheduler import codes
from scheduler.absences import Absences
from scheduler.runs.domain import Live, Run, RunStatus, place_key
from scheduler.runs.ends import Retries, at_checkpoint, failed, released
from scheduler.store import runs as run_rows
from scheduler.store.database import Database

log = logging.getLogger(__name__)

_GOING_ON = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.EVALUATING)


@dataclass(frozen=True, kw_only=True)
class RunLimits:
    """How many runs are at work, and for how long one waits for what."""

    #: Runs with a live segment, or between two segments.
    max_concurrent: int = 1
    #: A segment that no worker has begun for so long is sent again.
    dispatch_lease_s: float = 3600.0
    #: The same where the queue has been empty for so long.
    lost_after_s: float = 5.0
    #: A segment ends after the step at which so much time is over.
    segment_s: float = 60.0
    retries: Retries = field(default_factory=Retries)


class RunControl:
    """Sends segments, takes them back from the dead, and tells workers to stop."""

    def __init__(
        self, database: Database, broker: Broker, *, clock: Clock, bucket: str, limits: RunLimits | None = None
    ) -> None:
        """`bucket` is the one that tenants share, where runs have their places."""
        self._database = database
        self._broker = broker
        self._clock = clock
        self._bucket = bucket
        self._limits = limits or RunLimits()
        self._absences = Absences[tuple[str, int]](clock=clock, lost_after_s=self._limits.lost_after_s)

    def announce(self) -> None:
        """Tell workers of segments that are to end now; take back those that no worker has begun.

        The hints are given again at each call: Redis may have lost them.
        """
        with self._database.read() as connection:
            found = run_rows.stopping_runs(connection)
        for run in found:
            self._broker.stop_segment(run.id, run.attempt)
            if run.live is Live.DISPATCHED:
                self._change(run, lambda run: released(run, now=self._clock()))

    def reap(self, *, as_of: float | None = None) -> bool:
        """Take back segments that are overdue or lost; return whether there was any.

        `as_of` is the time up to which it is known what workers said, as in the Reaper; None stands for now.
        """
        now = self._clock() if as_of is None else as_of
        with self._database.read() as connection:
            found = run_rows.overdue_runs(connection, now=now)
        found += [run for run in self._lost(now) if run not in found]
        for run in found:
            silent = run.live is Live.RUNNING
            log.warning(
                "%s, attempt %d: %s",
                run.id,
                run.attempt,
                "its worker fell silent" if silent else "its message was lost",
            )
            self._change(run, self._fell_silent if silent else self._was_lost)
        return bool(found)

    def forget(self) -> None:
        """Forget what was seen of the queue."""
        self._absences.forget()

    def dispatch(self) -> bool:
        """Send the next segment of each run whose turn it is; return whether one was sent.

        The oldest runs have their turn first, and keep it until they end or are paused.
        """
        with self._database.read() as connection:
            # One with a result waits for no worker.
            found = [run for run in run_rows.unfinished_runs(connection) if run.result is None]
        at_work = [run for run in found if run.live is not Live.NONE or run.status in _GOING_ON[1:]]
        waiting = [run for run in found if run.live is Live.NONE and run.status is RunStatus.QUEUED]
        turns = (at_work + waiting)[: self._limits.max_concurrent]
        sent = [self._send(run.id) for run in turns if self._is_ready(run)]
        return any(sent)

    def _is_ready(self, run: Run) -> bool:
        return run.live is Live.NONE and run.status in _GOING_ON and run.not_before <= self._clock()

    def _send(self, run_id: str) -> bool:
        with self._database.write() as connection:
            run = run_rows.lock_run(connection, run_id)
            if run is None or not self._is_ready(run):
                return False
            lease_until = self._clock() + self._limits.dispatch_lease_s
            attempt = run_rows.claim(connection, run, now=self._clock(), lease_until=lease_until)
        # Claimed first, sent second: a scheduler that dies between the two leaves a claim that is found to be lost.
        self._broker.send_segment(self._message(run, attempt))
        return True

    def _message(self, run: Run, attempt: int) -> TrainSegment:
        spec = run.spec
        return TrainSegment(
            run_id=run.id,
            attempt=attempt,
            phase=run.next_phase,
            config=spec.config,
            strength=spec.balance,
            painting=spec.painting,
            photos=spec.photos,
            held_out=spec.held_out,
            initial=spec.initial,
            samples=spec.samples,
            sample_every=spec.sample_every,
            segment_s=self._limits.segment_s,
            checkpoint=run.checkpoint,
            place=f"s3://{self._bucket}/{place_key(run.tenant, run.id)}",
            exact=spec.exact,
        )

    def _lost(self, now: float) -> list[Run]:
        """Return the runs whose segment is not in the queue, and whose worker has said nothing for long enough."""
        with self._database.read() as connection:
            sent = {(run.id, run.attempt): run for run in run_rows.dispatched_runs(connection)}
        missing = sent.keys() - self._broker.queued_segments() if sent else sent.keys()
        lost = self._absences.lost(missing, now=now)
        return [run for key, run in sent.items() if key in lost]

    def _was_lost(self, run: Run) -> dict[str, Any]:
        return released(run, now=self._clock(), progress=at_checkpoint(run))

    def _fell_silent(self, run: Run) -> dict[str, Any]:
        message = f"The worker {run.worker} fell silent: it died, or hung, in the middle of a segment."
        return failed(
            run,
            code=codes.WORKER_LOST,
            message=message,
            retryable=True,
            at_once=True,
            now=self._clock(),
            retries=self._limits.retries,
        )

    def _change(self, found: Run, change: Callable[[Run], dict[str, Any]]) -> None:
        """Change a run unless its segment was heard of meanwhile, or has ended."""
        with self._database.write() as connection:
            run = run_rows.lock_run(connection, found.id)
            if run is None or (run.attempt, run.live, run.lease_until) != (
                found.attempt,
                found.live,
                found.lease_until,
            ):
                return
            run_rows.update_run(connection, run.id, **change(run))
