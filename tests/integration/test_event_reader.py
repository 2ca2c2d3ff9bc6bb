"""Of several schedulers, one reads the events of workers, and another takes over if it stops."""

from dataclasses import replace

import pytest

from nst_core.protocol.events import ChunkEvent
from nst_core.queue.connection import KEY_PREFIX, make_redis
from nst_core.settings import BrokerSettings
from scheduler.api.resources import item_of
from scheduler.jobs.finalizer import result_line
from scheduler.store.database import Database
from scheduler.store.errors import DatabaseUnavailableError
from scheduler.store.items import list_items
from tests.integration.conftest import ROLE_HELD_S, Rig, finished, outcome, started

SHORT_MS = round(ROLE_HELD_S * 100)


def begin(rig: Rig) -> str:
    """Let a worker send an event, and return the id of its job."""
    job_id = rig.submit(4)
    rig.plan()
    rig.dispatcher.tick()
    chunk = rig.take()
    assert chunk is not None
    rig.broker.publish(started(chunk))
    rig.broker.publish(finished(chunk))
    return job_id


def test_one_scheduler_collects_and_another_waits(rig: Rig) -> None:
    assert not rig.events.tick(block_ms=1)
    other = rig.new_event_reader()
    job_id = begin(rig)
    assert not other.tick(block_ms=1)
    assert (rig.events.leadership.leads, other.leadership.leads) == (True, False)
    assert rig.job(job_id).counts.succeeded == 0
    assert rig.events.tick(block_ms=1)
    assert rig.job(job_id).counts.succeeded == 4


def test_the_warning_of_an_image_is_stored_and_shown_in_the_results(rig: Rig) -> None:
    job_id = rig.submit(2)
    rig.plan()
    rig.dispatcher.tick()
    chunk = rig.take()
    assert chunk is not None
    rig.broker.publish(started(chunk))
    warning = "Only the first of the file's 7 frames is used."
    rig.broker.publish(finished(chunk, lambda index: replace(outcome(index), warning=warning if index == 1 else None)))
    rig.events.tick(block_ms=1)
    with rig.database.read() as connection:
        kept = list_items(connection, job_id, limit=10)
    assert [item.warning for item in kept] == [None, warning]
    assert [item_of(item).warning for item in kept] == [None, warning]
    assert [result_line(item, {})["warning"] for item in kept] == [None, warning]


def test_the_engine_of_an_image_is_stored_and_shown_in_the_results(rig: Rig) -> None:
    job_id = rig.submit(2)
    rig.plan()
    rig.dispatcher.tick()
    chunk = rig.take()
    assert chunk is not None
    rig.broker.publish(started(chunk))
    made = replace(outcome(1), engine="eager", precision="fp32")
    rig.broker.publish(finished(chunk, lambda index: made if index == 1 else outcome(index)))
    rig.events.tick(block_ms=1)
    with rig.database.read() as connection:
        kept = list_items(connection, job_id, limit=10)
    assert [(item.engine, item.precision) for item in map(item_of, kept)] == [(None, None), ("eager", "fp32")]
    lines = [result_line(item, {}) for item in kept]
    assert [(line["engine"], line["precision"]) for line in lines] == [(None, None), ("eager", "fp32")]


def test_a_scheduler_that_ends_hands_over_the_events_at_once(rig: Rig) -> None:
    rig.events.tick(block_ms=1)
    other = rig.new_event_reader()
    job_id = begin(rig)
    rig.events.close()
    assert other.tick(block_ms=1)
    assert rig.job(job_id).counts.succeeded == 4
    rig.events.close()
    rig.clock.advance(2)
    assert other.tick(block_ms=1) is False
    assert other.leadership.leads, "only who has the role can leave it"


def test_a_silent_scheduler_loses_its_role_and_its_late_writes_have_no_effect(
    rig: Rig, redis_server: BrokerSettings
) -> None:
    rig.events.tick(block_ms=1)
    other = rig.new_event_reader()
    job_id = begin(rig)
    client = make_redis(redis_server)
    client.delete(f"{KEY_PREFIX}holder:collector")  # as Redis does when the time is over
    client.close()
    assert other.tick(block_ms=1)
    assert not rig.events.tick(block_ms=1), "it believes in its role for a second more, and finds nothing"
    rig.clock.advance(2)
    assert not rig.events.tick(block_ms=1)
    assert not rig.events.leadership.leads
    assert rig.job(job_id).counts.succeeded == 4


def test_all_events_are_known_once_the_stream_was_read_to_its_end(rig: Rig) -> None:
    assert rig.events.known_until is None
    begin(rig)
    assert rig.events.tick(block_ms=1)
    assert rig.events.known_until == rig.clock(), "with many workers there is always another event"


def test_a_scheduler_without_a_database_hands_over_the_events(rig: Rig) -> None:
    rig.events.tick(block_ms=1)
    job_id = begin(rig)
    reached, rig.events.leadership._database = (
        rig.events.leadership._database,
        Database("postgresql://nobody@127.0.0.1:1/none"),
    )
    rig.clock.advance(2)
    with pytest.raises(DatabaseUnavailableError):
        rig.events.tick(block_ms=1)
    assert rig.events.known_until is None
    other = rig.new_event_reader()
    assert other.tick(block_ms=1)
    assert rig.job(job_id).counts.succeeded == 4
    rig.events.leadership._database.close()
    rig.events.leadership._database = reached
    assert not rig.events.tick(block_ms=1)
    assert not rig.events.leadership.leads


def test_the_role_is_renewed_while_a_long_page_of_events_is_applied(
    rig: Rig, redis_server: BrokerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.events.tick(block_ms=1)
    other = rig.new_event_reader()
    begin(rig)
    client, key = make_redis(redis_server), f"{KEY_PREFIX}holder:collector"
    apply, left_ms = rig.events._apply_chunk, []

    def apply_slowly(event: ChunkEvent) -> bool:
        left_ms.append(client.pttl(key))
        # As if most of the time had passed.
        client.pexpire(key, SHORT_MS)
        rig.clock.advance(1.5)
        return apply(event)

    monkeypatch.setattr(rig.events, "_apply_chunk", apply_slowly)
    assert rig.events.tick(block_ms=1)
    client.close()
    assert len(left_ms) == 2
    assert all(ms > SHORT_MS for ms in left_ms)
    assert not other.tick(block_ms=1)
    assert not other.leadership.leads
