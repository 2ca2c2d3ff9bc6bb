"""Features of the asynchronous client only: concurrent calls, and an event loop that is never blocked."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from nst_core.client import AsyncClient
from nst_core.client.resources.jobs import JobInput, JobRequest, JobStatus
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api, item_json, job_json

ITEMS = "/v1/jobs/job_1/items?limit=200"
EVENTS = "/v1/jobs/job_1/events"


@pytest.fixture
def api() -> Iterator[CannedApi]:
    with canned_api() as server:
        yield server


def test_a_job_is_submitted_waited_for_and_its_results_are_iterated(api: CannedApi) -> None:
    api.on("POST", "/v1/jobs", Answer(status=202, body=job_json("queued")))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded")))
    api.on("GET", ITEMS, Answer(body={"data": [item_json(0), item_json(1)]}))
    for index in range(2):
        api.on("GET", f"/v1/jobs/job_1/items/{index}/output", Answer(body=b"%d" % index))

    async def main() -> list[bytes]:
        async with AsyncClient(api.url, "nst_key") as client:
            job = await client.submit(JobRequest(input=JobInput(prefix="s3://nst/in/"), styles=("great_wave",)))
            job = await client.wait(job.id)
            assert job.status is JobStatus.SUCCEEDED
            return [await client.output(job.id, item.id) async for item in client.items(job.id)]

    assert asyncio.run(main()) == [b"0", b"1"]


def test_calls_of_one_client_run_concurrently(api: CannedApi) -> None:
    # No answer is sent before all requests have arrived.
    barrier = threading.Barrier(5, timeout=20)

    def meet() -> None:
        barrier.wait()

    for number in range(5):
        api.on("GET", f"/v1/jobs/job_{number}", Answer(body=job_json(id=f"job_{number}"), first=meet))

    async def main() -> list[str]:
        async with AsyncClient(api.url) as client:
            jobs = await asyncio.gather(*(client.job(f"job_{number}") for number in range(5)))
        return [job.id for job in jobs]

    assert asyncio.run(main()) == [f"job_{number}" for number in range(5)]


def test_a_slow_disk_does_not_block_the_event_loop(api: CannedApi, tmp_path: Path) -> None:
    api.on("PUT", "/v1/uploads/upl_1/a.jpg", Answer(status=201, body={"uri": "s3://nst/a.jpg"}))
    # A pipe is the slowest possible file: opening it blocks until another process writes.
    os.mkfifo(slow := tmp_path / "slow")
    rescue = threading.Timer(10, slow.write_bytes, [b""])

    async def write_when_it_is_being_opened() -> bool:
        while rescue.is_alive():
            try:
                os.close(os.open(slow, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                await asyncio.sleep(0)  # nothing reads yet
            else:
                return True
        return False

    async def main() -> list[str | bool]:
        async with AsyncClient(api.url) as client:
            return list(await asyncio.gather(client.upload("upl_1", "a.jpg", slow), write_when_it_is_being_opened()))

    rescue.start()
    try:
        assert asyncio.run(main()) == ["s3://nst/a.jpg", True]
    finally:
        rescue.cancel()


def test_a_wait_that_ends_or_is_cancelled_leaves_no_task_behind(api: CannedApi) -> None:
    asked, gone = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        gone.wait(20)

    api.on("GET", EVENTS, Answer(first=hold, hang_up=True))
    running, done = Answer(body=job_json("running")), Answer(body=job_json("succeeded"))
    api.on("GET", "/v1/jobs/job_1", running, running, done, running)

    async def main() -> None:
        async with AsyncClient(api.url) as client:
            assert (await client.wait("job_1", poll_s=0.01)).status is JobStatus.SUCCEEDED
            assert asyncio.all_tasks() == {asyncio.current_task()}
            waiting = asyncio.create_task(client.wait("job_1", poll_s=0.01))
            await asyncio.to_thread(asked.wait, 20)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert asyncio.all_tasks() == {asyncio.current_task()}

    try:
        asyncio.run(main())
    finally:
        gone.set()


def test_an_event_stream_can_be_left_early(api: CannedApi) -> None:
    frames = [
        f'id: {n}\nevent: job.progress\ndata: {{"timestamp": "2026-11-22T12:00:00Z", "data": {{}}}}\n\n'
        for n in (1, 2, 3)
    ]
    api.on("GET", EVENTS, Answer(body="".join(frames).encode()))

    async def main() -> None:
        async with AsyncClient(api.url) as client:
            async with aclosing(client.events("job_1")) as events:
                async for event in events:
                    assert event.id == 1
                    break
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert len(api.requests) == 1
