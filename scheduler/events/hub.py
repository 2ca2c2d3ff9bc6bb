"""Streams of events to clients: one poller of the database for all that this process serves.

A stream costs no thread: while any waits, the poller asks twice a second for the news of all subjects together, and
at once if this process has ended a job. A
stream that has many events to catch up with reads them by itself, one page of one tenant at a time, so that it delays
nobody else's news. A stream whose client reads slowly is not asked for until it has sent what it has, so none holds
more than one batch.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from anyio.to_thread import run_sync

from nst_core.errors import NstError
from scheduler.access.limits import Streams
from scheduler.domain.events import Event
from scheduler.store import events as event_rows
from scheduler.store.database import Database

log = logging.getLogger(__name__)

POLL_S = 0.5
HEARTBEAT_S = 15.0
_BATCH = 1000
#: Places of one query, and events of each where not all fit.
_PLACES, _EACH = 200, 50
#: Streams that catch up at the same time, of all tenants: they share the threads of the API.
_REPLAYS = 4
#: A subject, and the id of an event: what comes next is after it.
_Place = tuple[str, int]


@dataclass(eq=False, kw_only=True)
class Stream:
    """What one client has received of one subject."""

    tenant: str
    subject: str
    #: The id of the last event that was handed out.
    after: int
    found: list[Event] = field(default_factory=list)
    #: There may be many more events; the stream reads them on its own.
    behind: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    #: No more events come: the poller failed, or the process ends.
    broken: bool = False


class EventHub:
    """Hands out events to streams. `open` and `close` may be called in any thread, the rest in the event loop."""

    def __init__(
        self,
        database: Database,
        *,
        max_streams: Callable[[str], float | None],
        poll_s: float = POLL_S,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        """`max_streams` says how many streams a tenant may have at once; None: any number."""
        #: A silent stream sends a comment after this time, so that proxies and clients do not close it.
        self.heartbeat_s = heartbeat_s
        self._database = database
        self._max_streams = max_streams
        self._poll_s = poll_s
        self._open = Streams()
        self._waiting: set[Stream] = set()
        #: By tenant: held by the one of its streams that reads a page.
        self._turns: dict[str, asyncio.Lock] = {}
        self._replays = asyncio.Semaphore(_REPLAYS)
        self._poller: asyncio.Task[None] | None = None
        #: The event loop of the poller, and whether it should look at once.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hurry = asyncio.Event()
        self._stopped = False

    def open(self, tenant: str, subject: str, *, after: int, over: bool) -> Stream | None:
        """Open a stream after an event's id; return None if no events will follow.

        An id above the subject's last is that of something else, and stands for the last. `over` says that the subject
        has ended. Raises TooManyStreamsError. What is opened has to be closed.
        """
        with self._database.read() as connection:
            found = event_rows.events_after(connection, [(subject, after)], limit=_BATCH)
            last = None if found else event_rows.last_event(connection, subject)
            if not found:
                after = min(after, 0 if last is None else last.id)
        # An ended subject may have no events left: old events are removed.
        if not found and over and (last is None or last.type.is_terminal):
            return None
        self._open.acquire(tenant, limit=self._max_streams(tenant))
        return Stream(tenant=tenant, subject=subject, after=after, found=found, behind=len(found) == _BATCH)

    def close(self, stream: Stream) -> None:
        """Close a stream."""
        self._open.release(stream.tenant)

    def stop(self) -> None:
        """End all streams soon, because the process ends. May be called in a signal handler."""
        self._stopped = True

    def look(self) -> None:
        """Look for news at once. May be called in any thread."""
        # A loop that is closed has no streams.
        with suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._hurry.set)

    async def next(self, stream: Stream, *, timeout_s: float) -> list[Event]:
        """Return the next events of a stream, or none after a time."""
        if stream.behind and not stream.found and not self.is_broken(stream):
            await self._catch_up(stream)
        if not stream.found and not stream.behind and not self.is_broken(stream):
            stream.wake.clear()
            self._waiting.add(stream)
            if self._poller is None:
                self._loop, self._hurry = asyncio.get_running_loop(), asyncio.Event()
                self._poller = asyncio.create_task(self._poll())
            try:
                await asyncio.wait_for(stream.wake.wait(), timeout_s)
            except TimeoutError:
                pass
            finally:
                self._waiting.discard(stream)
        found, stream.found = stream.found, []
        if found:
            stream.after = found[-1].id
        return found

    async def is_through(self, stream: Stream) -> bool:
        """Return whether the last event that was handed out is the subject's end, and its last."""
        last = await run_sync(self._last, stream.subject)
        return last is not None and last.id <= stream.after and last.type.is_terminal

    def is_broken(self, stream: Stream) -> bool:
        """Return whether nothing more comes although the subject has not ended."""
        return self._stopped or stream.broken

    async def _catch_up(self, stream: Stream) -> None:
        """Read the next page of a stream that has events to catch up with."""
        async with self._turns.setdefault(stream.tenant, asyncio.Lock()), self._replays:
            try:
                stream.found = await run_sync(self._page, stream.subject, stream.after)
            except NstError as error:
                log.warning("Events cannot be read now: %s", error.message)
                await asyncio.sleep(self._poll_s)
            else:
                stream.behind = len(stream.found) == _BATCH

    def _page(self, subject: str, after: int) -> list[Event]:
        with self._database.read() as connection:
            return event_rows.events_after(connection, [(subject, after)], limit=_BATCH)

    async def _poll(self) -> None:
        try:
            while self._waiting and not self._stopped:
                waiting = {stream: (stream.subject, stream.after) for stream in self._waiting}
                try:
                    found = await run_sync(self._fetch, set(waiting.values()))
                except NstError as error:
                    log.warning("Events cannot be read now: %s", error.message)
                    found = {}
                for stream, place in waiting.items():
                    own = found.get(place, [])
                    # Skip streams that have stopped waiting, or they would get the events twice.
                    if own and stream in self._waiting and stream.after == place[1]:
                        stream.found, stream.behind = own, len(own) >= _EACH
                        stream.wake.set()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), self._poll_s)
                self._hurry.clear()
        except Exception:
            log.exception("Events cannot be read")
            for stream in self._waiting:
                stream.broken = True
                stream.wake.set()
        finally:
            self._poller = None

    def _fetch(self, places: Collection[_Place]) -> dict[_Place, list[Event]]:
        """Return the next events of each place, but none of what comes after events that are left out."""
        found: dict[_Place, list[Event]] = {}
        distinct = sorted(places)
        with self._database.read() as connection:
            for start in range(0, len(distinct), _PLACES):
                some = distinct[start : start + _PLACES]
                news = event_rows.events_after(connection, some, limit=_BATCH)
                if len(news) == _BATCH:
                    # Somebody has much news: each place gets its own first events, so that none waits for another.
                    found |= {place: event_rows.events_after(connection, [place], limit=_EACH) for place in some}
                else:
                    found |= _by_place(some, news)
        return found

    def _last(self, subject: str) -> Event | None:
        with self._database.read() as connection:
            return event_rows.last_event(connection, subject)


def _by_place(places: Sequence[_Place], news: Sequence[Event]) -> dict[_Place, list[Event]]:
    """Return which of all events after some places come after each."""
    of_subject: dict[str, list[Event]] = defaultdict(list)
    for event in news:
        of_subject[event.subject].append(event)
    return {(subject, after): [each for each in of_subject[subject] if each.id > after] for subject, after in places}
