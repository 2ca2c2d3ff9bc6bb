"""Tests of worker.runtime.turns."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from celery.worker import state

from nst_core.protocol.chunks import OptimizeChunk, StylizeChunk
from worker.runtime.turns import QueueTurns

STYLIZE, OPTIMIZE = StylizeChunk.queue, OptimizeChunk.queue


@pytest.fixture
def turns() -> Iterator[QueueTurns]:
    """Queue turns with two slots for one method and one for the other, set up as kombu does."""
    turns = QueueTurns({STYLIZE: 2, OPTIMIZE: 1})
    turns.update([STYLIZE, OPTIMIZE])  # type: ignore[no-untyped-call]
    yield turns
    state.reset_state()


def reserve(key: str, queue: str) -> None:
    """Record a task as Celery does when its message arrives. Its name is that of its queue."""
    state.requests[key] = SimpleNamespace(name=queue)


def test_a_queue_that_gave_a_message_comes_last(turns: QueueTurns) -> None:
    assert turns.consume(2) == [STYLIZE, OPTIMIZE]
    turns.rotate(STYLIZE)  # type: ignore[no-untyped-call]
    assert turns.consume(2) == [OPTIMIZE, STYLIZE]


def test_a_queue_without_free_slots_is_skipped_until_one_is_free(turns: QueueTurns) -> None:
    reserve("a", OPTIMIZE)
    reserve("b", STYLIZE)
    assert turns.consume(2) == [STYLIZE]
    reserve("c", STYLIZE)
    assert turns.consume(2) == []
    del state.requests["a"]
    assert turns.consume(2) == [OPTIMIZE]
