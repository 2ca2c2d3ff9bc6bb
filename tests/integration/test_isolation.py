"""A fault of one job, run or event, or of this machine's disk, stops nothing else."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from nst_core.client.resources.jobs import JobStatus
from nst_core.client.resources.runs import RunStatus
from nst_core.settings import BrokerSettings, StorageSettings
from scheduler.jobs import finalizer as finalize
from scheduler.jobs.expiry import Expirer
from scheduler.store import jobs as job_rows
from scheduler.store.tables import jobs, runs
from tests.integration.conftest import LEASE_S, Rig, finished, outcome, read_lines, started
from tests.integration.job_kit import dispatch
from tests.integration.runs.kit import RunRig

ROOT = Path(__file__).parents[2]
WAIT_S = 60


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def spoil(rig: Rig, job_id: str) -> None:
    """Make a job's row unreadable."""
    with rig.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(spec={"input": 5}))


def status(rig: Rig, job_id: str) -> str:
    """Return a job's status, even if the rest of its row is unreadable."""
    with rig.database.read() as connection:
        return str(connection.execute(jobs.select().where(jobs.c.id == job_id)).one().status)


def test_job_that_cannot_be_planned_delays_no_other(rig: Rig) -> None:
    broken, good = rig.submit(1), rig.submit(1)
    spoil(rig, broken)
    rig.run_to_end()
    assert rig.job(good).status is JobStatus.SUCCEEDED
    assert status(rig, broken) == "queued"


def test_job_that_cannot_be_sent_delays_no_other(rig: Rig) -> None:
    broken, good = rig.submit(1), rig.submit(1)
    rig.plan()
    spoil(rig, broken)
    rig.run_to_end()
    assert rig.job(good).status is JobStatus.SUCCEEDED


def test_job_that_cannot_be_finalized_delays_no_other(rig: Rig) -> None:
    broken, good = rig.submit(1), rig.submit(1)
    for chunk in dispatch(rig):
        rig.report(started(chunk), finished(chunk))
    spoil(rig, broken)
    assert rig.finalizer.tick()
    assert rig.job(good).status is JobStatus.SUCCEEDED
    assert status(rig, broken) == "finalizing"


def test_job_that_cannot_be_stopped_at_its_deadline_delays_no_other(rig: Rig) -> None:
    broken, good = rig.submit(1, expires_after_s=10.0), rig.submit(1, expires_after_s=10.0)
    spoil(rig, broken)
    rig.clock.advance(60)
    expirer = Expirer(rig.database, clock=rig.clock)
    assert expirer.tick()
    assert status(rig, good) == "finalizing"
    assert not expirer.tick(), "the broken one waits"


def test_chunk_that_cannot_be_taken_back_delays_no_other(rig: Rig) -> None:
    broken, good = rig.submit(1), rig.submit(1)
    for chunk in dispatch(rig):
        rig.report(started(chunk))
    spoil(rig, broken)
    rig.clock.advance(LEASE_S + 1)
    assert rig.reaper.tick()
    assert rig.job(good).counts.pending == 1


def test_event_of_a_broken_job_delays_no_other_event(rig: Rig) -> None:
    broken, good = rig.submit(1), rig.submit(1)
    chunks = {chunk.job_id: chunk for chunk in dispatch(rig)}
    spoil(rig, broken)
    rig.report(*(finished(chunks[job_id]) for job_id in (broken, good)))
    rig.finalizer.tick()
    assert rig.job(good).status is JobStatus.SUCCEEDED
    assert rig.broker.read_events(block_ms=1) == []


def test_run_that_cannot_be_read_delays_no_other(rig: Rig) -> None:
    kit = RunRig(rig, max_concurrent=2)
    broken, good = kit.add(), kit.add()
    with rig.database.write() as connection:
        connection.execute(update(runs).where(runs.c.id == broken).values(spec={"painting": 5}))
    for _ in range(3):
        kit.tick()
    segment = kit.take()
    assert segment is not None
    assert segment.run_id == good
    assert kit.take() is None


def test_large_jobs_do_not_delay_small_ones_and_tenants_take_turns(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finalize, "LARGE_ITEMS", 3)
    large, small = [rig.submit(4), rig.submit(5)], rig.submit(2)
    others = rig.service.submit(rig.add_tenant("bob"), rig.request(6))[0].id
    while chunks := dispatch(rig):
        for chunk in chunks:
            rig.report(started(chunk), finished(chunk, outcome))
    assert rig.finalizer.tick()
    assert status(rig, small) == "succeeded"
    assert [status(rig, job_id) for job_id in (*large, others)] == ["finalizing"] * 3
    ended = []
    for _ in range(3):
        assert rig.finalizer.tick_large()
        ended += [job for job in (*large, others) if job not in ended and status(rig, job) == "succeeded"]
        rig.clock.advance(1)
    assert ended == [large[0], others, large[1]]
    assert not rig.finalizer.tick_large()


def test_report_of_many_parts_is_uploaded_whole_without_a_file_on_disk(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = rig.submit(1)
    job = rig.job(job_id)
    line = b"x" * 99 + b"\n"
    monkeypatch.setattr(rig.finalizer, "_check_current", lambda job: None)
    rig.finalizer._write(job, "results.jsonl", (line * 1000 for _ in range(200)))
    assert read_lines(rig, job, "results.jsonl") == [line[:-1]] * 200_000


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_scheduler_keeps_running_while_its_disk_is_full(
    rig: Rig, redis_server: BrokerSettings, s3_server: StorageSettings, database_url: str
) -> None:
    """With files limited to 0 bytes, as on a full disk, reports are written, and trainings become styles."""
    kit = RunRig(rig)
    run_id = kit.add(steps=10)
    kit.train_to(run_id, 10)
    segment = kit.next()
    kit.report(kit.evaluated(segment))
    job_id = rig.submit(3)
    for chunk in dispatch(rig):
        rig.report(started(chunk), finished(chunk))
    with rig.database.read() as connection:
        assert [job.id for job in job_rows.finalizing_jobs(connection)] == [job_id]
    script = textwrap.dedent(
        """
        import logging, resource, sys, tempfile
        from nst_core.storage.blobs import BlobStore
        from scheduler.control.broker import Broker
        from scheduler.app import Shared, make_loops
        from scheduler.settings import SchedulerSettings
        from scheduler.store.database import Database
        logging.basicConfig(level="INFO")
        tempfile.gettempdir()  # found by writing a file, so before files have no room
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        try:
            tempfile.TemporaryFile(buffering=0).write(b"x")
        except OSError as error:
            logging.info("%s", error)
        settings = SchedulerSettings()
        database = Database(settings.database_url.get_secret_value())
        shared = Shared.of(settings, database)
        loops = make_loops(settings, database, Broker(settings), BlobStore(settings), shared)
        loops.start()
        sys.stdin.read()
        """
    )
    secrets = {
        "NST_DATABASE_URL": database_url,
        "NST_REDIS_URL": redis_server.redis_url.get_secret_value(),
        "NST_S3_ENDPOINT": str(s3_server.s3_endpoint),
        "NST_S3_ACCESS_KEY": s3_server.s3_access_key.get_secret_value() if s3_server.s3_access_key else "",
        "NST_S3_SECRET_KEY": s3_server.s3_secret_key.get_secret_value() if s3_server.s3_secret_key else "",
    }
    command = [sys.executable, "-c", script]
    env = {**os.environ, **secrets, "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert "File too large" in process.stderr.readline()
        wait_until(lambda: status(rig, job_id) == "succeeded", "the job was not ended")
        wait_until(lambda: kit.run(run_id).status is RunStatus.SUCCEEDED, "the training was not ended")
        assert process.poll() is None
        process.kill()
    assert len(read_lines(rig, rig.job(job_id), "results.jsonl")) == 3
