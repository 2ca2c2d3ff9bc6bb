"""Run control: keeps one live segment for each active run, even if messages or workers are lost.

A segment is claimed in the database and then sent. It is over when its end is accepted (`collector`), when its worker
stopped responding, when its message was lost, or when a client pauses or cancels it before a worker has begun it.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from nst_core.client.resources.runs import RunStatus
from nst_core.clock import Clock
from nst_core.protocol.segments import TrainSegment
from nst_core.system import traces
from nst_core.system.logs import about
from scheduler.control.broker import Broker
from scheduler.control.lost_messages import LostMessages, reason
from scheduler.control.metrics import TRAIN, Metrics
from scheduler.control.setbacks import Setbacks, of_run
from scheduler.domain import codes
from scheduler.domain.jobs import LEAST_WEIGHT
from scheduler.domain.runs import Run, SegmentState, Stop, place_key
from scheduler.runs.ends import RetryPolicy, at_checkpoint, failed, released
from scheduler.settings import SchedulerSettings
from scheduler.store import runs as run_rows
from scheduler.store.database import Database
from scheduler.store.runs import RunChanges, RunTurn

log = logging.getLogger(__name__)

_GOING_ON = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.EVALUATING)


@dataclass(frozen=True, kw_only=True)
class RunLimits:
    """How many runs work at the same time, and how long waits last."""

    #: Runs with a live segment, or between two segments.
    max_concurrent: int = 1
    #: A segment that no worker has begun after this time is sent again.
    dispatch_lease_s: float = 3600.0
    #: The same, for a segment whose message left the queue.
    lost_after_s: float = 5.0
    #: A segment ends after the first step that ends later than this.
    segment_s: float = 60.0
    retries: RetryPolicy = field(default_factory=RetryPolicy)

    @classmethod
    def of(cls, settings: SchedulerSettings) -> "RunLimits":
        """Return the limits that the settings describe."""
        return cls(
            max_concurrent=settings.max_concurrent_runs,
            dispatch_lease_s=settings.train_dispatch_lease_s,
            lost_after_s=settings.lost_after_s,
            segment_s=settings.train_segment_s,
            retries=RetryPolicy(max_failures=settings.max_run_failures, backoff_s=settings.retry_backoff_s),
        )


class RunControl:
    """Sends segments, takes them back from workers that stopped responding, and tells workers to stop."""

    def __init__(
        self,
        database: Database,
        broker: Broker,
        *,
        clock: Clock,
        bucket: str,
        limits: RunLimits | None = None,
        weights: Callable[[], Mapping[str, float]] = dict,
        metrics: Metrics | None = None,
    ) -> None:
        """`bucket` is the one that tenants share, where runs have their places.

        `weights` gives the weights of tenants, as they are now; those that it leaves out have the weight 1.
        """
        self._database = database
        self._broker = broker
        self._clock = clock
        self._bucket = bucket
        self._limits = limits or RunLimits()
        self._weights = weights
        self._metrics = metrics or Metrics()
        self._lost_messages = LostMessages[tuple[str, int]](clock=clock, lost_after_s=self._limits.lost_after_s)
        self._stopping = Setbacks[str]("stopping", ids=of_run)
        self._taking_back = Setbacks[str]("taking back", ids=of_run)
        self._sending = Setbacks[str]("sending", ids=of_run)
        #: Runs that have a turn.
        self._turns: set[str] = set()

    def has_runs(self) -> bool:
        """Return whether any run has not ended, or has a live segment; the other methods do nothing otherwise."""
        with self._database.read() as connection:
            return run_rows.has_unfinished_runs(connection)

    def announce(self) -> None:
        """Tell workers which segments to end; take back the segments that no worker has begun.

        Each call tells them again, because Redis may have lost the hints.
        """
        with self._database.read() as connection:
            found = run_rows.stopping_runs(connection)
        self._stopping.attempt_each(found, self._announce)

    def _announce(self, run_id: str) -> bool:
        run = self._find(run_id)
        if run is None or run.live is SegmentState.NONE or run.stop is Stop.NONE:
            return False
        self._broker.stop_segment(run.id, run.attempt)
        if run.live is SegmentState.DISPATCHED:
            self._change(run, lambda run: released(run, now=self._clock()))
        return True

    def reap(self, *, as_of: float | None = None) -> bool:
        """Take back segments that are overdue or lost; return whether there was any.

        `as_of` is the time up to which it is known what workers said, as in the Reaper; None stands for now.
        """
        now = self._clock() if as_of is None else as_of
        with self._database.read() as connection:
            found = run_rows.overdue_runs(connection, now=now)
        found += [run_id for run_id in self._lost(now) if run_id not in found]
        return self._taking_back.attempt_each(found, lambda run_id: self._take_back(run_id, now))

    def _take_back(self, run_id: str, now: float) -> bool:
        run = self._find(run_id)
        if run is None or run.live is SegmentState.NONE:
            return False
        silent = run.live is SegmentState.RUNNING
        if silent and (run.lease_until or 0.0) >= now:
            return False  # its worker was heard of since it was found
        why = reason(begun=silent, lease_until=run.lease_until, now=now)
        with about(tenant=run.tenant, attempt=run.attempt):
            log.warning("%s, attempt %d: %s", run.id, run.attempt, why)
        if self._change(run, self._fell_silent if silent else self._not_begun):
            self._metrics.lost(TRAIN, why)
        return True

    def forget(self) -> None:
        """Forget what was seen of the queue."""
        self._lost_messages.forget()

    def dispatch(self) -> bool:
        """Send the next segment of each run whose turn it is; return whether one was sent.

        A run that has its turn keeps it until it ends or is paused. Tenants get turns in proportion to their weights,
        as they do with chunks; of tenants with equal shares, the one that has waited longest is next. Of a tenant, the
        oldest run comes first.
        """
        with self._database.read() as connection:
            at_work = run_rows.runs_at_work(connection)
        live = {run.id for run in at_work if run.live is not SegmentState.NONE}
        # A run between two segments keeps its turn. A run that a client resumed waits for a new one.
        self._turns = (self._turns & {run.id for run in at_work}) | live
        load = Counter(run.tenant for run in at_work if run.id in live)
        room = self._limits.max_concurrent - len(live)
        kept = [run for run in at_work if run.id in self._turns - live]
        kept = kept[: max(0, room)]
        ready = [run for run in kept if run.not_before <= self._clock()]
        load.update(run.tenant for run in kept)
        room -= len(kept)
        sent = self._sending.attempt_each([run.id for run in ready], self._send)
        while room > 0 and (chosen := self._next(at_work, load)) is not None:
            if self._sending.attempt(chosen.id, partial(self._send, chosen.id)):
                sent = True
                load[chosen.tenant] += 1
                room -= 1
            elif self._sending.is_ready(chosen.id):
                break  # it was paused, or sent by another scheduler, since the look
        return sent

    def _next(self, at_work: Sequence[RunTurn], load: Mapping[str, int]) -> RunTurn | None:
        """Return the run that gets the next turn; `load` has the number of turns of each tenant."""
        now = self._clock()
        with self._database.read() as connection:
            waiting = [run for run in at_work if run.id not in self._turns]
            waiting = [run for run in waiting if run.not_before <= now and self._sending.is_ready(run.id)]
            waiting += run_rows.first_queued_runs(connection, now=now, without=self._sending.waiting())
            tenants = {run.tenant for run in waiting}
            last = run_rows.last_claims(connection, tenants) if len(tenants) > 1 else {}
        weights = self._weights()
        share = {tenant: load.get(tenant, 0) / max(weights.get(tenant, 1.0), LEAST_WEIGHT) for tenant in tenants}
        return min(waiting, key=lambda run: (share[run.tenant], last.get(run.tenant, 0.0), run.id), default=None)

    def _is_ready(self, run: Run) -> bool:
        return (
            run.live is SegmentState.NONE
            and run.status in _GOING_ON
            and run.not_before <= self._clock()
            and not run.is_through
        )

    def _send(self, run_id: str) -> bool:
        with self._database.write() as connection:
            run = run_rows.lock_run(connection, run_id)
            if run is None or not self._is_ready(run):
                return False
            lease_until = self._clock() + self._limits.dispatch_lease_s
            attempt = run_rows.claim(connection, run, now=self._clock(), lease_until=lease_until)
        self._turns.add(run_id)
        # Claimed first, sent second: if the scheduler dies in between, the claim counts as lost.
        message = self._message(run, attempt)
        with about(attempt=attempt), traces.span("dispatch", kind="producer", parent=message.traceparent):
            self._broker.send_segment(replace(message, traceparent=traces.traceparent() or message.traceparent))
        self._metrics.sent(TRAIN)
        return True

    def _find(self, run_id: str) -> Run | None:
        with self._database.read() as connection:
            return run_rows.find_run(connection, run_id)

    def _message(self, run: Run, attempt: int) -> TrainSegment:
        spec = run.spec
        return TrainSegment(
            run_id=run.id,
            attempt=attempt,
            phase=run.next_phase,
            config=spec.config,
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
            traceparent=spec.traceparent,
        )

    def _lost(self, now: float) -> list[str]:
        """Return the runs whose segment is not in the queue, and whose worker has said nothing for long enough."""
        with self._database.read() as connection:
            sent = set(run_rows.dispatched_runs(connection))
        missing = sent - self._broker.queued_segments() if sent else sent
        return sorted(run_id for run_id, _ in self._lost_messages.lost(missing, now=now))

    def _not_begun(self, run: Run) -> RunChanges:
        return released(run, now=self._clock(), progress=at_checkpoint(run))

    def _fell_silent(self, run: Run) -> RunChanges:
        message = f"The worker {run.worker} stopped responding during a segment: it died or hung."
        return failed(
            run,
            code=codes.WORKER_LOST,
            message=message,
            retryable=True,
            at_once=True,
            now=self._clock(),
            retries=self._limits.retries,
        )

    def _change(self, found: Run, change: Callable[[Run], RunChanges]) -> bool:
        """Change a run, and return whether it was changed: not if its segment was reported or ended meanwhile."""
        with self._database.write() as connection:
            run = run_rows.lock_unchanged_run(connection, found, "attempt", "live", "lease_until")
            if run is not None:
                run_rows.update_run(connection, run.id, **change(run))
        return run is not None
