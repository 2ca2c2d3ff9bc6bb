"""The part of the client that hears of events: `Client.events`, `Client.runs.events`, and how `Client.wait` waits."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nst_core.errors import NstError
from scheduler.transport import Transport, UnreachableError

#: The API says something every 15 seconds; after so much silence the connection is taken for dead.
_SILENCE_S = 40.0
#: A look now and then, whatever events say.
_LOOK_S = 15.0
#: Tries to connect in a row that fail before it is given up.
_TRIES = 6
_ENDS = ("job.completed", "run.completed")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a job or a run, as the API tells it."""

    #: Where to go on: what comes later has a larger one.
    id: int
    #: Such as job.progress; a newer API may know others.
    type: str
    #: RFC 3339.
    timestamp: str
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def is_last(self) -> bool:
        return self.type in _ENDS


class EventClient:
    """Reads streams of events. Safe to share between threads."""

    def __init__(self, api: Transport, *, sleep: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._api = api
        self._sleep = sleep
        self._clock = clock

    def follow(self, path: str, *, after: int = 0) -> Iterator[Event]:
        """Yield events up to the last one; a lost connection is made again, behind the last event.

        Raises ApiError where the API refuses, UnreachableError where it is not there for some tries in a row.
        """
        failures, headers = 0, {"Accept": "text/event-stream"}
        while True:
            before, through = after, False
            try:
                headers["Last-Event-ID"] = str(after)
                with self._api.lines(path, headers=headers, silence_s=_SILENCE_S) as lines:
                    if lines is None:
                        return
                    for event in parse(lines):
                        after, through = event.id, event.is_last
                        yield event
            except UnreachableError:
                if failures + 1 >= _TRIES:
                    raise
            failures = 0 if after > before else failures + 1
            if failures >= _TRIES:
                raise UnreachableError("The API ends its stream of events again and again.")
            if not through:
                self._sleep(min(0.25 * 2**failures, 4.0))

    def occasions(self, path: str | None, *, poll_s: float, until: float | None = None) -> Iterator[None]:
        """Yield now, and then whenever it is worth to look again, for ever.

        That is when an event came, some time later in any case, and at `until` by the clock. Without a path, and while
        the API tells no events, it is each `poll_s` seconds.
        """
        yield
        if path is None:
            while True:
                self._sleep(poll_s)
                yield
        with _Ear(lambda: self.follow(path)) as ear:
            while True:
                left_s = _LOOK_S if until is None else max(0.0, min(_LOOK_S, until - self._clock()))
                if not ear.wait(left_s):
                    self._sleep(poll_s)
                yield


class _Ear:
    """Listens in a thread of its own, so that who waits for events can give up at any time."""

    def __init__(self, events: Callable[[], Iterator[Event]]) -> None:
        self._events = events
        self._heard = threading.Event()
        self._hears = False
        self._closed = False
        self._thread = threading.Thread(target=self._listen, name="events", daemon=True)

    def __enter__(self) -> "_Ear":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # It ends with the next line, or with the process.
        self._closed = True

    def wait(self, timeout_s: float) -> bool:
        """Return True after an event or the time; at once False where none can be heard."""
        if not self._hears:
            return False
        self._heard.wait(timeout_s)
        self._heard.clear()
        return True

    def _listen(self) -> None:
        try:
            for _ in self._events():
                self._hears = True
                self._heard.set()
                if self._closed:
                    return
        except (NstError, RuntimeError):
            pass  # the API has no events, or the client was closed: whoever waits asks by itself
        finally:
            self._hears = False
            self._heard.set()


def parse(lines: Iterator[str]) -> Iterator[Event]:
    """Yield the events of a stream's lines (WHATWG HTML 9.2.6); what is none of ours is left out."""
    id_, type_, data = "", "", ""
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                id_ = value
            elif name == "event":
                type_ = value
            elif name == "data":
                data += value + "\n"
            continue
        if data and id_.isdecimal():
            yield _event(int(id_), type_, data)
        type_, data = "", ""


def _event(id: int, type: str, data: str) -> Event:
    try:
        values = json.loads(data)
        return Event(id=id, type=type, timestamp=str(values["timestamp"]), data=dict(values["data"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UnreachableError(f"The answer is none that this version of nst knows: {error!r}.") from error
