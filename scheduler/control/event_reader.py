"""Read what workers report, and hand each event to whatever applies it to the database.

Events can be applied twice without harm, so several schedulers may read at once. Usually one does: the one that leads.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress

from nst_core.clock import Clock
from nst_core.errors import NstError, ProtocolError
from nst_core.protocol.events import (
    ChunkEvent,
    ChunkProgress,
    ChunkStarted,
    Event,
    SegmentEvent,
    SegmentFinished,
    SegmentProgress,
    SegmentStarted,
    load_event,
)
from nst_core.system.logs import Ids, about
from scheduler.control.broker import Broker
from scheduler.control.leadership import Leadership
from scheduler.store.errors import DatabaseFaultError, UnstorableError

log = logging.getLogger(__name__)

#: The most events that are read at once.
_PAGE = 200


class EventReader:
    """Reads the stream of events while this scheduler leads."""

    def __init__(
        self,
        broker: Broker,
        leadership: Leadership,
        *,
        apply_chunk: Callable[[ChunkEvent], bool],
        apply_segment: Callable[[SegmentEvent], bool],
        clock: Clock,
    ) -> None:
        """`apply_chunk` and `apply_segment` write an event to the database; False says that its attempt is outdated."""
        self.leadership = leadership
        self._broker = broker
        self._apply_chunk = apply_chunk
        self._apply_segment = apply_segment
        self._clock = clock
        self._known_until: float | None = None

    @property
    def known_until(self) -> float | None:
        """The time before which everything that workers said is in the database; None if this scheduler cannot tell."""
        return self._known_until if self.leadership.leads else None

    def tick(self, *, block_ms: int = 500, on_turn: Callable[[], None] = lambda: None) -> bool:
        """Apply the events in the stream, waiting up to `block_ms` for one; return whether there were any.

        `on_turn` is called if something began or ended, and not only progressed. If another scheduler leads, only wait.
        """
        try:
            if self.leadership.renew():
                return self._read(block_ms, on_turn)
        except NstError:
            # While events cannot be read or stored, every lease looks overdue. Another scheduler may be better off.
            self._known_until = None
            self.close()
            raise
        self._known_until = None
        time.sleep(block_ms / 1000)
        return False

    def close(self) -> None:
        """Leave the events to another scheduler, if Redis answers."""
        with suppress(NstError):
            self.leadership.leave()

    def _read(self, block_ms: int, on_turn: Callable[[], None]) -> bool:
        asked_at = self._clock()
        stored = self._broker.read_events(limit=_PAGE, block_ms=block_ms)
        forged = sum(not entry.is_genuine for entry in stored)
        if forged:
            log.error(
                "%d events were dropped because they are not signed with this process's NST_MESSAGE_SECRET. They are"
                " forged, or a worker has another secret.",
                forged,
            )
        turned = False
        for entry in (each for each in stored if each.is_genuine):
            self.leadership.renew()
            try:
                event = load_event(entry.data)
            except ProtocolError as error:
                log.error("An event was dropped: %s", error.message)
            else:
                turned |= not isinstance(event, ChunkProgress | SegmentProgress)
                with about(**_ids_of(event)):
                    self._apply_or_drop(event)
        if stored:
            # Dropped only now: if this scheduler dies before, the events are applied again, without effect.
            self._broker.drop_events(stored)
        if self.leadership.leads and len(stored) < _PAGE:
            self._known_until = asked_at
        if turned:
            on_turn()
        return bool(stored)

    def _apply_or_drop(self, event: Event) -> None:
        """Apply an event. Drop an event that cannot be applied; otherwise it would block all later ones.

        The work that a dropped event is about is tried again when its lease ends.
        """
        try:
            if isinstance(event, ChunkEvent):
                self._apply_chunk(event)
            else:
                self._apply_segment(event)
        except NstError as error:
            if error.retryable:
                raise  # the database does not answer: the event is read again
            log.error("An event was dropped: %s", error.message)
        except DatabaseFaultError:
            raise  # the fault is not the event's: the process ends, and the next one reads the event again
        except (UnstorableError, OverflowError, UnicodeEncodeError) as error:
            log.error("An event that cannot be stored was dropped: %s", error)
        except Exception:
            log.exception("An event that cannot be applied was dropped")


def _ids_of(event: Event) -> Ids:
    ids = Ids(attempt=event.attempt)
    if isinstance(event, ChunkEvent):
        ids["chunk_id"] = event.chunk_id
    else:
        ids["run_id"] = event.run_id
    if isinstance(event, ChunkStarted | SegmentStarted | SegmentFinished):
        ids["worker"] = event.worker
    return ids
