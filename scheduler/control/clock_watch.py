"""Jumps of time: leases are renewed once when the time of day is set, or when the machine was asleep.

The database has leases and pauses in the time of day, because schedulers take over from each other. As long as that
time advances evenly, it is as good as a steady clock. If it jumps ahead, all leases look overdue at the same time,
although the workers had no chance to renew them. If it jumps back, leases and pauses last longer by the size of the
jump.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from nst_core.clock import Clock
from scheduler.store import leases
from scheduler.store.database import Database

log = logging.getLogger(__name__)

#: How much clocks may differ between two looks.
TOLERANCE_S = 5.0
#: Looks come more often than that, unless this process or the machine stood still.
_GAP_S = 15.0
#: A scheduler that does not become the leader within this time leaves the leases to the leader.
_PENDING_S = 60.0


def awake_and_asleep() -> float:
    """Return the seconds of a steady clock that also counts while the machine is asleep, if the system has one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True, kw_only=True)
class LeaseTimes:
    """How long leases last, in seconds."""

    #: For chunks and segments that a worker has begun.
    running_s: float
    #: For chunks, by method, and for segments that were sent but that no worker has begun.
    chunks_s: Mapping[str, float]
    segments_s: float


class ClockWatch:
    """Compares the clocks at each look, and renews leases after a jump."""

    def __init__(
        self,
        database: Database,
        times: LeaseTimes,
        *,
        clock: Clock = time.time,
        timer: Clock = time.monotonic,
        boot_timer: Clock = awake_and_asleep,
    ) -> None:
        """`clock` gives the time of day. `timer` is steady and stops while the machine is asleep.

        `boot_timer` is steady and counts sleep.
        """
        self._database = database
        self._times = times
        self._clock = clock
        self._timer = timer
        self._boot_timer = boot_timer
        self._last = self._read()
        #: How often leases are still to be renewed, the time of the jump, and by how much the time of day was set.
        self._left, self._since, self._step_s = 0, 0.0, 0.0

    def look(self) -> bool:
        """Return whether time has jumped, so that leases mean nothing until `renew` is called."""
        before, now = self._last, self._read()
        self._last = now
        wall_s, steady_s, boot_s = (after - earlier for after, earlier in zip(now, before, strict=True))
        step_s, asleep_s = wall_s - max(steady_s, boot_s), boot_s - steady_s
        if max(abs(wall_s - steady_s), asleep_s) > TOLERANCE_S or steady_s > _GAP_S:
            log.warning(
                "Time has jumped: the time of day by %.1f s; %.1f s asleep; %.1f s without a look. Leases are renewed.",
                step_s,
                asleep_s,
                steady_s,
            )
            # Twice, because transactions during the jump may still write the old time.
            self._left, self._since, self._step_s = 2, self._timer(), self._step_s + step_s
        if self._left and self._timer() - self._since > _PENDING_S:
            self._left, self._step_s = 0, 0.0
        return self._left > 0

    def renew(self) -> None:
        """Renew all leases. If the clock was set back, let pauses end when they would have ended without that."""
        now = self._clock()
        with self._database.write() as connection:
            leases.renew(
                connection,
                now=now,
                running_s=self._times.running_s,
                chunks_s=self._times.chunks_s,
                segments_s=self._times.segments_s,
            )
            if self._step_s < -TOLERANCE_S:
                leases.move_pauses(connection, now=now, by_s=self._step_s)
        self._left, self._step_s = self._left - 1, 0.0

    def _read(self) -> tuple[float, float, float]:
        return self._clock(), self._timer(), self._boot_timer()
