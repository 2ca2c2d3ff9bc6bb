"""Tests of the worker process as a whole: `python -m worker` on real servers."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest
from pydantic import SecretStr

from nst_core.protocol.chunks import OptimizeChunk, StylizeChunk, item_checkpoint_uri
from nst_core.protocol.events import ChunkFinished, ChunkProgress, ChunkStarted
from nst_core.queue.connection import KEY_PREFIX, make_redis
from nst_core.settings import BrokerSettings, StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.local.servers import HOST, free_port, redis_command
from tests.brokers import Broker
from tests.faults.doubles import EFFECTS, NAME, STICKY, SWITCHES
from tests.servers import run_server
from tests.unit.worker.kit import (
    TINY,
    Style,
    events,
    make_chunk,
    make_optimize_chunk,
    outputs,
    photo,
    store_style,
    wait_until,
)

#: Seconds in which a worker has loaded torch and taken a chunk, also on a busy machine.
START_S = 90.0


@pytest.fixture
def style(blobs: BlobStore, tmp_path: Path) -> Style:
    return store_style(blobs, tmp_path)


@contextmanager
def running(broker: BrokerSettings, storage: StorageSettings, **extra: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker process, and end it if the test has not."""
    with _started("worker", env=_variables(broker, storage) | extra) as process:
        yield process


@contextmanager
def running_with_log(
    broker: BrokerSettings, storage: StorageSettings, folder: Path, **extra: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker process whose log goes to `stderr` in the folder."""
    with (
        open(folder / "stderr", "wb") as log,
        _started("worker", env=_variables(broker, storage) | extra, stderr=log) as process,
    ):
        yield process


@contextmanager
def running_with_sticky_photos(
    broker: BrokerSettings, storage: StorageSettings, folder: Path, **extra: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker whose threads hang when they decode a sticky photo. Its log goes to `stderr` in the folder."""
    (folder / "switches").mkdir()
    faults = {SWITCHES: str(folder / "switches"), NAME: "worker-1", EFFECTS: str(folder / "effects")}
    # A chunk may decode half as many photos at once as there are processes: here two, so that others pass a sticky one.
    faults["NST_DECODER_PROCESSES"] = "4"
    env = _variables(broker, storage) | faults | extra
    with (
        open(folder / "stderr", "wb") as log,
        _started("tests.faults.inside", "real-worker", env=env, stderr=log) as process,
    ):
        yield process


@contextmanager
def _started(
    module: str, *arguments: str, env: Mapping[str, str], stderr: IO[bytes] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, env={**os.environ, **env}, stderr=stderr)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(20)


def _variables(broker: BrokerSettings, storage: StorageSettings) -> dict[str, str]:
    return {
        "NST_REDIS_URL": broker.redis_url.get_secret_value(),
        "NST_MESSAGE_SECRET": broker.message_secret.get_secret_value(),
        "NST_S3_ENDPOINT": storage.s3_endpoint or "",
        "NST_S3_ACCESS_KEY": storage.s3_access_key.get_secret_value() if storage.s3_access_key else "",
        "NST_S3_SECRET_KEY": storage.s3_secret_key.get_secret_value() if storage.s3_secret_key else "",
        "NST_DEVICE": "cpu",
    }


def finished(broker: Broker) -> list[ChunkFinished]:
    return [event for event in events(broker) if isinstance(event, ChunkFinished)]


def test_a_process_works_on_chunks_until_sigterm(
    redis_server: BrokerSettings,
    s3_server: StorageSettings,
    broker: Broker,
    blobs: BlobStore,
    style: Style,
    tmp_path: Path,
) -> None:
    chunks = [
        make_chunk(blobs, [photo(seed) for seed in range(4)], style=style, chunk_id=chunk_id) for chunk_id in range(3)
    ]
    for chunk in chunks:
        broker.send_chunk(chunk)
    engine = {"NST_ENGINE": "openvino", "NST_PRECISION": "fp32"}
    with running_with_log(redis_server, s3_server, tmp_path, **engine) as process:
        wait_until(lambda: len(finished(broker)) == 3, seconds=START_S)
        started = [event for event in events(broker) if isinstance(event, ChunkStarted)]
        assert sorted(event.chunk_id for event in started) == [0, 1, 2]
        assert len({event.worker for event in started}) == 1
        for event in finished(broker):
            results = outputs(blobs, chunks[event.chunk_id])
            assert {outcome.index: outcome.sha256 for outcome in event.outcomes} == {
                index: hashlib.sha256(data).hexdigest() for index, data in results.items()
            }
            assert {(outcome.engine, outcome.precision) for outcome in event.outcomes} == {("openvino", "fp32")}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert broker.queued(StylizeChunk.queue) == 0
    assert "engine openvino in fp32" in (tmp_path / "stderr").read_text()


def test_sigterm_during_a_chunk_loses_no_work_and_leaves_no_message(
    redis_server: BrokerSettings, s3_server: StorageSettings, broker: Broker, blobs: BlobStore, style: Style
) -> None:
    size = 400
    chunk = make_chunk(blobs, [photo(width=size, height=size)] * size, style=style)
    with running(redis_server, s3_server) as process:
        broker.send_chunk(chunk)
        wait_until(
            lambda: any(isinstance(event, ChunkProgress) and event.outcomes for event in events(broker)),
            seconds=START_S,
        )
        process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        assert process.wait(20) == 0
        assert time.monotonic() - told < 15
    (event,) = finished(broker)
    assert 0 < len(event.outcomes) < len(chunk.items)
    assert all(outcome.succeeded for outcome in event.outcomes)
    assert sorted(outputs(blobs, chunk)) == sorted(outcome.index for outcome in event.outcomes)
    client = make_redis(redis_server)
    assert client.hlen(f"{KEY_PREFIX}unacked") == broker.queued(StylizeChunk.queue) == 0
    client.close()


def test_a_stuck_worker_reports_finished_items_logs_stacks_and_lets_its_lease_expire(
    redis_server: BrokerSettings,
    s3_server: StorageSettings,
    broker: Broker,
    blobs: BlobStore,
    style: Style,
    tmp_path: Path,
) -> None:
    chunk = make_chunk(blobs, [photo(1), photo(2) + STICKY, photo(3)], style=style)
    with running_with_sticky_photos(redis_server, s3_server, tmp_path, NST_STUCK_AFTER_S="12") as process:
        broker.send_chunk(chunk)
        assert process.wait(START_S) == 75
    told = [outcome.index for event in events(broker) if isinstance(event, ChunkProgress) for outcome in event.outcomes]
    assert set(told) == {0, 2}
    assert finished(broker) == [], "its end would make the chunk pending at once, and count as no failure"
    log = (tmp_path / "stderr").read_text()
    assert "stuck: job" in log
    assert "in check_poison" in log, "the stack of the thread that hangs"


def test_a_second_sigterm_ends_a_worker_at_once(
    redis_server: BrokerSettings,
    s3_server: StorageSettings,
    broker: Broker,
    blobs: BlobStore,
    style: Style,
    tmp_path: Path,
) -> None:
    chunk = make_chunk(blobs, [photo(1), photo(2) + STICKY], style=style)
    with running_with_sticky_photos(redis_server, s3_server, tmp_path) as process:
        broker.send_chunk(chunk)
        wait_until(
            lambda: any(isinstance(event, ChunkProgress) and event.outcomes for event in events(broker)),
            seconds=START_S,
        )
        process.send_signal(signal.SIGTERM)
        time.sleep(3.0)
        assert process.poll() is None, "it waits for the image in hand"
        process.send_signal(signal.SIGTERM)
        # The current image would never finish; a busy machine takes some seconds.
        assert process.wait(30) == 128 + signal.SIGTERM


def test_optimisations_share_the_worker_and_are_returned_at_sigterm(
    redis_server: BrokerSettings, s3_server: StorageSettings, broker: Broker, blobs: BlobStore, style: Style
) -> None:
    endless = replace(TINY, iterations=1_000_000)
    slow = [
        replace(make_optimize_chunk(blobs, [photo(1)], painting=photo(2), config=endless), chunk_id=chunk_id)
        for chunk_id in range(3)
    ]
    for chunk in slow:
        broker.send_chunk(chunk)
    with running(redis_server, s3_server, NST_THREADS="1") as process:
        wait_until(
            lambda: any(isinstance(event, ChunkProgress) and event.progress for event in events(broker)),
            seconds=START_S,
        )
        for chunk_id in range(10, 15):
            broker.send_chunk(make_chunk(blobs, [photo(3)] * 4, style=style, chunk_id=chunk_id))
        wait_until(lambda: len(finished(broker)) == 5, seconds=START_S)
        assert sorted(event.chunk_id for event in finished(broker)) == list(range(10, 15))
        begun = [event.chunk_id for event in events(broker) if isinstance(event, ChunkStarted)]
        assert [chunk_id for chunk_id in begun if chunk_id < 10] == [0], "the others wait for this or another worker"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    last = finished(broker)[-1]
    assert (last.chunk_id, last.outcomes) == (0, ())
    assert blobs.exists(BlobUri.parse(item_checkpoint_uri(slow[0].scratch, 0)))
    assert broker.queued(OptimizeChunk.queue) == 2
    client = make_redis(redis_server)
    assert client.hlen(f"{KEY_PREFIX}unacked") == 0
    client.close()


def test_a_worker_takes_chunks_again_after_redis_was_down(
    s3_server: StorageSettings, blobs: BlobStore, style: Style, tmp_path: Path
) -> None:
    port = free_port()
    settings = BrokerSettings(redis_url=SecretStr(f"redis://{HOST}:{port}/0"))
    broker = Broker(settings)
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first, second = (
        make_chunk(blobs, [photo()], style=style, chunk_id=1),
        make_chunk(blobs, [photo()], style=style, chunk_id=2),
    )
    with running(settings, s3_server) as process:
        with run_server(redis_command(port, tmp_path / "first"), port):
            broker.send_chunk(first)
            wait_until(lambda: len(finished(broker)) == 1, seconds=START_S)
        with run_server(redis_command(port, tmp_path / "second"), port):  # an empty one
            broker.send_chunk(second)
            wait_until(lambda: [event.chunk_id for event in finished(broker)] == [2], seconds=START_S)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
    broker.close()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("NST_DEVICE", "The device must be"),
        ("NST_ENGINE", "This machine cannot run the engine abacus"),
        ("NST_PRECISION", "NST_PRECISION "),
    ],
)
def test_an_invalid_setting_ends_the_process_with_a_reason(name: str, reason: str) -> None:
    env = {**os.environ, name: "abacus"}
    result = subprocess.run([sys.executable, "-m", "worker"], env=env, capture_output=True, text=True, timeout=120)
    assert result.returncode == 78
    assert result.stderr.startswith(f"The worker cannot start: {reason}")
    assert result.stderr.count("\n") == 1


FULL = """
import os, signal, time
from threading import Event
from nst_core.protocol.chunks import StylizeChunk
from tests.brokers import Broker
from nst_core.settings import BrokerSettings
from worker.runtime.consumer import Consumer, serve, stopping
from worker.runtime.pulse import Pulse

broker, stop, looks = Broker(BrokerSettings()), Event(), []
pulse = Pulse(broker.ping, stop=stop, patience_s=3.0)

def task(message):
    for _ in range(12):
        time.sleep(0.5)
        looks.append(pulse.is_silent())
    os.kill(os.getpid(), signal.SIGTERM)

with stopping(stop):
    serve(broker, {StylizeChunk.queue: Consumer(task=task, slots=1)}, name="w@test", pulse=pulse)
print(looks.count(True), "of", len(looks))
"""


def test_a_worker_whose_slots_are_full_does_not_count_as_hung(
    redis_server: BrokerSettings, s3_server: StorageSettings, broker: Broker, blobs: BlobStore, style: Style
) -> None:
    broker.send_chunk(make_chunk(blobs, [photo(1)], style=style))
    env = os.environ | _variables(redis_server, s3_server)
    run = subprocess.run(
        [sys.executable, "-c", FULL], capture_output=True, text=True, timeout=START_S, check=False, env=env
    )
    assert run.stdout.splitlines()[-1] == "0 of 12", run.stderr
