"""Redis answers but refuses commands for a while: a failover, full memory, a long script, a wrong type."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from nst_core.errors import BrokerUnavailableError, ConfigError
from nst_core.protocol.chunks import StyleRef, StylizeChunk, StylizeOptions
from nst_core.protocol.events import ChunkFinished, ChunkStarted
from nst_core.queue.connection import KEY_PREFIX
from nst_core.settings import BrokerSettings, StorageSettings
from nst_core.storage.blobs import BlobStore
from scheduler.local.servers import HOST, free_port, redis_command
from tests.brokers import Broker
from tests.faults.links import Links
from tests.integration.test_worker import START_S, running_with_log
from tests.servers import run_server
from tests.unit.worker.kit import events, make_chunk, photo, store_style, wait_until

EVENT = ChunkStarted(chunk_id=1, attempt=1, worker="w")
QUEUE = f"{KEY_PREFIX}{StylizeChunk.queue}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """The port of a Redis that the test may break."""
    port, folder = free_port(), tmp_path / "redis"
    folder.mkdir()
    with run_server(redis_command(port, folder), port):
        yield port


def address(port: int, user: str = "") -> BrokerSettings:
    return BrokerSettings(redis_url=SecretStr(f"redis://{user}{HOST}:{port}/0"))


def chunk(chunk_id: int) -> StylizeChunk:
    return StylizeChunk(
        job_id="j",
        chunk_id=chunk_id,
        attempt=1,
        items=(),
        style=StyleRef(name="s", version="0" * 64, weights="s3://nst/w"),
        options=StylizeOptions(),
    )


def run_long_script(client: redis.Redis) -> None:
    """Block Redis with a script for some seconds. After a tenth of a second it answers BUSY."""
    client.config_set("lua-time-limit", 100)
    port = client.connection_pool.connection_kwargs["port"]

    def run() -> None:
        with redis.Redis(HOST, port, socket_timeout=60) as other:
            other.eval("for i = 1, 4e8 do end", 0)

    threading.Thread(target=run).start()
    wait_until(lambda: not answers(client))


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ResponseError:
        return False


def set_rights(client: redis.Redis, rights: str) -> None:
    client.execute_command("ACL", "SETUSER", "default", rights)  # type: ignore[no-untyped-call]


#: What goes wrong, and how it is repaired.
FAULTS: dict[str, tuple[Callable[[redis.Redis], object], Callable[[redis.Redis], object]]] = {
    "READONLY": (lambda client: client.replicaof(HOST, free_port()), lambda client: client.replicaof("NO", "ONE")),
    "NOREPLICAS": (
        lambda client: client.config_set("min-replicas-to-write", 1),
        lambda client: client.config_set("min-replicas-to-write", 0),
    ),
    "OOM": (lambda client: client.config_set("maxmemory", 1), lambda client: client.config_set("maxmemory", 0)),
    "NOPERM": (
        lambda client: set_rights(client, "-@write"),
        lambda client: set_rights(client, "+@write"),
    ),
    "WRONGTYPE": (lambda client: client.set(QUEUE, "text"), lambda client: client.delete(QUEUE)),
    "BUSY": (run_long_script, lambda client: wait_until(lambda: answers(client))),
}


def test_a_worker_takes_chunks_again_after_redis_refused_commands(
    server: int, s3_server: StorageSettings, blobs: BlobStore, tmp_path: Path
) -> None:
    style, settings = store_style(blobs, tmp_path), address(server)
    with (
        closing(Broker(settings)) as broker,
        redis.Redis(HOST, server) as client,
        running_with_log(settings, s3_server, tmp_path) as process,
    ):

        def works(chunk_id: int) -> None:
            broker.send_chunk(make_chunk(blobs, [photo()], style=style, chunk_id=chunk_id))
            done = ChunkFinished, chunk_id
            wait_until(
                lambda: done in [(type(event), getattr(event, "chunk_id", 0)) for event in events(broker)],
                seconds=2 * START_S,
            )

        works(1)
        for number, (spoil, mend) in enumerate(FAULTS.values(), 2):
            spoil(client)
            time.sleep(2.0)
            assert process.poll() is None
            mend(client)
            works(number)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, "it was asked to end"
    log = (tmp_path / "stderr").read_text()
    assert "Unrecoverable" not in log
    assert log.count("You can't write against a read only replica") < 5, "what repeats is logged once a minute"
    assert "SecurityWarning" not in log


def test_a_broker_finds_the_new_server_although_the_old_one_still_answers(server: int, tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "second"
    folder.mkdir()
    links = Links(seed=1)
    try:
        entrance = links.add("redis", server)
        with run_server(redis_command(port, folder), port), closing(Broker(address(entrance))) as broker:
            broker.publish(EVENT)
            broker.send_chunk(chunk(1))
            with redis.Redis(HOST, server) as client:
                client.replicaof(HOST, port)
            links["redis"]._target = port
            calls: list[Callable[[], None]] = [lambda: broker.publish(EVENT), lambda: broker.send_chunk(chunk(2))]
            for call in calls:
                with suppress(BrokerUnavailableError):
                    call()  # it may reach the old server
                call()
            assert (2, 1) in broker.queued_chunks(StylizeChunk.queue)
            with redis.Redis(HOST, port) as client:
                assert client.exists("nst:events")
    finally:
        links.close()


@pytest.mark.parametrize("user", ["", ":wrong@", "nobody:wrong@"])
def test_a_password_that_redis_refuses_is_reported_in_one_sentence(server: int, user: str) -> None:
    with redis.Redis(HOST, server) as client:
        client.config_set("requirepass", "right")
    with (
        closing(Broker(address(server, user), patient=False)) as broker,
        pytest.raises(ConfigError, match="Redis refuses the user or the password of NST_REDIS_URL") as caught,
    ):
        broker.check_access()
    assert ":wrong" not in caught.value.message


def test_redis_that_does_not_answer_is_not_reported_as_a_wrong_setting() -> None:
    with closing(Broker(address(free_port()), patient=False)) as broker:
        broker.check_access()
