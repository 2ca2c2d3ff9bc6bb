"""Fixtures: SQLite and PostgreSQL databases, and the control loops on real servers with a clock that the test sets."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, text

from nst_core.client.resources.jobs import JobInput, JobRequest, Output
from nst_core.protocol.chunks import ChunkMessage, OptimizeChunk, StylizeChunk, load_chunk
from nst_core.protocol.events import ChunkFinished, ChunkProgress, ChunkStarted, Event, ItemOutcome
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.styles import shipped_styles
from scheduler.access.idempotency import Idempotency
from scheduler.access.tenants import Tenants
from scheduler.api.app import make_api
from scheduler.control.event_reader import EventReader
from scheduler.control.leadership import Leadership
from scheduler.domain.jobs import Job
from scheduler.domain.keys import new_api_key
from scheduler.jobs.collector import ChunkCollector
from scheduler.jobs.dispatcher import Dispatcher
from scheduler.jobs.finalizer import Finalizer
from scheduler.jobs.item_times import ItemTimes
from scheduler.jobs.methods.base import Window
from scheduler.jobs.planner import Planner
from scheduler.jobs.reaper import Reaper
from scheduler.jobs.service import JobService
from scheduler.jobs.withdrawal import Withdrawer
from scheduler.runs.collector import RunCollector
from scheduler.store import styles as access
from scheduler.store.database import Database
from scheduler.store.styles import StyleRow
from scheduler.store.tenants import Tenant
from tests.brokers import Broker
from tests.conftest import migrate
from tests.integration.receiver import Certificates, Receiver, make_certificates, receiving
from tests.postgres import find_postgres, run_postgres

TENANT = "default"
LEASE_S, DISPATCH_LEASE_S, LOST_AFTER_S, BACKOFF_S = 30.0, 120.0, 5.0, 2.0
OPTIMIZE_DISPATCH_LEASE_S = 3600.0
ROLE_HELD_S = 600.0
_Chunk = TypeVar("_Chunk", bound=ChunkMessage)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A real PostgreSQL server; yields the address of its maintenance database."""
    if find_postgres() is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    # Not in pytest's folder: a second run of pytest by root closes that to all other users, postgres among them.
    with TemporaryDirectory(prefix="nst-postgres-") as folder, run_postgres(Path(folder)) as address:
        yield address


@pytest.fixture(scope="session")
def postgres_emptied(postgres_server: str) -> Iterator[Callable[[], str]]:
    """Empties a migrated database and returns its address; it is made once, since making one takes half a second."""
    create_database(postgres_server, "emptied")
    address = named(postgres_server, "emptied")
    migrate(address)
    engine = create_engine(address, isolation_level="AUTOCOMMIT", pool_size=1)

    def empty() -> str:
        with engine.connect() as connection:
            connection.execute(text(_DISCONNECT_OTHERS))
            connection.execute(text(_EMPTY_TABLES))
        return address

    yield empty
    engine.dispose()


#: Connections that an earlier test left open could still hold locks.
_DISCONNECT_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
#: Only tables with rows are truncated, because each costs a file. Sequences restart at 1 in all tables.
_EMPTY_TABLES = """
DO $$
DECLARE name text; filled text[] := '{}'; has_rows boolean;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I)', name) INTO has_rows;
        IF has_rows THEN filled := filled || quote_ident(name); END IF;
    END LOOP;
    IF filled <> '{}' THEN EXECUTE 'TRUNCATE ' || array_to_string(filled, ', ') || ' CASCADE'; END IF;
    FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL LOOP
        EXECUTE format('ALTER SEQUENCE %I RESTART', name);
    END LOOP;
END $$
"""


def named(server: str, name: str) -> str:
    """Return the address of a database, given the address of another database on the same server."""
    return server.rsplit("/", 1)[0] + f"/{name}"


def create_database(server: str, name: str) -> None:
    """Create an empty database on a PostgreSQL server."""
    run_statement(server, f"CREATE DATABASE {name}")


def run_statement(server: str, statement: str) -> None:
    """Run a statement that cannot run inside a transaction."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database. It is migrated if the test uses `database`, otherwise empty."""
    migrated = "database" in request.fixturenames
    if request.param == "sqlite":
        path = tmp_path / "nst.db"
        if migrated:
            shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    if migrated:
        yield request.getfixturevalue("postgres_emptied")()
        return
    server: str = request.getfixturevalue("postgres_server")
    name = f"test_{next(_numbers)}"
    create_database(server, name)
    yield named(server, name)
    # FORCE closes connections that are still open: hundreds of databases would fill a disk.
    run_statement(server, f"DROP DATABASE {name} WITH (FORCE)")


@dataclass
class FakeClock:
    """A clock that moves only when the test moves it."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> FakeClock:
    """The clock of the test's scheduler."""
    return FakeClock()


@pytest.fixture
def database(database_url: str, clock: FakeClock) -> Iterator[Database]:
    """A migrated database."""
    database = Database(database_url, clock=clock)
    yield database
    database.close()


@dataclass
class Rig:
    """All parts of a scheduler, which the test ticks by hand. The test plays the workers on the real Redis."""

    database: Database
    broker: Broker
    blobs: BlobStore
    clock: FakeClock
    prefix: str
    chunk_size: int = 4
    page: int = 10
    window: int = 4
    #: The number of known workers; 0 if the scheduler does not know of any.
    crew: int = 0
    max_attempts: int = 3
    service: JobService = field(init=False)
    item_times: ItemTimes = field(init=False)
    idempotency: Idempotency = field(init=False)

    def __post_init__(self) -> None:
        self.item_times = ItemTimes(clock=self.clock, first_guess=self.chunk_size)
        self.idempotency = Idempotency(self.database, clock=self.clock)
        self.service = self.new_service(self.database, self.blobs)
        self.planner = Planner(
            self.database,
            self.blobs,
            timer=self.clock,
            item_times=self.item_times,
            page=self.page,
            tenants=self.service.tenants,
        )
        self.dispatcher = self.new_dispatcher()
        self.withdrawer = Withdrawer(self.database, self.broker)
        self.events = self.new_event_reader()
        self.reaper = Reaper(
            self.database,
            self.broker,
            clock=self.clock,
            lost_after_s=LOST_AFTER_S,
        )
        self.finalizer = Finalizer(self.database, self.blobs, clock=self.clock, timer=self.clock)
        for name in ("wave", "udnie"):
            row = StyleRow(name=name, version=name * 4, weights=f"s3://nst/styles/{name}", card={"title": name})
            with self.database.write() as connection:
                access.put_style(connection, row, now=self.clock())

    def new_service(self, database: Database, blobs: BlobStore, *, training_data: str | None = None) -> JobService:
        """Return the operations of an API on a database and a storage."""
        buckets = frozenset({self.blobs.bucket})
        return JobService(
            database,
            blobs,
            clock=self.clock,
            tenants=Tenants(database, clock=self.clock, bucket=blobs.bucket, buckets=buckets),
            idempotency=Idempotency(database, clock=self.clock),
            item_times=self.item_times,
            max_attempts=self.max_attempts,
            training_data=training_data,
            timer=self.clock,
        )

    def new_event_reader(self) -> EventReader:
        """Return a second event reader, as another scheduler would run."""
        chunks = ChunkCollector(
            self.database, clock=self.clock, lease_s=LEASE_S, backoff_s=BACKOFF_S, item_times=self.item_times
        )
        return EventReader(
            self.broker,
            # Redis keeps real time. A role of 3 s would end in the middle of a test on a busy machine.
            Leadership("collector", self.database, self.broker, clock=self.clock, held_s=ROLE_HELD_S),
            apply_chunk=chunks.apply,
            apply_segment=RunCollector(self.database, clock=self.clock, lease_s=LEASE_S).apply,
            clock=self.clock,
        )

    def new_dispatcher(self) -> Dispatcher:
        """Return a second dispatcher, as another scheduler would run."""
        windows = {
            "feedforward": Window(chunks=self.window, lease_s=DISPATCH_LEASE_S),
            "optimize": Window(chunks=2, lease_s=OPTIMIZE_DISPATCH_LEASE_S),
        }
        return Dispatcher(
            self.database,
            self.broker,
            clock=self.clock,
            bucket=self.blobs.bucket,
            windows=windows,
            weights=self.service.tenants.weights,
            crew=lambda connection: self.crew,
        )

    def request(self, input: JobInput | int, **changes: object) -> JobRequest:
        """Return a request. A number stands for that many inline photos."""
        if isinstance(input, int):
            input = JobInput(uris=tuple(f"s3://nst/{self.prefix}/in/{i:04d}.jpg" for i in range(input)))
        output = {
            name.removeprefix("output_"): changes.pop(name) for name in list(changes) if name.startswith("output_")
        }
        values: dict[str, object] = {"input": input, "styles": ("wave",), "output": Output(**output)}
        return JobRequest(**(values | changes))

    def add_tenant(self, tenant: str) -> str:
        """Add a tenant that may read and write where this rig's photos are, and return it."""
        places = (f"s3://{self.blobs.bucket}/{self.prefix}/",)
        self.service.tenants.put(Tenant(id=tenant, read=places, write=places))
        return tenant

    def submit(self, input: JobInput | int, **changes: object) -> str:
        """Submit a job and return its id. Moves the clock a little, because jobs are ordered by time."""
        self.clock.advance(0.01)
        return self.service.submit(TENANT, self.request(input, **changes))[0].id

    def plan(self) -> None:
        """Plan everything that can be planned."""
        while self.planner.tick():
            pass

    def job(self, job_id: str) -> Job:
        """Return a job, and check that its counts match its items."""
        job = self.service.job(TENANT, job_id)
        counts = job.counts
        parts = (counts.pending, counts.running, counts.succeeded, counts.failed, counts.cancelled)
        assert sum(parts) == counts.total
        items = self.service.items(TENANT, job_id, limit=100_000, after=-1)
        for status in ("pending", "running", "succeeded", "failed", "cancelled"):
            assert getattr(counts, status) == sum(item.status == status for item in items), status
        return job

    def take(self) -> StylizeChunk | None:
        """Take a message from the queue of the feed-forward method, as a worker does."""
        return self._take(StylizeChunk)

    def take_optimize(self) -> OptimizeChunk | None:
        """Take a message from the queue of the method optimize."""
        return self._take(OptimizeChunk)

    def _take(self, cls: type[_Chunk]) -> _Chunk | None:
        values = self.broker.take(cls.queue)
        return None if values is None else load_chunk(cls, values)

    def take_all(self) -> list[StylizeChunk]:
        """Take all messages from the queue."""
        return list(iter(self.take, None))

    def report(self, *events: Event) -> None:
        """Publish events and let the collector read them."""
        for event in events:
            self.broker.publish(event)
        while self.events.tick(block_ms=1):
            pass

    def run_to_end(self, *, ticks: int = 1000) -> None:
        """Let well-behaved workers do all work."""
        for _ in range(ticks):
            self.plan()
            self.dispatcher.tick()
            chunks = self.take_all()
            for chunk in chunks:
                self.report(started(chunk), finished(chunk))
            if not chunks and not self.reaper.tick():
                break
        self.finalizer.tick()


def started(chunk: ChunkMessage, worker: str = "w1") -> ChunkStarted:
    """Return the event of a worker that begins a chunk."""
    return ChunkStarted(chunk_id=chunk.chunk_id, attempt=chunk.attempt, worker=worker)


def outcome(index: int) -> ItemOutcome:
    """Return the outcome of a stylized photo; deterministic, as real ones are."""
    return ItemOutcome(index=index, ms=5, sha256=f"{index:064x}", bytes=1000 + index, width=64, height=48)


def finished(chunk: ChunkMessage, make: Callable[[int], ItemOutcome | None] = outcome) -> ChunkFinished:
    """Return the event of a worker that has finished a chunk."""
    outcomes = (make(item.index) for item in chunk.items)
    return ChunkFinished(
        chunk_id=chunk.chunk_id, attempt=chunk.attempt, outcomes=tuple(o for o in outcomes if o is not None)
    )


def progress(chunk: ChunkMessage, *indexes: int) -> ChunkProgress:
    """Return the event of a worker that has finished some photos."""
    return ChunkProgress(
        chunk_id=chunk.chunk_id, attempt=chunk.attempt, outcomes=tuple(outcome(index) for index in indexes)
    )


def read_lines(rig: Rig, job: Job, name: str) -> list[bytes]:
    """Return the lines of a job's report."""
    return list(rig.blobs.lines(BlobUri.parse(job.spec.output.prefix + name)))


#: The rows of the shipped styles, once a test of this process has stored their weights.
_shipped: list[StyleRow] = []


def register_shipped(rig: Rig) -> None:
    """Register the styles of the package, as a scheduler does when it starts.

    The database of each test is empty, while the weights, of 20 MB, stay in the storage. So only the first test of a
    process sends them.
    """
    folder = BlobUri(rig.blobs.bucket, "styles/")
    stored = {f"s3://{folder.bucket}/{key}" for key in rig.blobs.list_keys(folder)}
    if not _shipped or any(row.weights not in stored for row in _shipped):
        rig.service.styles.register_shipped()
        with rig.database.read() as connection:
            found = [access.find_style(connection, style.name, tenant=TENANT) for style in shipped_styles()]
        _shipped[:] = [row for row in found if row is not None]
        return
    with rig.database.write() as connection:
        for row in _shipped:
            access.put_style(connection, row, now=rig.clock())


@pytest.fixture
def rig(database: Database, broker: Broker, blobs: BlobStore, clock: FakeClock) -> Rig:
    """A scheduler with a fresh database, an empty Redis, and its own prefix in storage."""
    return Rig(database, broker, blobs, clock, f"rig{next(_numbers)}")


def client_of(rig: Rig, *, tenant: str = TENANT, key: str | None = None, broker: Broker | None = None) -> TestClient:
    """Return a client of the API with a key, or a new one of a tenant. It gets 500 where the API breaks."""
    if key is None:
        rig.service.keys.add(key := new_api_key(), tenant=tenant)
    api = make_api(rig.service, database=rig.database, broker=broker or rig.broker, blobs=rig.blobs, clock=rig.clock)
    return TestClient(api, headers={"Authorization": f"Bearer {key}"}, raise_server_exceptions=False)


@pytest.fixture
def client(rig: Rig) -> Iterator[TestClient]:
    """A client of the API for the tenant whose jobs `Rig.submit` submits."""
    with client_of(rig) as client:
        yield client


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A certificate authority of the tests, and the certificate that it signed for this machine."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def receiver(certificates: Certificates) -> Iterator[Receiver]:
    """A real HTTPS server that takes webhooks."""
    with receiving(certificates) as receiver:
        yield receiver
