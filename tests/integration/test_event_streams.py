"""Event streams over real HTTP: replay, resumption, end, limits, and how clients use them to wait."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from nst_core.client import AsyncClient, Client
from nst_core.client.resources.jobs import Job, JobStatus
from scheduler.api.app import make_api
from scheduler.domain.keys import new_api_key
from scheduler.events import hub as event_hub
from scheduler.events.hub import EventHub, Stream
from scheduler.store import events as event_rows
from scheduler.store.tables import events as event_table
from tests.clients import Connect
from tests.integration.conftest import TENANT, Rig, finished, progress, started
from tests.integration.runs.kit import RunRig
from tests.integration.serving import serving

MAX_STREAMS = 2


@pytest.fixture
def hub(rig: Rig) -> EventHub:
    return EventHub(rig.database, max_streams=lambda tenant: MAX_STREAMS, poll_s=0.05, heartbeat_s=0.2)


@pytest.fixture
def url(rig: Rig, hub: EventHub) -> Iterator[str]:
    api = make_api(rig.service, database=rig.database, broker=rig.broker, blobs=rig.blobs, clock=rig.clock, hub=hub)
    with serving(api) as url:
        yield url
        hub.stop()


@pytest.fixture
def key(rig: Rig) -> str:
    key = new_api_key()
    rig.service.keys.add(key, tenant=TENANT)
    return key


@pytest.fixture
def http(url: str, key: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=20) as http:
        yield http


@pytest.fixture
def client(url: str, key: str, connect: Connect) -> Iterator[Client]:
    with connect(url, key) as client:
        yield client


def wait_for(status: int, http: httpx.Client, path: str) -> None:
    """Return when a new stream gets a status: 200, or 429 if too many streams are open."""
    deadline = time.monotonic() + 20
    while True:
        with http.stream("GET", path) as answer:
            if answer.status_code == status:
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def cancelled(rig: Rig) -> str:
    """Return a job that has ended."""
    job_id = rig.submit(1)
    rig.service.cancel(TENANT, job_id)
    rig.finalizer.tick()
    return job_id


def add_events(rig: Rig, job_id: str, count: int) -> None:
    """Add old events to a job, as a long job has."""
    with rig.database.write() as connection:
        rows = [
            {
                "tenant": TENANT,
                "subject": job_id,
                "type": "job.progress",
                "data": {"n": number},
                "created_at": rig.clock(),
                "fanned_out": True,
            }
            for number in range(count)
        ]
        connection.execute(insert(event_table), rows)


def test_a_stream_has_the_end_of_a_job_as_soon_as_the_hub_is_told(rig: Rig) -> None:
    patient = EventHub(rig.database, max_streams=lambda tenant: MAX_STREAMS, poll_s=60)
    job_id = rig.submit(1)
    stream = patient.open(TENANT, job_id, after=0, over=False)
    assert stream is not None

    async def watch() -> list[str]:
        seen = [event.type for event in await patient.next(stream, timeout_s=20)]
        waiting = asyncio.create_task(patient.next(stream, timeout_s=20))
        await asyncio.sleep(0.2)  # it has looked, and would look again in a minute
        rig.service.cancel(TENANT, job_id)
        rig.finalizer.tick()
        await asyncio.to_thread(patient.look)
        return [*seen, *(event.type for event in await waiting)]

    patient.look()  # nobody waits
    assert asyncio.run(watch())[-1] == "job.completed"
    patient.look()  # the event loop is closed
    patient.close(stream)


@pytest.mark.parametrize("behind", [True, False])
def test_replay_of_a_long_job_does_not_delay_events_of_other_jobs(
    rig: Rig, hub: EventHub, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    """Events of one job arrive while thousands of old events of another are replayed or arrive live."""
    monkeypatch.setattr(event_hub, "_BATCH", 20)
    monkeypatch.setattr(event_hub, "_EACH", 5)
    long, short = rig.submit(1), rig.submit(1)
    if behind:
        add_events(rig, long, 2000)
    streams = [hub.open(TENANT, job_id, after=0, over=False) for job_id in (long, short)]
    if not behind:
        add_events(rig, long, 2000)
    first, second = streams
    assert first is not None
    assert second is not None

    async def replay(seen: list[int]) -> None:
        while len(seen) < 2001:
            seen += [event.id for event in await hub.next(first, timeout_s=20)]

    async def watch() -> tuple[int, list[int]]:
        seen: list[int] = []
        await hub.next(second, timeout_s=20)  # the creation of the job
        replaying = asyncio.create_task(replay(seen))
        rig.service.cancel(TENANT, short)  # the newest events of all
        assert await hub.next(second, timeout_s=20)
        at_news = len(seen)
        await replaying
        return at_news, seen

    at_news, seen = asyncio.run(watch())
    assert at_news < 2001
    assert seen == sorted(set(seen))
    for stream in (first, second):
        hub.close(stream)


def test_streams_of_one_job_at_different_events_miss_none_where_another_job_has_much_news(
    rig: Rig, hub: EventHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full poll gives each stream its own first events, and not those that another one of the job is to get."""
    monkeypatch.setattr(event_hub, "_BATCH", 20)
    monkeypatch.setattr(event_hub, "_EACH", 5)
    monkeypatch.setattr(hub, "_max_streams", lambda tenant: 3)
    job_id, other = rig.submit(1), rig.submit(1)

    async def begin(subject: str) -> tuple[Stream, list[int]]:
        stream = hub.open(TENANT, subject, after=0, over=False)
        assert stream is not None
        return stream, [event.id for event in await hub.next(stream, timeout_s=20)]

    async def read(stream: Stream, seen: list[int], *, count: int) -> list[int]:
        while len(seen) < count and (found := await hub.next(stream, timeout_s=5)):
            seen += [event.id for event in found]
        return seen

    async def watch() -> Sequence[list[int]]:
        slow, busy = await begin(job_id), await begin(other)
        add_events(rig, job_id, 12)
        fast = await begin(job_id)
        add_events(rig, job_id, 12)
        add_events(rig, other, 40)
        return await asyncio.gather(read(*slow, count=25), read(*fast, count=25), read(*busy, count=41))

    with rig.database.read() as connection:
        seen = asyncio.run(watch())
        wanted = [
            [event.id for event in event_rows.events_after(connection, [(each, 0)], limit=100)]
            for each in (job_id, job_id, other)
        ]
    assert list(seen) == wanted


def test_the_stream_of_an_ended_job_replays_all_events_and_ends(http: httpx.Client, rig: Rig) -> None:
    answer = http.get(f"/v1/jobs/{cancelled(rig)}/events")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert (answer.headers["Cache-Control"], answer.headers["X-Accel-Buffering"]) == ("no-store", "no")
    frames = answer.text.split("\n\n")
    assert frames[0] == "retry: 3000"
    assert [frame.split("\n")[1] for frame in frames[1:-1]] == [
        "event: job.created",
        "event: job.cancelling",
        "event: job.finalizing",
        "event: job.completed",
    ]
    assert all(frame.startswith("id: ") and '"timestamp": "20' in frame for frame in frames[1:-1])


def test_a_stream_resumes_after_the_last_event_and_nothing_follows_the_end(
    client: Client, http: httpx.Client, rig: Rig
) -> None:
    job_id = cancelled(rig)
    ids = [event.id for event in client.events(job_id)]
    for options in ({"headers": {"Last-Event-ID": str(ids[1])}}, {"params": {"last_event_id": ids[1]}}):
        text = http.get(f"/v1/jobs/{job_id}/events", **options).text
        assert [int(line[4:]) for line in text.split("\n") if line.startswith("id: ")] == ids[2:]
    behind = http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(ids[-1])})
    assert (behind.status_code, behind.content) == (204, b"")


def test_a_stream_resumes_even_if_the_last_event_is_of_another_job(http: httpx.Client, rig: Rig) -> None:
    job_id = rig.submit(1)
    headers = {"Last-Event-ID": str(10**9)}
    with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 3000"
        rig.service.cancel(TENANT, job_id)
        rig.finalizer.tick()
        types = [line for line in lines if line.startswith("event: ")]
    assert types == ["event: job.cancelling", "event: job.finalizing", "event: job.completed"]


@pytest.mark.parametrize("number", ["x", "-1", str(2**63)])
def test_a_last_event_id_that_is_not_a_number_is_refused(http: httpx.Client, rig: Rig, number: str) -> None:
    answer = http.get(f"/v1/jobs/{rig.submit(1)}/events", headers={"Last-Event-ID": number})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


def test_new_events_arrive_at_once(client: Client, rig: Rig) -> None:
    job_id = rig.submit(2)
    told: list[str] = []

    def work() -> None:
        rig.plan()
        rig.dispatcher.tick()
        [chunk] = rig.take_all()
        rig.report(started(chunk))
        rig.clock.advance(2)
        rig.report(progress(chunk, 0), finished(chunk))
        rig.finalizer.tick()

    worker = threading.Thread(target=work)
    for event in client.events(job_id):
        told.append(event.type)
        if event.type == "job.created":
            worker.start()
    worker.join()
    assert told == ["job.created", "job.started", "job.progress", "job.finalizing", "job.completed"]


@pytest.mark.parametrize("callback", ["on_change", "on_poll"])
def test_waiting_needs_no_polling(url: str, key: str, connect: Connect, rig: Rig, callback: str) -> None:
    job_id = rig.submit(1)
    seen: list[Job] = []

    def end() -> None:
        rig.service.cancel(TENANT, job_id)
        rig.finalizer.tick()

    ender = threading.Thread(target=end)

    def see(job: Job) -> None:
        seen.append(job)
        if len(seen) == 1:
            ender.start()

    naps: list[float] = []
    with connect(url, key, sleep=naps.append) as client:
        callbacks: dict[str, Any] = {callback: see}
        job = client.wait(job_id, poll_s=3600, timeout_s=60, **callbacks)
    ender.join()
    assert job.status is JobStatus.CANCELLED
    assert seen[-1] == job
    assert 3600 not in naps


def test_a_run_has_a_stream_too(client: Client, rig: Rig) -> None:
    run_id = RunRig(rig).add()
    rig.service.runs.cancel(TENANT, run_id)
    assert [event.type for event in client.runs.events(run_id)] == ["run.created", "run.completed"]


def test_a_silent_stream_sends_keep_alives(http: httpx.Client, rig: Rig) -> None:
    with http.stream("GET", f"/v1/jobs/{rig.submit(1)}/events") as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith(":")) == ": still here"


def test_the_number_of_streams_is_limited_and_a_client_that_leaves_frees_its_place(
    http: httpx.Client, rig: Rig
) -> None:
    path = f"/v1/jobs/{rig.submit(1)}/events"
    with http.stream("GET", path), http.stream("GET", path):
        refused = http.get(path)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        assert refused.headers["Retry-After"] == "10"
    wait_for(200, http, path)


def test_asynchronous_clients_that_give_up_free_their_places(url: str, key: str, hub: EventHub, rig: Rig) -> None:
    job_id = rig.submit(1)

    async def until_open(count: int) -> None:
        async with asyncio.timeout(20):
            while hub._open._open[TENANT] != count:
                await asyncio.sleep(0.02)

    async def give_up() -> None:
        async with AsyncClient(url, key) as client:
            waiting = asyncio.create_task(client.wait(job_id, poll_s=0.01))
            await until_open(1)
            waiting.cancel()
            await until_open(0)
            async with aclosing(client.events(job_id)) as events:
                assert (await anext(events)).type == "job.created"
                await until_open(1)
            await until_open(0)

    asyncio.run(give_up())


def test_another_tenants_events_are_not_found(url: str, http: httpx.Client, rig: Rig) -> None:
    stranger = new_api_key()
    rig.service.keys.add(stranger, tenant="stranger")
    for path in (f"/v1/jobs/{rig.submit(1)}/events", f"/v1/runs/{RunRig(rig).add()}/events"):
        answer = http.get(path, headers={"Authorization": f"Bearer {stranger}"})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert http.get(path, headers={"Authorization": ""}).status_code == 401
