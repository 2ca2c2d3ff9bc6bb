"""The control loops, each in a thread of its own.

They plan, expire, withdraw, reap and dispatch jobs, read events, finalize, finish runs, send webhooks, and delete.

A loop survives temporary errors of the database, Redis, the storage and this machine's disk: it logs them once and
tries again. A fault of a single job, run or webhook affects only that one (see `setbacks`). Any other error ends the
process, and its supervisor starts it again: all state is in the database.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from nst_core.errors import NstError
from nst_core.metrics import TickObserver, TickOutcome, ignore_tick
from scheduler.control.clock_watch import ClockWatch
from scheduler.control.event_reader import EventReader
from scheduler.jobs.dispatcher import Dispatcher
from scheduler.jobs.expiry import Expirer
from scheduler.jobs.finalizer import Finalizer
from scheduler.jobs.planner import Planner
from scheduler.jobs.reaper import Reaper
from scheduler.jobs.withdrawal import Withdrawer
from scheduler.retention.retention import Retention
from scheduler.runs.control import RunControl
from scheduler.runs.finish import RunFinisher
from scheduler.runs.tidy import RunTidier
from scheduler.webhooks.deliver import Deliverer

log = logging.getLogger(__name__)

_IDLE_S = 1.0
#: Pause after a fault: the first one, and the longest. It doubles while the fault lasts.
_FAULT_PAUSE_S, _LONGEST_FAULT_PAUSE_S = 1.0, 5.0
#: A fault that lasts is logged again after this time.
_LOG_AGAIN_S = 60.0
#: Pause between two looks at the leases.
_REAP_S = 1.0


class Loop(threading.Thread):
    """Calls `tick` again and again: at once while there is work, otherwise after a pause or a wake-up."""

    def __init__(
        self, name: str, tick: Callable[[], bool], *, idle_s: float = _IDLE_S, observe: TickObserver = ignore_tick
    ) -> None:
        """`tick` returns whether there was work. `observe` is told how long each tick took, and its outcome."""
        super().__init__(name=name, daemon=True)
        self._observe = observe
        self._tick = tick
        self._idle_s = idle_s
        self._wake = threading.Event()
        self._stopped = False
        #: How many times it has ticked. The count stops if the thread hangs or has ended.
        self.ticks = 0

    def wake(self) -> None:
        """Tick now."""
        self._wake.set()

    def stop(self) -> None:
        """Stop ticking; return at once."""
        self._stopped = True
        self._wake.set()

    def run(self) -> None:
        faults, logged, logged_at = 0, "", 0.0
        while not self._stopped:
            began_at = time.monotonic()
            try:
                worked = self._tick()
                outcome, pause_s = (TickOutcome.WORKED, 0.0) if worked else (TickOutcome.IDLE, self._idle_s)
                if faults:
                    log.info("%s: works again.", self.name)
                faults, logged = 0, ""
            except (NstError, OSError) as error:
                if isinstance(error, NstError) and not error.retryable:
                    self._die(error)
                # An OSError is a full disk or another fault of this machine, which a new process would have too.
                message = error.message if isinstance(error, NstError) else f"This machine failed: {error}."
                if message != logged or time.monotonic() - logged_at >= _LOG_AGAIN_S:
                    log.warning("%s: %s Trying again.", self.name, message)
                    logged, logged_at = message, time.monotonic()
                pause_s = min(_LONGEST_FAULT_PAUSE_S, _FAULT_PAUSE_S * 2.0 ** min(faults, 30))
                outcome, faults = TickOutcome.FAULT, faults + 1
            except Exception as error:  # noqa: BLE001  A thread cannot end its process by raising
                self._die(error)
            self.ticks += 1
            self._observe(self.name, time.monotonic() - began_at, outcome)
            if pause_s:
                self._wake.wait(pause_s)
                self._wake.clear()

    def _die(self, error: Exception) -> NoReturn:
        log.critical("The %s loop failed", self.name, exc_info=error)
        logging.shutdown()
        os._exit(70)


class Loops:
    """All control loops of one scheduler."""

    def __init__(
        self,
        *,
        planner: Planner,
        dispatcher: Dispatcher,
        events: EventReader,
        reaper: Reaper,
        finalizer: Finalizer,
        expirer: Expirer,
        withdrawer: Withdrawer,
        retention: Retention,
        run_control: RunControl,
        run_finisher: RunFinisher,
        run_tidier: RunTidier,
        deliverer: Deliverer,
        clock_watch: ClockWatch,
        observe: TickObserver = ignore_tick,
    ) -> None:
        self._clock_watch = clock_watch
        self._reap_at = 0.0
        self._events = events
        self._reaper = reaper
        self._dispatcher = dispatcher
        self._expirer = expirer
        self._withdrawer = withdrawer
        self._run_control = run_control
        self._run_finisher = run_finisher
        self._run_tidier = run_tidier
        self._deliverer = deliverer
        self._planner = planner
        self._plan = Loop("plan", self._plan_and_wake, observe=observe)
        self._dispatch = Loop("dispatch", self._dispatch_and_reap, observe=observe)
        self._collect = Loop("collect", self._read_events, idle_s=0.01, observe=observe)
        self._on_end: Callable[[], object] = lambda: None
        self._finalize = Loop("finalize", lambda: self._finalize_and_tell(finalizer.tick), observe=observe)
        self._finalize_large = Loop(
            "finalize-large", lambda: self._finalize_and_tell(finalizer.tick_large), observe=observe
        )
        self._runs = Loop("runs", self._finish_and_tidy_runs, observe=observe)
        self._retention = Loop("retention", retention.tick, idle_s=10.0, observe=observe)
        self._webhooks = Loop("webhooks", deliverer.tick, observe=observe)
        self._all = (
            *(self._collect, self._plan, self._dispatch, self._finalize, self._finalize_large, self._runs),
            *(self._retention, self._webhooks),
        )

    def start(self, *, on_end: Callable[[], object] = lambda: None) -> None:
        """Start all loops. `on_end` is called after jobs have ended."""
        self._on_end = on_end
        for loop in self._all:
            loop.start()

    def ticks(self) -> dict[str, int]:
        """Return how many times each loop has ticked so far."""
        return {loop.name: loop.ticks for loop in self._all}

    def wake(self) -> None:
        """Let all loops tick now."""
        for loop in self._all:
            loop.wake()

    def stop(self, *, timeout_s: float = 60.0) -> list[str]:
        """Stop all loops, wait for their last tick up to a time, and return the names of those that still run."""
        for loop in self._all:
            loop.stop()
        until = time.monotonic() + timeout_s
        for loop in self._all:
            loop.join(max(0.0, until - time.monotonic()))
        self._events.close()
        # Messages without an answer by then are sent again after the next start.
        self._deliverer.wait(timeout_s=3.0)
        return [loop.name for loop in self._all if loop.is_alive()]

    def _plan_and_wake(self) -> bool:
        planned = self._planner.tick()
        if planned:
            self._dispatch.wake()
        return planned

    def _finalize_and_tell(self, tick: Callable[[], bool]) -> bool:
        ended = tick()
        if ended:
            self._on_end()
        return ended

    def _read_events(self) -> bool:
        return self._events.tick(on_turn=self._wake_after_events)

    def _wake_after_events(self) -> None:
        for loop in (self._dispatch, self._finalize, self._finalize_large, self._runs):
            loop.wake()

    def _dispatch_and_reap(self) -> bool:
        expired = self._expirer.tick()
        if self._withdrawer.tick() or expired:
            self._finalize.wake()
        has_runs = self._run_control.has_runs()
        if has_runs:
            self._run_control.announce()
        reaped = False
        # Read before the clocks: otherwise it could be of a time after a jump that was not noticed yet.
        known_until = self._events.known_until
        jumped = self._clock_watch.look()
        # After a start, leases look overdue until the events of workers are read. If another scheduler reads the
        # events, it is also the one that reaps.
        if known_until is None or jumped:
            self._reaper.forget()
            self._run_control.forget()
            if known_until is not None:
                self._clock_watch.renew()
        elif time.monotonic() >= self._reap_at:
            self._reap_at = time.monotonic() + _REAP_S
            reaped = self._reaper.tick(as_of=known_until)
            reaped |= has_runs and self._run_control.reap(as_of=known_until)
        sent = self._dispatcher.tick()
        return (has_runs and self._run_control.dispatch()) or sent or reaped

    def _finish_and_tidy_runs(self) -> bool:
        finished = self._run_finisher.tick()
        return self._run_tidier.tick() or finished
