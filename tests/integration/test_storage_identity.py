"""If the storage refuses a worker or does not answer, no image fails."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from nst_core.protocol.chunks import StylizeChunk
from nst_core.protocol.events import ChunkFinished, ChunkStarted
from nst_core.settings import BrokerSettings, StorageSettings
from nst_core.storage.blobs import BlobStore
from scheduler.local.servers import HOST, free_port, s3_command, s3_env
from tests.brokers import Broker
from tests.servers import run_server
from tests.unit.worker.kit import Style, events, make_chunk, photo, store_style, wait_until

#: Seconds in which a worker has loaded torch and taken a chunk, also on a busy machine.
START_S = 120.0


@dataclass
class Site:
    """An S3 server whose keys can be changed, and a queue. The test plays the scheduler."""

    folder: Path
    redis: BrokerSettings
    broker: Broker
    port: int = field(default_factory=free_port)
    keys: dict[str, str] = field(default_factory=lambda: {name: secrets.token_hex(16) for name in ("good", "old")})

    @contextmanager
    def storage(self, *names: str) -> Iterator[None]:
        """Run the S3 server, which accepts these keys."""
        env = {"RCLONE_AUTH_KEY": ",".join(s3_env(name, self.keys[name])["RCLONE_AUTH_KEY"] for name in names)}
        (self.folder / "s3").mkdir(exist_ok=True)
        with run_server(s3_command(self.port, self.folder / "s3"), self.port, env):
            yield

    def settings(self, name: str, secret: str | None = None) -> StorageSettings:
        """Return the settings of a process that uses a key."""
        return StorageSettings(
            s3_endpoint=f"http://{HOST}:{self.port}",
            s3_access_key=SecretStr(name),
            s3_secret_key=SecretStr(secret or self.keys[name]),
        )

    @contextmanager
    def worker(self, label: str, storage: StorageSettings, **settings: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a worker process whose log goes to a file. The settings are environment variables."""
        assert storage.s3_access_key is not None
        assert storage.s3_secret_key is not None
        env = {
            "NST_REDIS_URL": self.redis.redis_url.get_secret_value(),
            "NST_MESSAGE_SECRET": self.redis.message_secret.get_secret_value(),
            "NST_S3_ENDPOINT": storage.s3_endpoint or "",
            "NST_S3_ACCESS_KEY": storage.s3_access_key.get_secret_value(),
            "NST_S3_SECRET_KEY": storage.s3_secret_key.get_secret_value(),
            "NST_DEVICE": "cpu",
            "NST_THREADS": "1",
            "NST_ILL_AFTER_S": "0.5",
            **settings,
        }
        with open(self.folder / f"{label}.log", "wb") as log:
            process = subprocess.Popen([sys.executable, "-m", "worker"], env={**environment(), **env}, stderr=log)
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait(20)

    def log(self, label: str) -> str:
        """Return a worker's log."""
        return (self.folder / f"{label}.log").read_text()

    def complete(self, chunks: list[StylizeChunk]) -> None:
        """Send chunks, and send returned images again as a new attempt, until all images are done."""
        current = {chunk.chunk_id: chunk for chunk in chunks}
        done = set[tuple[int, int]]()
        for chunk in chunks:
            self.broker.send_chunk(chunk)

        def all_done() -> bool:
            for event in events(self.broker):
                if not isinstance(event, ChunkFinished) or event.chunk_id not in current:
                    continue
                assert [outcome.error_code for outcome in event.outcomes if not outcome.succeeded] == []
                done.update((event.chunk_id, outcome.index) for outcome in event.outcomes)
                chunk = current[event.chunk_id]
                rest = tuple(item for item in chunk.items if (chunk.chunk_id, item.index) not in done)
                if rest and event.attempt == chunk.attempt:
                    current[chunk.chunk_id] = replace(chunk, attempt=chunk.attempt + 1, items=rest)
                    self.broker.send_chunk(current[chunk.chunk_id])
            return len(done) == sum(len(chunk.items) for chunk in chunks)

        wait_until(all_done, seconds=START_S)


def environment() -> dict[str, str]:
    """Return the environment without the machine's own credentials."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "NST_"))}


@pytest.fixture
def site(tmp_path: Path, redis_server: BrokerSettings, broker: Broker) -> Site:
    return Site(folder=tmp_path, redis=redis_server, broker=broker)


def make_chunks(site: Site, style: Style, *, first: int, count: int) -> list[StylizeChunk]:
    blobs = BlobStore(site.settings("good"))
    photos = [photo(seed) for seed in range(10)]
    return [make_chunk(blobs, photos, style=style, chunk_id=first + number) for number in range(count)]


def prepared(site: Site) -> Style:
    blobs = BlobStore(site.settings("good"))
    blobs.ensure_bucket()
    return store_style(blobs, site.folder)


@pytest.mark.parametrize("name", ["good", "unknown"])
def test_a_worker_with_a_wrong_secret_never_starts_work(site: Site, name: str) -> None:
    with site.storage("good"):
        prepared(site)
        with site.worker("bad", site.settings(name, "wrong")) as process:
            assert process.wait(START_S) == 77
    assert "cannot use its storage: The storage does not accept the credentials" in site.log("bad")
    assert "ready" not in site.log("bad")


def test_a_worker_whose_key_was_revoked_returns_its_work_to_another_worker(site: Site) -> None:
    with ExitStack() as running:
        with site.storage("good", "old"):
            style = prepared(site)
            old = running.enter_context(site.worker("old", site.settings("old")))
            site.complete(make_chunks(site, style, first=1, count=1))
            assert old.poll() is None
            chunks = make_chunks(site, style, first=10, count=12)
        running.enter_context(site.storage("good"))
        good = running.enter_context(site.worker("good", site.settings("good")))
        site.complete(chunks)
        assert old.wait(START_S) == 77
        assert good.poll() is None
        began = {event.worker for event in events(site.broker) if isinstance(event, ChunkStarted)}
    assert len(began) == 2, "the worker without a key had work, too"
    assert "cannot use its storage any more: StorageIdentityError" in site.log("old")
    assert "returns its work to the queue and ends with exit code 77" in site.log("old")


@pytest.mark.parametrize("is_long", [False, True], ids=["short", "long"])
def test_no_image_fails_because_of_a_storage_outage(site: Site, is_long: bool) -> None:
    with ExitStack() as running:
        with site.storage("good"):
            style = prepared(site)
            settings = site.settings("good")
            worker = running.enter_context(site.worker("one", settings, NST_OUTAGE_S="1" if is_long else "600"))
            site.complete(make_chunks(site, style, first=1, count=1))
            chunks = make_chunks(site, style, first=10, count=4)
        for chunk in chunks:
            site.broker.send_chunk(chunk)
        wait_until(lambda: "cannot reach its storage" in site.log("one"), seconds=START_S)
        if is_long:
            assert worker.wait(START_S) == 75
            running.enter_context(site.worker("two", settings))
        running.enter_context(site.storage("good"))
        site.complete(chunks)
    assert ("can reach its storage again" in site.log("one")) == (not is_long)
