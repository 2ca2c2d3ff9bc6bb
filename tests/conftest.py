"""Fixtures for all tests: real servers on free ports, each started once per session."""

import asyncio
import gc
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from nst_core.client import Client
from nst_core.queue.connection import make_redis
from nst_core.settings import BrokerSettings, StorageSettings
from nst_core.storage.blobs import BlobStore
from nst_core.system.c_kernels import build_in_background
from scheduler.local.servers import HOST, free_port, redis_command, s3_command, s3_env
from scheduler.store.database import Database
from tests.brokers import Broker
from tests.clients import Connect, connect_async
from tests.servers import run_server

# For all settings that tests make and all processes that they start. A stack or a cluster has its own.
os.environ["NST_MESSAGE_SECRET"] = secrets.token_hex(32)
# Threads of torch that wait for each other must not keep the processor from the other processes of a run. It is read
# when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# A shell lets programs in the background ignore Ctrl-C, and these pass that on; tests of Ctrl-C would hang.
signal.signal(signal.SIGINT, signal.default_int_handler)
_MEMORY_DISK = "/dev/shm"
# What is collected stays until the end, so that looking through it again and again for garbage is in vain.
gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage from here on, but not among what was collected."""
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Keep temporary folders in memory if there is enough, and compile kernels once for all processes of a run.

    Databases wait for a real disk at each commit. Compiling takes seconds, and hundreds of processes need kernels.
    """
    if os.path.isdir(_MEMORY_DISK) and shutil.disk_usage(_MEMORY_DISK).free > 8 << 30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _MEMORY_DISK)
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="nst-compiled-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        if config.getoption("numprocesses", None):
            build_in_background(Path(folder))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file for tests to copy. Migrations take half a second, a copy takes a millisecond."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


def migrate(url: str) -> None:
    """Migrate the database at an address to the newest version, and leave no connection open."""
    database = Database(url)
    database.migrate()
    database.close()


#: Files whose tests mostly wait for processes that they start. Their order is by length, the longest first.
_WAITING = (
    *("tests/faults/", "tests/e2e/", "tests/hostile/", "tests/unit/scheduler/local/test_embedded.py"),
    *("tests/integration/test_worker.py", "tests/integration/test_training_worker.py"),
    *("tests/integration/test_storage_identity.py", "tests/integration/test_failover.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the files that wait evenly among the others.

    Files are given to the processes of a run in this order. Several files that wait would leave the processor idle at
    the end, and at the start their many processes would get in each other's way.
    """
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    waiting = [file for prefix in _WAITING for file in files if file.startswith(prefix)]
    # The last third is left to short files, so that all processes end at about the same time.
    others = sorted((file for file in files if file not in waiting), key=lambda file: -len(files[file]))
    step = max(1, len(others) * 2 // 3 // max(1, len(waiting)))
    order = []
    for place, file in enumerate(others):
        if place % step == 0 and waiting:
            order.append(waiting.pop(0))
        order.append(file)
    items[:] = [item for file in [*order, *waiting] for item in files[file]]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerSettings]:
    """A real Redis server."""
    port = free_port()
    with run_server(redis_command(port, tmp_path_factory.mktemp("redis")), port):
        yield BrokerSettings(redis_url=SecretStr(f"redis://{HOST}:{port}/0"))


@pytest.fixture
def broker(redis_server: BrokerSettings) -> Iterator[Broker]:
    """A broker on an empty Redis."""
    client = make_redis(redis_server)
    client.flushall()
    client.close()
    broker = Broker(redis_server)
    yield broker
    broker.close()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageSettings]:
    """A real S3 server, with a bucket."""
    port, secret = free_port(), secrets.token_hex(16)
    settings = StorageSettings(
        s3_endpoint=f"http://{HOST}:{port}", s3_access_key=SecretStr("nst"), s3_secret_key=SecretStr(secret)
    )
    with run_server(s3_command(port, tmp_path_factory.mktemp("s3")), port, s3_env("nst", secret)):
        BlobStore(settings).ensure_bucket()
        yield settings


@pytest.fixture(scope="session")
def blobs(s3_server: StorageSettings) -> BlobStore:
    """A store that all tests share, because a client takes 200 ms to make. Tests use own prefixes."""
    return BlobStore(s3_server)


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Make clients. A test that uses this runs with both kinds of clients."""
    if request.param == "sync":
        yield Client
    else:
        with asyncio.Runner() as runner:
            yield connect_async(runner)


@pytest.fixture
def data() -> Path:
    """The folder of test data."""
    return Path(__file__).parent / "data"
