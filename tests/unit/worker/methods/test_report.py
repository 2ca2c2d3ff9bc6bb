"""Tests of worker.methods.report."""

from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread

import pytest
from pydantic import SecretStr

from nst_core.protocol.chunks import StylizeChunk
from nst_core.protocol.events import ChunkFinished, ChunkProgress, ChunkStarted, ItemOutcome, ItemProgress
from nst_core.settings import BrokerSettings
from nst_core.storage.blobs import BlobStore
from scheduler.local.servers import HOST, free_port, redis_command
from tests.brokers import Broker
from tests.servers import run_server
from tests.unit.worker.kit import WAIT_S, events, make_chunk, wait_until
from worker.methods.report import ChunkReport

FIRST, SECOND = ItemOutcome(index=0, ms=1, sha256="a"), ItemOutcome(index=1, ms=1, sha256="b")


@dataclass
class ManualClock:
    """A clock that moves only when a test moves it."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def chunk(blobs: BlobStore) -> StylizeChunk:
    return make_chunk(blobs, [None, None], chunk_id=7)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def make_report(chunk: StylizeChunk, broker: Broker, clock: ManualClock, *, progress_s: float = 3600) -> ChunkReport:
    """Return a report whose thread wakes only if `progress_s` is given."""
    return ChunkReport(chunk, broker, worker="w@test", progress_s=progress_s, heartbeat_s=3, clock=clock)


def hasty_broker(port: int) -> Broker:
    """Return a broker that tries each command once, so that tests need not wait while nothing listens on the port."""
    return Broker(BrokerSettings(redis_url=SecretStr(f"redis://{HOST}:{port}/0")), patient=False)


def test_a_report_begins_with_the_start(chunk: StylizeChunk, broker: Broker, clock: ManualClock) -> None:
    with make_report(chunk, broker, clock):
        assert events(broker) == [ChunkStarted(chunk_id=7, attempt=1, worker="w@test")]


def test_a_tick_publishes_the_outcomes_since_the_last(chunk: StylizeChunk, broker: Broker, clock: ManualClock) -> None:
    with make_report(chunk, broker, clock) as report:
        report.add(FIRST)
        report.tick()
        report.tick()
        report.add(SECOND)
        report.tick()
    assert events(broker)[1:] == [
        ChunkProgress(chunk_id=7, attempt=1, outcomes=(FIRST,)),
        ChunkProgress(chunk_id=7, attempt=1, outcomes=(SECOND,)),
    ]


def test_a_tick_publishes_the_newest_progress_of_each_item(
    chunk: StylizeChunk, broker: Broker, clock: ManualClock
) -> None:
    def at(iteration: int, index: int = 0) -> ItemProgress:
        return ItemProgress(index=index, iteration=iteration, iterations=9, losses={"style": 0.5})

    with make_report(chunk, broker, clock) as report:
        for iteration in (1, 2, 3):
            report.note(at(iteration))
        report.note(at(7, index=1))
        report.tick()
        report.tick()
        report.note(at(4))
    assert report.publish_end(report.end(), Event())
    assert events(broker)[1:] == [
        ChunkProgress(chunk_id=7, attempt=1, progress=(at(3), at(7, index=1))),
        ChunkFinished(chunk_id=7, attempt=1, outcomes=(), progress=(at(4),)),
    ]


def test_a_heartbeat_is_sent_only_after_a_long_silence(chunk: StylizeChunk, broker: Broker, clock: ManualClock) -> None:
    heartbeat = ChunkProgress(chunk_id=7, attempt=1)
    with make_report(chunk, broker, clock) as report:
        clock.now += 2.9
        report.tick()
        assert events(broker)[1:] == []
        clock.now += 0.1
        report.tick()
        report.tick()
        assert events(broker)[1:] == [heartbeat]
        clock.now += 2
        report.add(FIRST)
        report.tick()
        clock.now += 2  # four seconds after the last heartbeat, two after the outcome
        report.tick()
    assert len(events(broker)) == 3


def test_the_reports_own_thread_ticks_until_the_end(chunk: StylizeChunk, broker: Broker, clock: ManualClock) -> None:
    with make_report(chunk, broker, clock, progress_s=0.02) as report:
        report.add(FIRST)
        wait_until(lambda: len(events(broker)) == 2)
    clock.now += 10
    assert not Event().wait(0.1)
    assert len(events(broker)) == 2


def test_a_report_that_ends_with_an_error_leaves_no_heartbeat_behind(
    chunk: StylizeChunk, broker: Broker, clock: ManualClock
) -> None:
    with pytest.raises(KeyError), make_report(chunk, broker, clock, progress_s=0.02):
        raise KeyError("a fault")
    clock.now += 10
    assert not Event().wait(0.1)
    assert len(events(broker)) == 1


def test_a_chunk_of_a_cancelled_job_is_unwanted(chunk: StylizeChunk, broker: Broker, clock: ManualClock) -> None:
    with make_report(chunk, broker, clock) as report:
        assert not report.unwanted
        broker.cancel_job(chunk.job_id)
        report.listen()
        assert report.unwanted


def test_an_attempt_is_unwanted_once_a_newer_one_was_sent(
    chunk: StylizeChunk, broker: Broker, clock: ManualClock
) -> None:
    with make_report(chunk, broker, clock) as report:
        broker.send_chunk(replace(chunk, attempt=2))
        report.listen()
        assert report.unwanted


def test_the_end_event_has_all_outcomes(chunk: StylizeChunk, broker: Broker, clock: ManualClock) -> None:
    with make_report(chunk, broker, clock) as report:
        report.add(FIRST)
        report.tick()
        report.add(SECOND)
    assert report.publish_end(report.end(), Event())
    assert events(broker)[-1] == ChunkFinished(chunk_id=7, attempt=1, outcomes=(FIRST, SECOND))


def test_only_the_end_event_is_retried_while_redis_is_down(
    chunk: StylizeChunk, clock: ManualClock, tmp_path: Path
) -> None:
    port = free_port()
    broker = hasty_broker(port)
    stop, answers = Event(), list[bool]()
    with make_report(chunk, broker, clock) as report:  # nothing listens on the port yet
        report.add(FIRST)
        report.tick()
        assert not report.unwanted
    finish = Thread(target=lambda: answers.append(report.publish_end(report.end(), stop)))
    finish.start()
    assert not Event().wait(0.3)
    with run_server(redis_command(port, tmp_path), port):
        finish.join(WAIT_S)
        assert answers == [True]
        assert events(broker) == [ChunkFinished(chunk_id=7, attempt=1, outcomes=(FIRST,))]
    broker.close()


def test_progress_that_redis_did_not_accept_is_sent_again(
    chunk: StylizeChunk, clock: ManualClock, tmp_path: Path
) -> None:
    port = free_port()
    broker = hasty_broker(port)
    with make_report(chunk, broker, clock) as report:
        report.add(FIRST)
        report.tick()
        with run_server(redis_command(port, tmp_path), port):
            report.tick()
            assert events(broker) == [ChunkProgress(chunk_id=7, attempt=1, outcomes=(FIRST,))]
    broker.close()


def test_the_end_event_is_given_up_when_the_process_is_told_to_stop(chunk: StylizeChunk, clock: ManualClock) -> None:
    broker = hasty_broker(free_port())
    stop = Event()
    stop.set()
    report = make_report(chunk, broker, clock)
    assert not report.publish_end(report.end(), stop)
    broker.close()


def test_waiting_chunk_is_reported_as_started_only_when_it_starts(
    chunk: StylizeChunk, broker: Broker, clock: ManualClock
) -> None:
    report = ChunkReport(chunk, broker, worker="w@test", progress_s=3600, heartbeat_s=3, clock=clock, waits=True)
    with report:
        report.begin()
        report.begin()
        report.tick()
    assert events(broker) == [
        ChunkStarted(chunk_id=7, attempt=1, worker="w@test", blameless=True),
        ChunkStarted(chunk_id=7, attempt=1, worker="w@test"),
    ]


def test_worker_that_is_told_to_end_reports_it_once(chunk: StylizeChunk, broker: Broker, clock: ManualClock) -> None:
    stop = Event()
    report = ChunkReport(
        chunk, broker, worker="w@test", progress_s=3600, heartbeat_s=3, clock=clock, leaving=stop.is_set
    )
    with report:
        report.tick()
        stop.set()
        report.tick()
        report.tick()
    assert events(broker)[1:] == [ChunkProgress(chunk_id=7, attempt=1, blameless=True)]
