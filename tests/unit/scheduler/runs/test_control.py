"""Tests of scheduler.runs.control."""

import pytest
from prometheus_client import CollectorRegistry

from nst_core.client.resources.runs import RunStatus
from nst_core.protocol.events import SegmentStarted
from nst_core.protocol.segments import TRAIN_TASK
from scheduler.control.metrics import Metrics
from scheduler.domain.codes import WORKER_LOST
from scheduler.domain.runs import SegmentState, Stop
from scheduler.runs.collector import RunCollector
from scheduler.runs.control import RunControl, RunLimits
from scheduler.store.database import Database
from scheduler.store.runs import update_run
from tests.unit.scheduler.kit import ManualClock, add_run, change, run_of
from tests.unit.scheduler.memory_broker import MemoryBroker

LEASE_S, LOST_AFTER_S = 3600.0, 5.0


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def control(
    database: Database, memory_broker: MemoryBroker, clock: ManualClock, registry: CollectorRegistry
) -> RunControl:
    limits = RunLimits(max_concurrent=1, dispatch_lease_s=LEASE_S, lost_after_s=LOST_AFTER_S)
    return RunControl(database, memory_broker, clock=clock, bucket="nst", limits=limits, metrics=Metrics(registry))


def begin(database: Database, clock: ManualClock, run_id: str = "run_1") -> None:
    """Let a worker begin a run's segment."""
    event = SegmentStarted(run_id=run_id, attempt=run_of(database, run_id).attempt, worker="w")
    assert RunCollector(database, clock=clock, lease_s=30.0).apply(event)


def test_a_queued_run_is_sent(
    control: RunControl, database: Database, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    assert not control.dispatch()
    add_run(database)
    assert control.dispatch()
    run = run_of(database)
    assert (run.live, run.attempt, run.lease_until) == (SegmentState.DISPATCHED, 1, clock.now + LEASE_S)
    message = memory_broker.take(TRAIN_TASK)
    assert (message["run_id"], message["attempt"]) == ("run_1", 1)
    assert not control.dispatch()


def test_there_is_work_as_long_as_a_run_has_not_ended_or_has_a_segment(control: RunControl, database: Database) -> None:
    assert not control.has_runs()
    add_run(database)
    for status in RunStatus:
        for live in SegmentState:
            change(database, update_run, "run_1", status=status, live=live)
            assert control.has_runs() == (not status.is_terminal or live is not SegmentState.NONE)


def test_one_run_at_a_time_has_a_turn(control: RunControl, database: Database, clock: ManualClock) -> None:
    add_run(database, "run_1")
    add_run(database, "run_2")
    control.dispatch()
    assert run_of(database, "run_2").live is SegmentState.NONE
    change(database, update_run, "run_1", status=RunStatus.PAUSED, live=SegmentState.NONE)
    assert control.dispatch()
    assert run_of(database, "run_2").live is SegmentState.DISPATCHED


def test_the_tenant_that_waited_longest_is_next(control: RunControl, database: Database, clock: ManualClock) -> None:
    add_run(database, "run_1", tenant="a")
    control.dispatch()
    change(database, update_run, "run_1", status=RunStatus.PAUSED, live=SegmentState.NONE)
    add_run(database, "run_2", tenant="a")
    add_run(database, "run_3", tenant="b")
    control.dispatch()
    assert run_of(database, "run_3").live is SegmentState.DISPATCHED


def test_a_stopped_segment_that_nobody_began_is_taken_back(
    control: RunControl, database: Database, memory_broker: MemoryBroker
) -> None:
    add_run(database)
    control.dispatch()
    change(database, update_run, "run_1", status=RunStatus.CANCELLING, stop=Stop.CANCEL)
    control.announce()
    assert memory_broker.is_stopped("run_1", 1)
    assert (run_of(database).status, run_of(database).live) == (RunStatus.CANCELLED, SegmentState.NONE)


def test_a_worker_is_told_to_stop_until_it_does(
    control: RunControl, database: Database, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    add_run(database)
    control.dispatch()
    begin(database, clock)
    change(database, update_run, "run_1", status=RunStatus.PAUSING, stop=Stop.PAUSE)
    for _ in range(2):
        control.announce()
        assert memory_broker.is_stopped("run_1", 1)
        assert run_of(database).status is RunStatus.PAUSING
        memory_broker.lose()


def test_a_silent_worker_loses_its_segment(
    control: RunControl, database: Database, clock: ManualClock, registry: CollectorRegistry
) -> None:
    add_run(database)
    control.dispatch()
    begin(database, clock)
    clock.advance(30)
    assert not control.reap()
    clock.advance(1)
    assert control.reap()
    run = run_of(database)
    assert (run.live, run.failures, run.error_code) == (SegmentState.NONE, 1, WORKER_LOST)
    assert control.dispatch(), "at once"
    assert registry.get_sample_value("nst_attempts_total", {"method": "train"}) == 2
    assert registry.get_sample_value("nst_leases_lost_total", {"method": "train", "reason": "worker_silent"}) == 1


def test_a_lost_message_is_sent_again_without_a_failure(
    control: RunControl, database: Database, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    add_run(database)
    control.dispatch()
    memory_broker.lose()
    assert not control.reap()
    clock.advance(LOST_AFTER_S)
    assert control.reap()
    assert (run_of(database).live, run_of(database).failures) == (SegmentState.NONE, 0)
    control.dispatch()
    assert run_of(database).attempt == 2


def test_a_message_that_waits_is_not_lost(control: RunControl, database: Database, clock: ManualClock) -> None:
    add_run(database)
    control.dispatch()
    control.reap()
    clock.advance(LOST_AFTER_S * 10)
    assert not control.reap()


def test_a_message_that_waits_too_long_is_sent_again_and_not_called_lost(
    control: RunControl, database: Database, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    add_run(database)
    control.dispatch()
    clock.advance(LEASE_S + 1)
    assert control.reap()
    assert (run_of(database).live, run_of(database).failures) == (SegmentState.NONE, 0)
    assert "run_1, attempt 1: no worker started it in time" in caplog.messages
