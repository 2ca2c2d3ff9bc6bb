"""Every call is answered within 10 s, even if Redis is stopped, storage is silent or the database is locked."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from nst_core.settings import BrokerSettings, StorageSettings
from nst_core.storage.blobs import BlobStore
from scheduler.api.app import make_api
from scheduler.domain.keys import new_api_key
from scheduler.local.servers import HOST, free_port, redis_command
from scheduler.store.database import API_S, Database
from tests.brokers import Broker
from tests.integration.conftest import TENANT, Rig
from tests.integration.runs.kit import RunRig

MOST_S = 10.0


@contextmanager
def api_of(rig: Rig, *, url: str, broker: Broker | None = None, blobs: BlobStore | None = None) -> Iterator[TestClient]:
    """Yield a client of an app with production time-outs, on the rig's data."""
    database, blobs = Database(url, wait_s=API_S), blobs or rig.blobs
    service = rig.new_service(database, blobs)
    key = new_api_key()
    service.keys.add(key, tenant=TENANT)
    app = make_api(service, database=database, broker=broker or rig.broker, blobs=blobs, clock=rig.clock)
    try:
        with TestClient(app, headers={"Authorization": f"Bearer {key}"}, raise_server_exceptions=False) as client:
            yield client
    finally:
        database.close()


def ask(client: TestClient, method: str, path: str, **options: Any) -> Any:
    """Return the answer to a request, and check that it came in time."""
    started = time.monotonic()
    answer = client.request(method, path, **options)
    assert time.monotonic() - started < MOST_S, (method, path)
    return answer


def check_unavailable(answer: Any, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, code), answer.text
    assert answer.headers["Retry-After"]
    assert HOST not in answer.text  # no answer shows the addresses of servers


def job(rig: Rig) -> dict[str, Any]:
    return {"input": {"uris": [f"s3://nst/{rig.prefix}/a.jpg"]}, "styles": ["wave"]}


@pytest.fixture
def stopped_redis(tmp_path: Path) -> Iterator[BrokerSettings]:
    """A stopped Redis: the system accepts connections for it, and nothing answers."""
    port = free_port()
    process = subprocess.Popen(redis_command(port, tmp_path), stdout=subprocess.DEVNULL)
    settings = BrokerSettings(redis_url=SecretStr(f"redis://{HOST}:{port}/0"))
    try:
        broker, deadline = Broker(settings, patient=False), time.monotonic() + 30
        while True:
            try:
                broker.ping()
                break
            except Exception:  # noqa: BLE001  Not there yet
                assert time.monotonic() < deadline
                time.sleep(0.05)
        broker.close()
        process.send_signal(signal.SIGSTOP)
        yield settings
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(20)


@pytest.fixture
def silent_storage() -> Iterator[BlobStore]:
    """A storage whose port accepts connections and never answers."""
    with socket.create_server((HOST, 0), backlog=64) as server:
        settings = StorageSettings(
            s3_endpoint=f"http://{HOST}:{server.getsockname()[1]}",
            s3_access_key=SecretStr("nst"),
            s3_secret_key=SecretStr("nst"),
        )
        yield BlobStore(settings, patient=False)


def test_stopped_redis_delays_nothing(rig: Rig, database_url: str, stopped_redis: BrokerSettings) -> None:
    broker = Broker(stopped_redis, patient=False)
    with api_of(rig, url=database_url, broker=broker) as client:
        ready = ask(client, "GET", "/readyz")
        assert (ready.status_code, ready.json()["checks"]["broker"]) == (503, "broker_unavailable")
        assert ready.json()["checks"]["database"] == ready.json()["checks"]["storage"] == "ok"
        submitted = ask(client, "POST", "/v1/jobs", json=job(rig))
        assert submitted.status_code == 202
        assert ask(client, "POST", f"/v1/jobs/{submitted.json()['id']}/cancel").status_code == 202
        assert ask(client, "GET", "/v1/jobs").status_code == 200
    broker.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_silent_storage_is_reported_in_time(rig: Rig, database_url: str, silent_storage: BlobStore) -> None:
    job_id = rig.submit(1)
    rig.run_to_end()
    run_id = RunRig(rig).add()
    RunRig(rig).change(run_id, checkpoint_uri="s3://nst/c", checkpoint_sha256="0" * 64, step=10)
    with api_of(rig, url=database_url, blobs=silent_storage) as client:
        ready = ask(client, "GET", "/readyz")
        assert (ready.status_code, ready.json()["checks"]["storage"]) == (503, "blob_unavailable")
        assert ask(client, "POST", "/v1/jobs", json=job(rig)).status_code == 202
        upload = ask(client, "POST", "/v1/uploads").json()["id"]
        training = {"name": "a", "painting": "s3://nst/a.png", "data": "s3://nst/b/", "initial": "none"}
        asked: list[tuple[str, str, dict[str, Any]]] = [
            ("GET", f"/v1/jobs/{job_id}/items/0/output", {}),
            ("PUT", f"/v1/uploads/{upload}/a.jpg", {"content": b"x"}),
            ("PUT", f"/v1/uploads/{upload}/large.jpg", {"content": bytes(20 * 2**20)}),
            ("POST", "/v1/styles", {"json": training}),
            ("PUT", "/v1/styles/mine", {"json": {"weights": "s3://nst/a", "card": {"title": "t"}}}),
            ("GET", "/v1/styles/wave/weights", {}),
            ("GET", f"/v1/runs/{run_id}/painting", {}),
        ]
        with ThreadPoolExecutor(len(asked)) as pool:
            for answer in pool.map(lambda each: ask(client, each[0], each[1], **each[2]), asked):
                check_unavailable(answer, "blob_unavailable")
        assert ask(client, "GET", f"/v1/jobs/{job_id}/results").status_code == 200


@contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    """Hold the lock that prevents other writers."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.execute(text("BEGIN IMMEDIATE"))
        else:
            connection.execute(text("BEGIN"))
            connection.execute(text(f"LOCK TABLE {table} IN EXCLUSIVE MODE"))
        yield
        connection.execute(text("ROLLBACK"))
    engine.dispose()


def test_a_locked_database_can_be_read_and_refuses_writes_in_time(rig: Rig, database_url: str) -> None:
    with api_of(rig, url=database_url) as client:
        job_id = ask(client, "POST", "/v1/jobs", json=job(rig)).json()["id"]
        rig.clock.advance(120)  # so that the use of the key must be recorded again
        for table in ("jobs", "api_keys"):
            with locked(database_url, table):
                assert ask(client, "GET", f"/v1/jobs/{job_id}").status_code == 200
                assert ask(client, "GET", "/readyz").status_code == 200
                if table == "jobs":
                    check_unavailable(ask(client, "POST", "/v1/jobs", json=job(rig)), "database_unavailable")
                    check_unavailable(ask(client, "POST", f"/v1/jobs/{job_id}/cancel"), "database_unavailable")
                else:
                    body = {"name": "k", "scopes": ["jobs:read"]}
                    check_unavailable(ask(client, "POST", "/v1/keys", json=body), "database_unavailable")
        assert ask(client, "POST", f"/v1/jobs/{job_id}/cancel").status_code == 202


@contextmanager
def frozen(database: Database) -> Iterator[None]:
    """Stop all processes of a PostgreSQL server. Its system still acknowledges what it is sent."""
    with database.read() as connection:
        backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    server = int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    for process in (server, *map(int, children)):
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in (*map(int, children), server):
            os.kill(process, signal.SIGCONT)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_server_that_hangs_and_keeps_its_connections_delays_no_answer(rig: Rig, database_url: str) -> None:
    with api_of(rig, url=database_url) as client:
        paths = ["/v1/jobs", "/v1/jobs", "/v1/styles", "/readyz", "/readyz"]
        with ThreadPoolExecutor(len(paths)) as pool:
            # So that the pool has connections, which a server that hangs does not close.
            assert {ask(client, "GET", path).status_code for path in paths} == {200}
            time.sleep(1)  # the result of the check of readiness is that old at most
            with frozen(rig.database):
                for path, answer in zip(paths, pool.map(partial(ask, client, "GET"), paths), strict=True):
                    if path != "/readyz":
                        check_unavailable(answer, "database_unavailable")
                ready = ask(client, "GET", "/readyz")
                assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "database_unavailable")
        assert ask(client, "GET", "/v1/jobs").status_code == 200
        time.sleep(1)
        assert ask(client, "GET", "/readyz").status_code == 200


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_server_that_hangs_in_the_middle_of_a_transaction_ends_it(rig: Rig, database_url: str) -> None:
    with closing(Database(database_url, wait_s=1.0)) as database:
        began = time.monotonic()
        with database.read() as connection, frozen(rig.database):
            with pytest.raises(OperationalError, match="no answer within 3 s"):
                connection.exec_driver_sql("SELECT 1")
            assert time.monotonic() - began < MOST_S
        database.ping()


def test_control_loops_wait_longer_than_the_api(database_url: str) -> None:
    patient, hasty = Database(database_url), Database(database_url, wait_s=API_S)
    patient.migrate()
    with patient.read() as connection:
        if connection.dialect.name == "postgresql":
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "20s"
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "0"
    with hasty.read() as connection:
        if connection.dialect.name == "postgresql":
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "4s"
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "8s"
        else:
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 4000
    with patient.write(wait_s=0.25) as connection:
        if connection.dialect.name == "postgresql":
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "250ms"
        else:
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 250
    with patient.write() as connection:  # the same connection has its usual time-out again
        if connection.dialect.name == "postgresql":
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "20s"
        else:
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 20_000
    patient.close()
    hasty.close()
