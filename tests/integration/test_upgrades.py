"""A database and messages of an earlier release, with this one's code. `tests/upgrades/make.py` made them.

From this fixture on, migrations that exist are not edited: a change of the tables is a new one.
"""

import gzip
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, TypeAdapter
from sqlalchemy import MetaData, inspect, select

from nst_core.protocol.chunks import OptimizeChunk, StylizeChunk, dump_chunk, load_chunk
from nst_core.protocol.events import _TYPES, Event, dump_event, load_event
from nst_core.protocol.segments import TRAIN_TASK, Phase, StoredFile, TrainSegment, dump_segment, load_segment
from nst_core.queue.connection import make_redis, queue_lists
from nst_core.settings import BrokerSettings
from nst_core.storage.blobs import BlobStore
from scheduler.api.app import make_api
from scheduler.domain.jobs import RESULTS_NAME
from scheduler.store.database import Database
from scheduler.webhooks.address import Rules
from scheduler.webhooks.service import WebhookService
from scheduler.webhooks.vault import Vault
from tests.brokers import Broker
from tests.integration.conftest import FakeClock, Rig, finished, read_lines, started
from tests.integration.runs.kit import RunRig
from tests.integration.test_migrations import differences
from tests.unit.nst_core.protocol.test_chunks import BLEND, CHUNK, OPTIMIZE
from tests.unit.nst_core.protocol.test_events import EVENTS

DATA = Path(__file__).parents[1] / "data" / "upgrades"
ANSWERS: dict[str, Any] = json.loads((DATA / "answers.json").read_text())
MESSAGES: dict[str, Any] = json.loads((DATA / "messages.json").read_text())
SEGMENT = TrainSegment(
    run_id="run_1",
    attempt=3,
    phase=Phase.EVALUATE,
    config={"steps": 5},
    painting=StoredFile(uri="s3://nst/p.jpg", sha256="0" * 64),
    photos="s3://nst/photos/",
    held_out=2,
    initial=StoredFile(uri="s3://nst/i.safetensors", sha256="0" * 64),
    samples=("s3://nst/s.jpg",),
    checkpoint=StoredFile(uri="s3://nst/c.safetensors", sha256="0" * 64),
    place="s3://nst/runs/run_1/",
    exact=True,
)
CLASSES: dict[str, type[Any]] = {"nst.stylize": StylizeChunk, "nst.optimize": OptimizeChunk, TRAIN_TASK: TrainSegment}


@pytest.fixture
def old(database_url: str) -> Iterator[Database]:
    """The database of the earlier release, as it left it."""
    if database_url.startswith("sqlite"):
        connection = sqlite3.connect(database_url.removeprefix("sqlite:///"))
        connection.executescript(gzip.decompress((DATA / "sqlite.sql.gz").read_bytes()).decode())
        connection.close()
    else:
        with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as server:
            server.execute(gzip.decompress((DATA / "postgresql.sql.gz").read_bytes()))
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def at_that_time(clock: FakeClock) -> FakeClock:
    """The clock, at the time when the earlier release was stopped."""
    clock.now = ANSWERS["now"]
    return clock


@pytest.fixture
def continued(old: Database, broker: Broker, blobs: BlobStore, at_that_time: FakeClock) -> Rig:
    """A scheduler of this release on the migrated database, with an empty Redis."""
    old.migrate()
    return Rig(old, broker, blobs, at_that_time, "upgraded")


def rows(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables, as the database has them."""
    with database.read() as connection:
        found = MetaData()
        found.reflect(connection)
        return {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in found.sorted_tables
            if table.name != "alembic_version"
        }


def key(row: dict[str, Any]) -> str:
    """Return text to sort rows by."""
    return json.dumps(row, sort_keys=True, default=str)


def without(values: dict[str, Any], name: str) -> dict[str, Any]:
    """Return values without one of them."""
    return {each: value for each, value in values.items() if each != name}


def covers(new: Any, old: Any) -> bool:
    """Return whether an answer says all that an older one said; it may say more."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(name in new and covers(new[name], old[name]) for name in old)
    if isinstance(old, list):
        return isinstance(new, list) and len(new) == len(old) and all(map(covers, new, old))
    return bool(new == old)


def test_a_migration_keeps_every_row(old: Database) -> None:
    before = rows(old)
    assert all(before[name] for name in ("jobs", "items", "chunks", "runs", "segments", "webhooks", "deliveries"))
    old.migrate()
    with old.read() as connection:
        assert differences(connection) == []
        columns = {name: {each["name"] for each in inspect(connection).get_columns(name)} for name in before}
    after = rows(old)
    for name, values in before.items():
        was = [{each: row[each] for each in row if each in columns[name]} for row in values]
        now = [{each: row[each] for each in was[0]} for row in after[name]] if was else []
        assert sorted(now, key=key) == sorted(was, key=key), name


def test_the_api_says_the_same_of_everything(continued: Rig) -> None:
    rules = Rules(allow_http=True, networks=())
    webhooks = WebhookService(
        continued.database, vault=Vault(ANSWERS["webhook_key"]), rules=rules, clock=continued.clock
    )
    api = make_api(
        continued.service,
        database=continued.database,
        broker=continued.broker,
        blobs=continued.blobs,
        clock=continued.clock,
        webhook_service=webhooks,
    )
    with TestClient(api, headers={"Authorization": f"Bearer {ANSWERS['api_key']}"}) as client:

        def listed(path: str, **filters: str) -> list[Any]:
            answer = client.get(path, params={"limit": "200", **filters})
            assert answer.status_code == 200, answer.text
            found: list[Any] = answer.json()["data"]
            return found

        answers = {
            "jobs": listed("/v1/jobs"),
            "items": {job["id"]: listed(f"/v1/jobs/{job['id']}/items") for job in ANSWERS["jobs"]},
            "runs": listed("/v1/runs"),
            "keys": [*listed("/v1/keys"), *listed("/v1/keys", tenant="lab")],
            "tenants": listed("/v1/tenants"),
            "webhooks": listed("/v1/webhooks"),
            "deliveries": {each["id"]: listed(f"/v1/webhooks/{each['id']}/deliveries") for each in ANSWERS["webhooks"]},
            "uploads": listed("/v1/uploads"),
            "styles": [style for style in listed("/v1/styles") if style["name"] == "tiny"],
            "usage": client.get("/v1/tenant").json()["usage"],
        }
        # The key of this client has just been used.
        expected = ANSWERS | {"keys": [without(each, "last_used_at") for each in ANSWERS["keys"]]}
        for name, answer in answers.items():
            assert covers(answer, expected[name]), name
        # The secrets can still be decrypted, and a new one be made.
        assert client.post(f"/v1/webhooks/{ANSWERS['webhooks'][0]['id']}/rotate").status_code == 200


def test_unfinished_work_continues_and_nothing_is_done_twice(continued: Rig) -> None:
    unfinished = [job for job in ANSWERS["jobs"] if job["status"] == "running"]
    assert {job["method"] for job in unfinished} == {"feedforward", "optimize"}
    # The messages are gone with Redis; what was sent and not begun is sent again after its lease.
    continued.clock.advance(4000)
    while continued.reaper.tick():
        pass
    runs = RunRig(continued)
    runs.tick()
    segment = runs.take()
    assert segment is not None
    assert segment.run_id in {run["id"] for run in ANSWERS["runs"] if run["status"] in ("queued", "running")}
    continued.run_to_end()
    while chunk := continued.take_optimize():
        continued.report(started(chunk), finished(chunk))
    while continued.finalizer.tick():
        pass
    for job in unfinished:
        now = continued.job(job["id"])
        assert (now.status, now.counts.succeeded) == ("succeeded", job["counts"]["total"])
        items = continued.service.items("default", job["id"], limit=1000, after=-1)
        assert [item.index for item in items] == list(range(job["counts"]["total"]))
        kept = {item["id"]: item["sha256"] for item in ANSWERS["items"][job["id"]] if item["status"] == "succeeded"}
        assert {item.index: item.sha256 for item in items if item.index in kept} == kept
        lines = read_lines(continued, now, RESULTS_NAME)
        assert [json.loads(line)["id"] for line in lines] == [item.index for item in items], "one line each"


@pytest.mark.parametrize("queue", CLASSES)
def test_a_worker_understands_messages_of_the_earlier_release(queue: str, redis_server: BrokerSettings) -> None:
    settings = BrokerSettings(redis_url=redis_server.redis_url, message_secret=SecretStr(MESSAGES["secret"]))
    client, worker = make_redis(settings), Broker(settings)
    client.flushall()
    for message in MESSAGES["queues"][queue]:
        client.lpush(queue_lists(queue)[-1], json.dumps(message))
        values = worker.take(queue)
        work = load_segment(values) if queue == TRAIN_TASK else load_chunk(CLASSES[queue], values)
        id = work.run_id if isinstance(work, TrainSegment) else work.chunk_id
        assert message["headers"]["nst_attempt"] == [id, work.attempt]
        assert covers(TypeAdapter(CLASSES[queue]).dump_python(work, mode="json"), values), "nothing in it is ignored"
    client.close()
    worker.close()


def test_a_scheduler_understands_events_of_the_earlier_release() -> None:
    assert {json.loads(event)["type"] for event in MESSAGES["events"]} == set(MESSAGES["event_schemas"])
    for event in MESSAGES["events"]:
        values = json.loads(event)
        del values["type"]
        loaded: Event = load_event(event.encode())
        assert covers(TypeAdapter(type(loaded)).dump_python(loaded, mode="json"), values), "nothing in it is ignored"


def test_a_worker_of_the_earlier_release_understands_messages() -> None:
    for chunk in (CHUNK, BLEND, OPTIMIZE):
        jsonschema.validate(dump_chunk(chunk), MESSAGES["message_schemas"][chunk.queue])
    jsonschema.validate(dump_segment(SEGMENT), MESSAGES["message_schemas"][TRAIN_TASK])


def test_a_scheduler_of_the_earlier_release_understands_events() -> None:
    for event in EVENTS:
        values = json.loads(dump_event(event))
        jsonschema.validate(values, MESSAGES["event_schemas"][values["type"]])


def definitions(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the parts of a schema by name."""
    return {"": schema, **schema.get("$defs", {})}


@pytest.mark.parametrize("name", [*MESSAGES["message_schemas"], *MESSAGES["event_schemas"]])
def test_no_field_of_a_message_is_newly_required_or_gone(name: str) -> None:
    """What is missing in an old message has a default, and what an old process requires is still sent."""
    old = definitions((MESSAGES["message_schemas"] | MESSAGES["event_schemas"])[name])
    new = definitions(TypeAdapter({**CLASSES, **_TYPES}[name]).json_schema())
    for part, was in old.items():
        now = new[part]
        assert set(now.get("required", ())) <= set(was.get("required", ())), part
        assert set(was.get("required", ())) <= set(now.get("properties", ())), part
