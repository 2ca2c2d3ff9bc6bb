"""Someone who can write to Redis but does not know the secret cannot control workers or schedulers."""

import base64
import json
import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from nst_core.protocol.chunks import StylizeChunk, dump_chunk
from nst_core.protocol.events import EVENTS_STREAM, ChunkFinished, ItemOutcome, dump_event
from nst_core.protocol.segments import TRAIN_TASK
from nst_core.queue.connection import KEY_PREFIX, make_redis, queue_lists
from nst_core.settings import BrokerSettings, StorageSettings
from nst_core.storage.blobs import BlobStore
from tests.brokers import Broker
from tests.integration.conftest import TENANT, Rig, finished, started
from tests.integration.test_worker import START_S, running_with_log
from tests.unit.worker.kit import events, make_chunk, outputs, photo, store_style, wait_until

QUEUE = StylizeChunk.queue
#: The Redis list of messages that are not sent ahead of others.
LIST = queue_lists(QUEUE)[1]


@pytest.fixture
def redis(redis_server: BrokerSettings) -> Iterator[Redis]:
    client = make_redis(redis_server)
    yield client
    client.close()


def sent_with(settings: BrokerSettings, secret: str, chunk: StylizeChunk) -> None:
    """Send a chunk signed with another secret."""
    stranger = Broker(settings.model_copy(update={"message_secret": SecretStr(secret)}))
    stranger.send_chunk(chunk)
    stranger.close()


def taken(redis: Redis) -> dict[str, Any]:
    """Take the only message out of the queue."""
    values: dict[str, Any] = json.loads(str(redis.rpop(LIST), "utf-8"))  # type: ignore[arg-type]
    return values


def with_argument(message: dict[str, Any], change: Callable[[Any], Any]) -> str:
    """Return a message with another argument of its task, as JSON."""
    (argument,), options, embedded = json.loads(base64.b64decode(message["body"]))
    body = json.dumps([[change(argument)], options, embedded]).encode()
    return json.dumps(message | {"body": base64.b64encode(body).decode()})


def test_a_worker_ignores_unsigned_messages_and_continues(
    redis_server: BrokerSettings,
    s3_server: StorageSettings,
    broker: Broker,
    blobs: BlobStore,
    redis: Redis,
    tmp_path: Path,
) -> None:
    style = store_style(blobs, tmp_path)
    forged, good = (make_chunk(blobs, [photo()], style=style, chunk_id=chunk_id) for chunk_id in (1, 2))
    broker.send_chunk(good)
    genuine = taken(redis)
    ours = dump_chunk(forged)
    for text in (
        with_argument(genuine, lambda _: ours),
        with_argument(genuine, lambda argument: argument | {"body": json.dumps(ours)}),
        with_argument(genuine, lambda argument: {"body": argument["body"]}),
        with_argument(genuine, lambda _: None),
        json.dumps(genuine | {"body": base64.b64encode(b"[[], {}, {}]").decode()}),
        json.dumps(genuine | {"body": "no base64"}),
        json.dumps(genuine | {"body": None}),
        json.dumps(genuine | {"content-type": "application/x-python-serialize"}),
        json.dumps(genuine | {"headers": []}),
        json.dumps(genuine | {"headers": {"task": "nst.unknown", "id": "x"}}),
        json.dumps(genuine | {"properties": {}}),
        "no JSON",
        "[]",
        "7",
        "null",
        "{}",
        "[" * 5000,
    ):
        redis.lpush(LIST, text)
    redis.lpush(LIST, b"\xff\xfe")
    sent_with(redis_server, "x" * 32, forged)
    # A genuine message of another queue.
    train = with_argument(genuine, lambda argument: argument)
    redis.lpush(queue_lists(TRAIN_TASK)[0], train.replace(QUEUE, TRAIN_TASK))
    with running_with_log(redis_server, s3_server, tmp_path) as process:
        wait_until(lambda: not any(map(broker.queued, (QUEUE, TRAIN_TASK))), seconds=START_S)
        broker.send_chunk(good)
        wait_until(lambda: any(isinstance(event, ChunkFinished) for event in events(broker)), seconds=START_S)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert {getattr(event, "chunk_id", None) for event in events(broker)} == {2}
    assert outputs(blobs, forged) == {}
    assert set(outputs(blobs, good)) == {0}
    log = (tmp_path / "stderr").read_text()
    assert f"dropped a message of the queue {QUEUE}: It is not signed with this process's NST_MESSAGE_SECRET" in log
    assert f"dropped a message of the queue {TRAIN_TASK}" in log
    assert "dropped a message that nst did not send" in log
    assert redis.hlen(f"{KEY_PREFIX}unacked") == 0


def test_a_scheduler_ignores_unsigned_events(rig: Rig, redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    job_id = rig.submit(4)
    rig.plan()
    rig.dispatcher.tick()
    chunk = rig.take()
    assert chunk is not None
    rig.report(started(chunk))
    lie = dump_event(finished(chunk, lambda index: ItemOutcome(index=index, ms=1, error_code="x", error_message="No.")))
    signature = "0" * 64
    for fields in ({"event": lie}, {"event": lie, "signature": signature}, {"signature": signature}, {"x": b"\xff"}):
        redis.xadd(EVENTS_STREAM, fields)  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR):
        rig.report()
    assert [record.getMessage()[:24] for record in caplog.records] == ["4 events were dropped be"]
    assert rig.job(job_id).counts.failed == 0
    assert redis.xlen(EVENTS_STREAM) == 0
    rig.report(finished(chunk))
    assert rig.job(job_id).counts.succeeded == 4


def test_an_event_of_an_older_attempt_does_not_count_for_a_newer_one(rig: Rig, redis: Redis) -> None:
    job_id = rig.submit(4)
    rig.plan()
    rig.dispatcher.tick()
    first = rig.take()
    assert first is not None
    rig.report(started(first))
    rig.broker.publish(finished(first, lambda index: None))
    answer: Any = redis.xrange(EVENTS_STREAM)
    [(_, recorded)] = answer
    rig.report()
    rig.dispatcher.tick()
    second = rig.take()
    assert second is not None
    rig.report(started(second))
    redis.xadd(EVENTS_STREAM, recorded)  # sent again by a stranger
    altered = recorded | {b"event": dump_event(replace(finished(second, lambda index: None), attempt=2))}
    redis.xadd(EVENTS_STREAM, altered)
    rig.report()
    assert rig.job(job_id).counts.running == 4


@pytest.mark.parametrize(
    "garbage",
    [
        b"no JSON",
        b"[]",
        b"{}",
        b'{"headers": []}',
        b'{"headers": {"nst_attempt": 7}}',
        b'{"headers": {"nst_attempt": [[], {}]}}',
        b'{"headers": {"nst_attempt": [1, []]}}',
        b"\xff",
        b"[" * 100_000,
    ],
    ids=lambda data: data[:45],
)
def test_garbage_in_a_queue_and_in_hints_stops_no_scheduler(rig: Rig, redis: Redis, garbage: bytes) -> None:
    job_id = rig.submit(8)
    rig.plan()
    rig.dispatcher.tick()
    redis.lpush(LIST, garbage)
    redis.set(f"{KEY_PREFIX}attempt:1", garbage)
    assert not rig.broker.is_outdated(1, 1)
    assert len(rig.broker.queued_chunks(StylizeChunk.queue)) == 2
    assert not rig.reaper.tick()
    rig.service.cancel(TENANT, job_id)
    assert rig.withdrawer.tick()
    rig.finalizer.tick()
    assert rig.job(job_id).status.is_terminal
