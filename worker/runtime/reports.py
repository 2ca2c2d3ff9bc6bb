"""How a worker tells the scheduler about work in flight, and hears whether it is still wanted."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from threading import Event as Flag
from threading import Thread
from types import TracebackType
from typing import Self

from nst_core.clock import Clock
from nst_core.errors import BrokerUnavailableError
from nst_core.protocol.chunks import Event
from nst_core.queue.broker import Broker

_log = logging.getLogger(__name__)
#: Waits between tries to publish the end of the work grow from the first to the last.
_FIRST_WAIT_S, _LAST_WAIT_S = 0.1, 2.0


class Report(ABC):
    """Keeps the scheduler informed about one piece of work; a context manager around it.

    Inside it a thread publishes news every `progress_s` and renews the lease every `heartbeat_s`, however long a step
    of the work takes, and notices when the work is not wanted any more. All of this may fail while Redis is away;
    only the end insists.
    """

    def __init__(
        self, broker: Broker, *, label: str, progress_s: float, heartbeat_s: float, clock: Clock = time.monotonic
    ) -> None:
        """Nothing is sent before the `with` block; `label` names the work in the log."""
        self._broker = broker
        self._label = label
        self._progress_s = progress_s
        self._heartbeat_s = heartbeat_s
        self._clock = clock
        self._sent_at = clock()
        self._news_at = clock()
        self._unwanted = False
        self._away = False
        self._done = Flag()
        self._thread = Thread(target=self._tick_until_done, name=f"report on {label}", daemon=True)

    @property
    def idle_s(self) -> float:
        """Seconds since something of the work was completed, or since it began."""
        return self._clock() - self._news_at

    @property
    def unwanted(self) -> bool:
        """Nobody needs what the work would come to any more: nothing is to be begun."""
        return self._unwanted

    def __enter__(self) -> Self:
        self._try_publish(self._started())
        self.listen()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A heartbeat that went on after the work would keep the lease of what nobody works at.
        self._done.set()
        self._thread.join()

    @abstractmethod
    def tick(self) -> None:
        """Publish what is new, or a sign of life where none was sent for long."""

    def listen(self) -> None:
        """Ask whether the work is still wanted; without an answer it is."""
        try:
            self._ask()
        except BrokerUnavailableError as error:
            self._note_fault(error)

    @abstractmethod
    def _started(self) -> Event:
        """Return the event that the work begins with."""

    @abstractmethod
    def _ask(self) -> None:
        """Ask Redis whether the work is still wanted, and note the answer; may raise BrokerUnavailableError."""

    @property
    def _silent(self) -> bool:
        """Whether a sign of life is due."""
        return self._clock() - self._sent_at >= self._heartbeat_s

    def _insist(self, event: Event, stop: Flag) -> bool:
        """Publish an event, and try until Redis takes it; return False where `stop` was set before it did."""
        wait_s = _FIRST_WAIT_S
        while not self._try_publish(event):
            if stop.wait(wait_s):
                return False
            wait_s = min(2 * wait_s, _LAST_WAIT_S)
        return True

    def _try_publish(self, event: Event) -> bool:
        try:
            self._broker.publish(event)
        except BrokerUnavailableError as error:
            self._note_fault(error)
            return False
        self._away = False
        self._sent_at = self._clock()
        return True

    def _tick_until_done(self) -> None:
        while not self._done.wait(self._progress_s):
            self.tick()
            self.listen()

    def _note_fault(self, error: BrokerUnavailableError) -> None:
        # One line each time that Redis goes away, not several a second for as long as it stays away.
        level = logging.DEBUG if self._away else logging.WARNING
        self._away = True
        _log.log(level, "%s: %s", self._label, error)


def is_outdated(ask: Callable[[], bool], label: str) -> bool:
    """Return what `ask` answers to whether a newer attempt exists; no where Redis does not answer."""
    try:
        return ask()
    except BrokerUnavailableError as error:
        # The attempt number fences off whatever an outdated attempt says, so the worst is some wasted work.
        _log.warning("%s: %s", label, error)
        return False
