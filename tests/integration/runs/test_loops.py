"""The control loops in threads, as a scheduler process runs them. The test plays the worker."""

import time
from collections.abc import Iterator
from threading import Event

import pytest
from pydantic import SecretStr

from nst_core.client.resources.runs import RunStatus
from nst_core.protocol.segments import Phase, TrainSegment
from nst_core.settings import BrokerSettings, StorageSettings
from scheduler.app import Shared, make_loops
from scheduler.jobs.finalizer import Finalizer
from scheduler.loops import Loops
from scheduler.settings import SchedulerSettings
from tests.integration.conftest import Rig
from tests.integration.runs.kit import RunRig, begun

WAIT_S = 60


@pytest.fixture
def settings(redis_server: BrokerSettings, s3_server: StorageSettings) -> SchedulerSettings:
    return SchedulerSettings(
        redis_url=redis_server.redis_url,
        database_url=SecretStr("sqlite:///unused.db"),
        s3_endpoint=s3_server.s3_endpoint,
        s3_access_key=s3_server.s3_access_key,
        s3_secret_key=s3_server.s3_secret_key,
        train_segment_s=3.0,
    )


@pytest.fixture
def loops(rig: Rig, settings: SchedulerSettings) -> Iterator[Loops]:
    loops = make_loops(settings, rig.database, rig.broker, rig.blobs, Shared.of(settings, rig.database))
    yield loops
    loops.stop()


def test_the_end_does_not_wait_for_a_loop_that_takes_too_long(loops: Loops, monkeypatch: pytest.MonkeyPatch) -> None:
    began, release = Event(), Event()

    def tick(finalizer: Finalizer) -> bool:
        began.set()
        return not release.wait(WAIT_S)

    monkeypatch.setattr(Finalizer, "tick", tick)
    loops.start()
    assert began.wait(WAIT_S)
    assert "finalize" in loops.stop(timeout_s=0.1)
    release.set()
    assert loops.stop() == []


def taken(runs: RunRig) -> TrainSegment:
    """Wait for a segment, as a worker does."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if (segment := runs.take()) is not None:
            return segment
        time.sleep(0.02)
    raise AssertionError("no segment was sent")


def test_loops_take_a_run_from_its_submission_to_its_style(rig: Rig, loops: Loops) -> None:
    # The loops use the real time, so the rig's clock must agree with it.
    rig.clock.now = time.time()
    runs = RunRig(rig)
    loops.start()
    run_id = runs.add(steps=20)
    for step in (10, 20):
        segment = taken(runs)
        assert (segment.run_id, segment.phase, segment.segment_s) == (run_id, Phase.TRAIN, 3.0)
        rig.broker.publish(begun(segment))
        rig.broker.publish(runs.trained(segment, step))
    segment = taken(runs)
    rig.broker.publish(begun(segment))
    rig.broker.publish(runs.evaluated(segment))
    deadline = time.monotonic() + WAIT_S
    while not runs.run(run_id).status.is_terminal and time.monotonic() < deadline:
        time.sleep(0.02)
    run = runs.run(run_id)
    assert (run.status, run.attempt, run.failures) == (RunStatus.SUCCEEDED, 3, 0)
