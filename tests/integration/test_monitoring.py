"""What a scheduler measures when Prometheus asks, on real servers."""

import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from nst_core.settings import BrokerSettings, StorageSettings
from nst_core.storage.blobs import BlobStore
from scheduler.api.app import make_api
from scheduler.control.broker import Broker
from scheduler.control.metrics import Metrics
from scheduler.domain.keys import new_api_key
from scheduler.jobs.backlog import BacklogReader
from scheduler.jobs.methods.base import Window
from scheduler.local.servers import HOST, free_port
from scheduler.monitoring import Monitor
from scheduler.store.database import Database
from tests.integration.conftest import TENANT, Rig, progress, started
from tests.integration.runs.kit import RunRig

sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def monitored(
    rig: Rig, *, database: Database | None = None, broker: Broker | None = None, blobs: BlobStore | None = None
) -> CollectorRegistry:
    """Return a registry with the monitor of a rig."""
    registry = CollectorRegistry()
    registry.register(
        Monitor(
            database=database or rig.database,
            broker=broker or rig.broker,
            blobs=blobs or rig.blobs,
            item_times=rig.item_times,
            backlog=BacklogReader(rig.item_times, clock=rig.clock, segment_s=60.0),
            windows={"feedforward": Window(chunks=rig.window, lease_s=1.0)},
        )
    )
    return registry


def values(registry: CollectorRegistry) -> dict[str, float]:
    """Return all values, by name and labels."""
    return {
        ":".join([sample.name, *sample.labels.values()]): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_the_queue_its_chunks_and_its_workers_are_measured(rig: Rig) -> None:
    registry = monitored(rig)
    job_id = rig.submit(10)
    rig.clock.advance(30)
    before = values(registry)
    assert (before["nst_jobs:feedforward:queued"], before["nst_workers"]) == (1, 0)
    assert before["nst_queue_oldest_seconds:feedforward"] == pytest.approx(30)
    rig.plan()
    rig.dispatcher.tick()
    chunk = rig.take()
    assert chunk is not None
    rig.report(started(chunk), progress(chunk, 0, 1))
    now = values(registry)
    assert (now["nst_queue_items:feedforward:queued"], now["nst_queue_items:feedforward:running"]) == (6, 2)
    assert now["nst_work_seconds:feedforward"] == pytest.approx(8 * 0.005), "5 ms an image"
    assert (now["nst_queue_oldest_seconds:feedforward"], now["nst_workers"]) == (0, 1)
    assert (now["nst_chunks:feedforward:dispatched"], now["nst_chunks:feedforward:running"]) == (2, 1)
    assert now["nst_window_chunks:feedforward"] == rig.window
    assert (now["nst_jobs:feedforward:running"], now["nst_jobs:optimize:running"]) == (1, 0)
    assert (now["nst_events"], now["nst_events_lag_seconds"]) == (0, 0)
    for dependency in ("database", "redis", "storage"):
        assert now[f"nst_dependency_up:{dependency}"] == 1
        assert 0 < now[f"nst_dependency_ping_seconds:{dependency}"] < 10
    rig.service.cancel(TENANT, job_id)
    assert values(registry)["nst_jobs:feedforward:cancelling"] == 1


def test_the_work_of_trainings_follows_from_the_time_of_their_steps(rig: Rig) -> None:
    registry, runs = monitored(rig), RunRig(rig)
    first = runs.add(steps=50)
    runs.finish(first)
    runs.add(steps=1000)
    assert values(registry)["nst_work_seconds:train"] == pytest.approx(1000 * 7.5 / 50), "the measurement is no step"


@sqlite
def test_events_that_nobody_reads_lag(rig: Rig) -> None:
    registry = monitored(rig)
    rig.submit(1)
    rig.plan()
    rig.dispatcher.tick()
    chunk = rig.take()
    assert chunk is not None
    rig.broker.publish(started(chunk))
    time.sleep(0.05)
    rig.broker.publish(started(chunk))
    now = values(registry)
    assert now["nst_events"] == 2
    assert 0.05 <= now["nst_events_lag_seconds"] < 60


@sqlite
def test_what_does_not_answer_is_down_and_the_rest_is_measured(rig: Rig) -> None:
    nowhere = free_port()
    broker = Broker(BrokerSettings(redis_url=SecretStr(f"redis://{HOST}:{nowhere}/0")), patient=False)
    blobs = BlobStore(StorageSettings(s3_endpoint=f"http://{HOST}:{nowhere}"), patient=False)
    now = values(monitored(rig, broker=broker, blobs=blobs))
    broker.close()
    up = {name: now[f"nst_dependency_up:{name}"] for name in ("database", "redis", "storage")}
    assert up == {"database": 1, "redis": 0, "storage": 0}
    assert "nst_dependency_ping_seconds:redis" not in now
    assert "nst_events" not in now
    assert now["nst_workers"] == 0


@sqlite
def test_a_database_that_does_not_answer_leaves_the_rest(rig: Rig) -> None:
    database = Database(f"postgresql://nst@{HOST}:{free_port()}/nst", wait_s=1)
    now = values(monitored(rig, database=database))
    database.close()
    assert (now["nst_dependency_up:database"], now["nst_dependency_up:redis"], now["nst_events"]) == (0, 1, 0)
    assert not any(name.startswith("nst_queue") for name in now)


@pytest.fixture
def requests(rig: Rig) -> Iterator[tuple[TestClient, CollectorRegistry]]:
    """A client of the API with a key, and the registry in which its requests are counted."""
    registry = CollectorRegistry()
    rig.service.keys.add(key := new_api_key(), tenant=TENANT)
    app = make_api(
        rig.service,
        database=rig.database,
        broker=rig.broker,
        blobs=rig.blobs,
        clock=rig.clock,
        observe=Metrics(registry).answered,
    )
    with TestClient(app, headers={"Authorization": f"Bearer {key}"}) as client:
        yield client, registry


@sqlite
@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/v1/jobs/job_0", ("/v1/jobs/{job_id}", "GET", "404")),
        ("HEAD", "/v1/jobs", ("/v1/jobs", "GET", "200")),
        ("POST", "/v1/jobs", ("/v1/jobs", "POST", "422")),
        ("GET", "/metrics", ("other", "GET", "404")),
    ],
)
def test_requests_are_counted_by_route(
    requests: tuple[TestClient, CollectorRegistry], method: str, path: str, labels: tuple[str, str, str]
) -> None:
    client, registry = requests
    client.request(method, path)
    named = dict(zip(("route", "method", "status"), labels, strict=True))
    assert registry.get_sample_value("nst_http_request_seconds_count", named) == 1


@sqlite
def test_a_request_without_a_key_is_counted_too(requests: tuple[TestClient, CollectorRegistry]) -> None:
    client, registry = requests
    client.get("/v1/jobs", headers={"Authorization": ""})
    named = {"route": "other", "method": "GET", "status": "401"}
    assert registry.get_sample_value("nst_http_request_seconds_count", named) == 1
