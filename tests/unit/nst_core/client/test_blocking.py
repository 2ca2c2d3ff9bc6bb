"""Tests of nst_core.client.blocking."""

from collections.abc import Iterator

from nst_core.client.blocking import Listener
from nst_core.client.errors import UnreachableError


def listen(*events: str) -> Listener:
    """Return a listener that heard some events before their stream ended."""

    def stream() -> Iterator[str]:
        yield from events
        raise UnreachableError("The stream ended.")

    listener = Listener(stream)
    listener.start()
    assert listener._thread is not None
    listener._thread.join()
    return listener


def test_an_event_counts_even_if_no_more_come() -> None:
    listener = listen("job.finalizing", "job.completed")
    assert listener.wait(60, poll_s=60)
    assert not listener.wait(60, poll_s=60)


def test_a_stream_without_events_is_no_occasion() -> None:
    listener = listen()
    assert not listener.wait(60, poll_s=60)
    assert not listener.wait(60, poll_s=60)
