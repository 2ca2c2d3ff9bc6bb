"""The base of reports: how a worker tells the scheduler about work in flight, and learns whether it is still wanted."""

import logging
import time
from abc import ABC, abstractmethod
from threading import Event as Flag
from threading import Thread
from types import TracebackType
from typing import Self

from nst_core.clock import Clock
from nst_core.errors import BrokerUnavailableError
from nst_core.protocol.events import Event
from nst_core.system.logs import Ids, about
from worker.runtime.broker import WorkerBroker

_log = logging.getLogger(__name__)
#: The pause between attempts to publish the last event grows from the first value to the second.
_FIRST_WAIT_S, _LAST_WAIT_S = 0.1, 2.0


class Report(ABC):
    """Keeps the scheduler informed about one attempt at one piece of work. Use it as a context manager.

    Inside the `with` block, a thread publishes news every `progress_s` seconds and renews the lease every `heartbeat_s`
    seconds, even during long steps. It also checks whether the work is still wanted. Redis may be unavailable
    meanwhile; only `finish` keeps trying.
    """

    def __init__(
        self,
        broker: WorkerBroker,
        *,
        id: int | str,
        attempt: int,
        label: str,
        ids: Ids,
        traceparent: str | None = None,
        progress_s: float,
        heartbeat_s: float,
        clock: Clock = time.monotonic,
    ) -> None:
        """Publish nothing before the `with` block. `id` is the chunk's or the run's; `label` names it in the log.

        `ids` are those of all log lines about the work, and `traceparent` is what its message says of its trace.
        """
        self.id = id
        self.attempt = attempt
        self.label = label
        self.ids = ids
        self.traceparent = traceparent
        self._broker = broker
        self._progress_s = progress_s
        self._heartbeat_s = heartbeat_s
        self._clock = clock
        self._sent_at = clock()
        self._news_at = clock()
        self._unwanted = False
        self._redis_is_away = False
        self._done = Flag()
        self._thread = Thread(target=self._tick_until_done, name=f"report on {label}", daemon=True)

    @property
    def idle_s(self) -> float:
        """Seconds since a part of the work was completed, or since the start."""
        return self._clock() - self._news_at

    @property
    def unwanted(self) -> bool:
        """Whether the result would be discarded, so that no further step should begin."""
        return self._unwanted

    def __enter__(self) -> Self:
        self._try_publish(self._started())
        self.listen()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A heartbeat after the end of the work would keep the lease of something that nobody works on.
        self._done.set()
        self._thread.join()

    @abstractmethod
    def tick(self) -> None:
        """Publish what is new, or a heartbeat if one is due."""

    def listen(self) -> None:
        """Ask Redis whether the work is still wanted. If Redis does not answer, it is."""
        try:
            self._ask()
        except BrokerUnavailableError as error:
            self._note_fault(error)

    def is_outdated(self) -> bool:
        """Return whether a newer attempt exists; raise BrokerUnavailableError if Redis does not answer."""
        return self._broker.is_outdated(self.id, self.attempt)

    def publish_end(self, event: Event, stop: Flag) -> bool:
        """Publish the last event, trying until Redis accepts it.

        Returns False if `stop` was set before that. The scheduler then notices that the lease has expired.
        """
        wait_s = _FIRST_WAIT_S
        while not self._try_publish(event):
            if stop.wait(wait_s):
                return False
            wait_s = min(2 * wait_s, _LAST_WAIT_S)
        return True

    @abstractmethod
    def _started(self) -> Event:
        """Return the first event of the work."""

    @abstractmethod
    def _ask(self) -> None:
        """Ask Redis whether the work is still wanted and store the answer; may raise BrokerUnavailableError."""

    @property
    def _heartbeat_is_due(self) -> bool:
        return self._clock() - self._sent_at >= self._heartbeat_s

    def _try_publish(self, event: Event) -> bool:
        try:
            self._broker.publish(event)
        except BrokerUnavailableError as error:
            self._note_fault(error)
            return False
        self._redis_is_away = False
        self._sent_at = self._clock()
        return True

    def _tick_until_done(self) -> None:
        with about(**self.ids):
            while not self._done.wait(self._progress_s):
                self.tick()
                self.listen()

    def _note_fault(self, error: BrokerUnavailableError) -> None:
        # One warning each time that Redis becomes unavailable, not several a second until it is back.
        level = logging.DEBUG if self._redis_is_away else logging.WARNING
        self._redis_is_away = True
        _log.log(level, "%s: %s", self.label, error)
