"""The worker's side of Redis: opens messages, sends events, and reads the hints that schedulers leave."""

from typing import Any

from nst_core.protocol.events import EVENTS_STREAM, Event, dump_event
from nst_core.queue.connection import (
    EVENT_PURPOSE,
    QueueConnection,
    attempt_key,
    cancelled_key,
    claim_key,
    stopped_key,
)

#: Longer than a message stays unacknowledged before Redis delivers it again.
_CLAIM_TTL_S = 24 * 3600


class WorkerBroker(QueueConnection):
    """Redis as workers use it. Raises BrokerUnavailableError if it does not answer."""

    def open(self, queue: str, message: Any) -> Any:
        """Return the values in a message that was taken from a queue.

        Raises ProtocolError unless a process with the same NST_MESSAGE_SECRET sent it to this queue.
        """
        return self._signer.open(queue, message)

    def is_outdated(self, id: int | str, attempt: int) -> bool:
        """Return whether a newer attempt of a chunk, or of a run, is known."""
        with self._translated():
            newest = _number(self._redis.get(attempt_key(id)))
        return newest is not None and newest > attempt

    def claim(self, id: int | str, attempt: int, claimant: str) -> bool:
        """Note who begins an attempt; return whether nobody else has begun it.

        Redis delivers a message again if the connection of the worker that has it breaks, though that worker goes on.
        """
        key = claim_key(id, attempt)
        with self._translated():
            # A first try may have been carried out although its answer was lost.
            return bool(self._redis.set(key, claimant, nx=True, ex=_CLAIM_TTL_S)) or (
                self._redis.get(key) == claimant.encode()
            )

    def is_stopped(self, run_id: str, attempt: int) -> bool:
        """Return whether the scheduler has stopped this attempt of a run, or a later one."""
        with self._translated():
            newest = _number(self._redis.get(stopped_key(run_id)))
        return newest is not None and newest >= attempt

    def is_cancelled(self, job_id: str) -> bool:
        """Return whether the scheduler has cancelled a job."""
        with self._translated():
            return bool(self._redis.exists(cancelled_key(job_id)))

    def publish(self, event: Event) -> None:
        """Send an event to the scheduler."""
        self._add_event(dump_event(event))

    def _add_event(self, data: bytes) -> None:
        with self._translated():
            self._redis.xadd(EVENTS_STREAM, {"event": data, "signature": self._signer.sign(EVENT_PURPOSE, data)})


def _number(value: Any) -> int | None:
    """Return a hint as a number; None if it is missing or malformed."""
    try:
        return None if value is None else int(value)
    except ValueError:
        return None
