"""`python -m tests.benchmarks.scale [--items 10000 1000000]`: what an item costs scheduler and queue.

The stack is the real one on this machine: Redis, object storage, scheduler, API. Its workers do no image work: they say
at once that an image is done and took 250 ms, as one of 512 px does (`tests.benchmarks.null_worker`); the scheduler,
which sizes chunks by that, learns it from a small job that is not measured. A job's input is a manifest in the storage,
a line for each item. Printed for each number of items: how long it took until the job was accepted, planned and
finished, items per second from the submission to the last item, the time of the reports, the peak of the scheduler's
resident memory, and how long `GET /v1/jobs/{id}` took meanwhile, asked 20 times a second; by how many bytes an item the
database grew, and the peak of Redis's memory.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import create_engine, text

from nst_core.client import Client
from nst_core.client.resources.jobs import JobInput, JobRequest, Output
from nst_core.queue.connection import make_redis
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.local.embedded import BUCKET, Stack
from tests.benchmarks.machine import describe

STYLE = "udnie"
POLL_S = 0.05


@dataclass
class Course:
    """Seconds from the submission to each state of a job, and how long the API took to answer."""

    accepted: float = 0.0
    planned: float = 0.0
    finished: float = 0.0
    ended: float = 0.0
    answers: list[float] = field(default_factory=list)


def manifest(items: int) -> Iterator[bytes]:
    """Yield the lines of a manifest in pieces."""
    for start in range(0, items, 10_000):
        lines = (
            f'{{"input": "s3://{BUCKET}/photos/{number:08d}.jpg"}}\n'
            for number in range(start, min(items, start + 10_000))
        )
        yield "".join(lines).encode()


def follow(client: Client, request: JobRequest, items: int) -> Course:
    """Submit a job and return its course."""
    course = Course()
    begun = time.perf_counter()
    job = client.submit(request)
    course.accepted = time.perf_counter() - begun
    while not job.status.is_terminal:
        time.sleep(POLL_S)
        asked = time.perf_counter()
        job = client.job(job.id)
        now = time.perf_counter()
        course.answers.append(now - asked)
        if not course.planned and job.counts.total == items:
            course.planned = now - begun
        if not course.finished and job.counts.succeeded == items:
            course.finished = now - begun
        course.ended = now - begun
    if job.counts.succeeded != items:
        raise SystemExit(f"{job.id} is {job.status} with {job.counts}")
    return course


def peak_rss_mb(pid: int) -> float:
    """Return the peak resident memory of a process so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@contextmanager
def null_workers(stack: Stack, count: int) -> Iterator[None]:
    """Run workers that do no image work."""
    broker = stack.addresses.broker
    env = os.environ | {
        "NST_REDIS_URL": broker.redis_url.get_secret_value(),
        "NST_MESSAGE_SECRET": broker.message_secret.get_secret_value(),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "tests.benchmarks.null_worker"]
    workers = [
        subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(count)
    ]
    try:
        yield
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()


def warm_up(client: Client) -> None:
    """Wait until the workers have started and the scheduler knows how long an image takes."""
    uris = tuple(f"s3://{BUCKET}/photos/{number}.jpg" for number in range(100))
    client.wait(client.submit(JobRequest(input=JobInput(uris=uris), styles=(STYLE,))).id)


def database_bytes(url: str) -> int:
    """Return the size of a database."""
    engine = create_engine(url)
    statement = "SELECT pg_database_size(current_database())"
    if engine.dialect.name == "sqlite":
        statement = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    with engine.connect() as connection:
        size = int(connection.execute(text(statement)).scalar_one())
    engine.dispose()
    return size


def redis_peak_mb(stack: Stack) -> float:
    """Return the peak of Redis's memory."""
    with closing(make_redis(stack.addresses.broker)) as server:
        info: Any = server.info("memory")
    return float(info["used_memory_peak"]) / 1e6


def measure(stack: Stack, client: Client, items: int, database: str) -> float:
    """Run a job with a number of items, print its figures, and return the milliseconds per item."""
    size = database_bytes(database)
    store = BlobStore(stack.addresses.storage)
    uri = BlobUri(BUCKET, f"manifests/{items}.jsonl")
    with tempfile.TemporaryFile() as file:
        file.writelines(manifest(items))
        file.seek(0)
        store.put_file(uri, file)
    course = follow(
        client, JobRequest(input=JobInput(manifest=str(uri)), styles=(STYLE,), output=Output(format="jpeg")), items
    )
    p50, p99 = np.percentile(course.answers, (50, 99)) * 1000
    print(
        f"{items:>9,} items: accepted {course.accepted:.2f} s, planned {course.planned:.1f} s, "
        f"finished {course.finished:.1f} s ({items / course.finished:,.0f} items/s), "
        f"reports {course.ended - course.finished:.1f} s\n"
        f"{'':>16} scheduler's memory {peak_rss_mb(stack.children['scheduler'].pid):.0f} MB at most, "
        f"GET /v1/jobs/{{id}} p50 {p50:.0f} ms, p99 {p99:.0f} ms of {len(course.answers):,}\n"
        f"{'':>16} database {(database_bytes(database) - size) / items:,.0f} bytes an item, "
        f"Redis {redis_peak_mb(stack):.1f} MB at most",
        flush=True,
    )
    return course.finished / items * 1000


def main() -> None:
    """Parse the command line, run a job of each size, and print what an item costs in each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--database", help="address of an empty PostgreSQL database; default: SQLite")
    args = parser.parse_args()
    print(describe(), flush=True)
    env = {} if args.database is None else {"NST_DATABASE_URL": args.database}
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(Path(folder) / "home", workers=0, env=env) as stack,
        stack.client() as client,
        null_workers(stack, args.workers),
    ):
        warm_up(client)
        database = args.database or f"sqlite:///{stack.home.database}"
        costs = {items: measure(stack, client, items, database) for items in args.items}
    first, last = args.items[0], args.items[-1]
    print(f"an item costs {costs[first]:.3f} ms of {first:,} and {costs[last]:.3f} ms of {last:,}: ", end="")
    print(f"ratio {costs[last] / costs[first]:.2f}")


if __name__ == "__main__":
    main()
