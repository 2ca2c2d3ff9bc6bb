"""A broker in memory, for unit tests of the control loops. `control/test_broker.py` checks that it is like Redis."""

from collections.abc import Collection
from typing import Any

from nst_core.clock import Clock
from nst_core.protocol.chunks import ChunkMessage, dump_chunk
from nst_core.protocol.events import Event, dump_event
from nst_core.protocol.segments import TRAIN_TASK, TrainSegment, dump_segment
from scheduler.control.broker import Broker, StoredEvent


class MemoryBroker(Broker):
    """Overrides everything that Broker does with Redis, and plays the worker's side too."""

    def __init__(self, *, clock: Clock) -> None:
        """`clock` ends the roles of holders that do not renew them."""
        self._clock = clock
        #: By queue: what `take` returns next comes first.
        self.queues: dict[str, list[tuple[tuple[int | str, int], Any]]] = {}
        self._attempts: dict[int | str, int] = {}
        self._stopped: dict[str, int] = {}
        self._cancelled: set[str] = set()
        self._holders: dict[str, tuple[str, float]] = {}
        self._events: list[StoredEvent] = []
        self._sent_at: dict[str, float] = {}
        self._last_event = 0

    def ping(self) -> None:
        pass

    def check_access(self) -> None:
        pass

    def close(self) -> None:
        pass

    def send_chunk(self, chunk: ChunkMessage, *, ahead: bool = False) -> None:
        self._attempts[chunk.chunk_id] = chunk.attempt
        message = ((chunk.chunk_id, chunk.attempt), dump_chunk(chunk))
        urgent, normal = self._lists(chunk.queue)
        (urgent if ahead else normal).append(message)

    def send_segment(self, segment: TrainSegment) -> None:
        self._attempts[segment.run_id] = segment.attempt
        self._lists(TRAIN_TASK)[1].append(((segment.run_id, segment.attempt), dump_segment(segment)))

    def withdraw_chunks(self, queue: str, attempts: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
        withdrawn = set[tuple[int, int]]()
        for messages in self._lists(queue):
            for message in [each for each in messages if each[0] in attempts]:
                messages.remove(message)
                withdrawn.add(message[0])  # type: ignore[arg-type]
        return withdrawn

    def queued_chunks(self, queue: str) -> set[tuple[int, int]]:
        return self._queued(queue)

    def queued_segments(self) -> set[tuple[str, int]]:
        return self._queued(TRAIN_TASK)

    def outdate_chunk(self, id: int, attempt: int) -> None:
        self._attempts[id] = attempt + 1

    def stop_segment(self, run_id: str, attempt: int) -> None:
        self._stopped[run_id] = attempt

    def cancel_job(self, job_id: str) -> None:
        self._cancelled.add(job_id)

    def revive_job(self, job_id: str) -> None:
        self._cancelled.discard(job_id)

    def hold(self, role: str, holder: str, *, seconds: float) -> bool:
        present, until = self._holders.get(role, (holder, 0.0))
        if present != holder and until > self._clock():
            return False
        self._holders[role] = (holder, self._clock() + seconds)
        return True

    def let_go(self, role: str, holder: str) -> None:
        if self._holders.get(role, ("", 0.0))[0] == holder:
            del self._holders[role]

    def read_events(self, *, limit: int = 200, block_ms: int = 500) -> list[StoredEvent]:
        return self._events[:limit]

    def drop_events(self, events: list[StoredEvent]) -> None:
        dropped = {event.id for event in events}
        self._events = [event for event in self._events if event.id not in dropped]

    def unread_events(self) -> tuple[int, float]:
        oldest = self._sent_at.get(self._events[0].id) if self._events else None
        return len(self._events), 0.0 if oldest is None else self._clock() - oldest

    # What a worker does.

    def take(self, queue: str) -> Any:
        """Take the next message from a queue and return its values; None if the queue is empty."""
        for messages in self._lists(queue):
            if messages:
                return messages.pop(0)[1]
        return None

    def publish(self, *events: Event, is_genuine: bool = True) -> None:
        """Send events to the scheduler."""
        for event in events:
            self._last_event += 1
            self._sent_at[f"{self._last_event}-0"] = self._clock()
            self._events.append(StoredEvent(f"{self._last_event}-0", dump_event(event), is_genuine=is_genuine))

    def is_outdated(self, id: int | str, attempt: int) -> bool:
        """Return whether a newer attempt is known."""
        return self._attempts.get(id, 0) > attempt

    def is_stopped(self, run_id: str, attempt: int) -> bool:
        """Return whether this attempt of a run was stopped, or a later one."""
        return self._stopped.get(run_id, 0) >= attempt

    def is_cancelled(self, job_id: str) -> bool:
        """Return whether a job is cancelled."""
        return job_id in self._cancelled

    # What a test does.

    def lose(self) -> None:
        """Lose all messages, hints and roles, as FLUSHALL does."""
        for messages in self.queues.values():
            messages.clear()
        for kept in (self._attempts, self._stopped, self._cancelled, self._holders, self._events):
            kept.clear()

    def _lists(self, queue: str) -> tuple[list[tuple[tuple[int | str, int], Any]], ...]:
        return tuple(self.queues.setdefault(f"{queue}:{priority}", []) for priority in ("ahead", "behind"))

    def _queued(self, queue: str) -> set[Any]:
        return {attempt for messages in self._lists(queue) for attempt, _ in messages}
