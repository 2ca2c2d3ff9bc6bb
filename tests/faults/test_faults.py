"""Jobs survive the death of processes: no item is lost or done twice, and the bytes match a run without faults."""

import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nst_core.client import Client
from nst_core.client.resources.jobs import Job, JobInput, JobRequest
from nst_core.client.resources.methods import Optimize
from scheduler.local.backup import HomeBackup
from scheduler.local.embedded import Stack
from scheduler.local.home import Home
from scheduler.operations.restore import restore
from tests.faults.harness import (
    Disturber,
    Outcome,
    check_complete,
    finish,
    flush_redis,
    images,
    kill_running,
    submit,
    upload,
)
from tests.photos import small_photos

PHOTOS = 40
ENV = {
    "NST_CHUNK_SIZE": "4",
    # Few photos are sent ahead, so that a worker does not finish all of them while other processes are dead.
    "NST_DISPATCH_WINDOW": "2",
    "NST_LEASE_S": "3",
    "NST_HEARTBEAT_S": "0.5",
    "NST_PROGRESS_S": "0.1",
    "NST_LOST_AFTER_S": "1",
    "NST_CHECKPOINT_S": "0.2",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("home"), workers=1, env=ENV) as stack:
        yield stack


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    with stack.client() as client:
        yield client


@pytest.fixture(scope="module")
def uris(client: Client) -> list[str]:
    return upload(client, small_photos(PHOTOS, side_px=200))


@pytest.fixture(scope="module")
def undisturbed(stack: Stack, client: Client, uris: list[str]) -> Outcome:
    outcome = finish(stack, client, submit(client, uris, ["great_wave"]))
    assert outcome.job.counts.succeeded == PHOTOS
    return outcome


def check_disturbed_run(
    stack: Stack, client: Client, uris: list[str], undisturbed: Outcome, *at: tuple[float, Callable[[], bool]]
) -> None:
    disturber = Disturber(*at)
    outcome = finish(stack, client, submit(client, uris, ["great_wave"]), on_poll=disturber)
    assert disturber.done == len(at), "the job ended before all was disturbed"
    assert outcome.job.status == "succeeded"
    check_complete(outcome)
    assert images(outcome) == images(undisturbed)


def test_worker_killed_five_times_and_redis_flushed(
    stack: Stack, client: Client, uris: list[str], undisturbed: Outcome
) -> None:
    rng = random.Random(2026)
    kills = [(rng.uniform(0.05, 0.85), lambda: kill_running(stack, "worker-1")) for _ in range(5)]
    check_disturbed_run(stack, client, uris, undisturbed, *kills, (0.5, lambda: flush_redis(stack)))


def test_optimisation_continues_after_its_worker_was_killed(stack: Stack, client: Client) -> None:
    photo, painting = upload(client, small_photos(2, side_px=64))
    request = JobRequest(
        method="optimize",
        input=JobInput(uris=(photo,)),
        paintings=(painting,),
        optimize=Optimize(options={"iterations": 120, "size_px": 64}, preview_every=40),
    )
    whole = finish(stack, client, client.submit(request))
    killed = False

    def kill(job: Job) -> None:
        nonlocal killed
        for item in client.items(job.id):
            if not killed and item.progress and 30 <= item.progress.iteration < 100:
                killed = kill_running(stack, "worker-1")

    job = client.wait(client.submit(request).id, on_poll=kill, poll_s=0.05, timeout_s=600)
    assert killed, "the job ended before its worker was killed"
    disturbed = finish(stack, client, job)
    for outcome in (whole, disturbed):
        assert outcome.job.status == "succeeded", outcome.errors
        check_complete(outcome)
        assert outcome.items[0].progress is not None
        assert outcome.items[0].progress.iteration == 120
        assert client.preview(outcome.job.id, 0).startswith(b"\xff\xd8"), "a JPEG"
    assert [outcome.items[0].attempt for outcome in (whole, disturbed)] == [1, 2]
    log = stack.children["worker-1"].log.read_text()
    match = re.search(rf"{job.id} item 0: continues after iteration (\d+) of 120", log)
    assert match is not None
    assert int(match[1]) > 0
    assert images(disturbed) == images(whole)


def test_scheduler_killed_and_started_again(
    stack: Stack, client: Client, uris: list[str], undisturbed: Outcome
) -> None:
    def kill_first() -> bool:
        # The worker is stopped until the second scheduler is dead too, because clients notice the first restart late.
        stack.children["worker-1"].send_signal(signal.SIGSTOP)
        return kill_running(stack, "scheduler")

    def kill_second() -> bool:
        killed = kill_running(stack, "scheduler")
        if killed:
            stack.children["worker-1"].send_signal(signal.SIGCONT)
        return killed

    check_disturbed_run(stack, client, uris, undisturbed, (0.1, kill_first), (0.1, kill_second))


def test_redis_and_storage_killed_and_started_again(
    stack: Stack, client: Client, uris: list[str], undisturbed: Outcome
) -> None:
    check_disturbed_run(
        stack,
        client,
        uris,
        undisturbed,
        (0.2, lambda: kill_running(stack, "redis")),
        (0.6, lambda: kill_running(stack, "s3")),
    )


def test_everything_killed_at_once_and_started_again(
    stack: Stack, client: Client, uris: list[str], undisturbed: Outcome
) -> None:
    def kill_all() -> bool:
        killed = [kill_running(stack, name) for name in stack.children]
        return all(killed)

    check_disturbed_run(stack, client, uris, undisturbed, (0.2, kill_all), (0.5, kill_all))


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """A stack that was stopped during a job, and a backup that was made while the stack was running."""

    home: Path
    backup: Path
    #: A job that had ended when the backup was made, and one that had not.
    ended: Outcome
    unfinished: Job


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    home, backup = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("backup") / "nst.tar"
    with Stack(home, workers=1, env=ENV) as stack, stack.client() as client:
        ended = finish(stack, client, submit(client, upload(client, small_photos(2, side_px=64)), ["udnie"]))
        photos = dict(list(small_photos(PHOTOS, side_px=200).items())[:16])
        job = submit(client, upload(client, photos), ["great_wave"])
        while client.job(job.id).counts.succeeded < 3:
            time.sleep(0.05)
        # Otherwise the job could end before the backup does.
        stack.children["worker-1"].send_signal(signal.SIGSTOP)
        with open(backup, "wb") as file:
            HomeBackup(Home(home), sleep=lambda seconds: None).write(file)
        assert not client.job(job.id).status.is_terminal
        stack.children["worker-1"].send_signal(signal.SIGCONT)
    return Interrupted(home=home, backup=backup, ended=ended, unfinished=job)


def test_restarted_stack_continues_its_jobs(interrupted: Interrupted, undisturbed: Outcome) -> None:
    with Stack(interrupted.home, workers=1, env=ENV) as stack, stack.client() as client:
        outcome = finish(stack, client, interrupted.unfinished)
    assert outcome.job.counts.succeeded == 16
    check_complete(outcome)
    assert images(outcome).items() < images(undisturbed).items()


def test_a_home_that_was_restored_from_a_backup_has_all_results_and_continues_its_jobs(
    interrupted: Interrupted, undisturbed: Outcome, tmp_path: Path
) -> None:
    with open(interrupted.backup, "rb") as file:
        restore(file, Home(tmp_path / "restored"))
    shutil.rmtree(interrupted.home)
    with Stack(tmp_path / "restored", workers=1, env=ENV) as stack, stack.client() as client:
        ended = finish(stack, client, interrupted.ended.job)
        outcome = finish(stack, client, interrupted.unfinished)
        assert len(list(client.jobs())) == 2
    assert ended == interrupted.ended
    assert outcome.job.counts.succeeded == 16
    check_complete(outcome)
    assert images(outcome).items() < images(undisturbed).items()
