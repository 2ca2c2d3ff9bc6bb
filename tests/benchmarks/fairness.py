"""`python -m tests.benchmarks.fairness`: a small job of one tenant during a long one of another, and a cancel.

The stack is the real one on this machine, with one worker and real networks. First 20 images alone, several times; then
the same beside a job of 100,000 images of another tenant, at moments over the length of a chunk; then the long job is
cancelled. A chunk is the time that the worker takes for one of the long job's chunks when it has nothing else to do.
"""

import argparse
import random
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from PIL import Image

from nst_core.client import Client
from nst_core.client.resources.access import Scope
from nst_core.client.resources.jobs import Job, JobInput, JobRequest, Output
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.local.embedded import BUCKET, Stack
from tests.benchmarks.machine import describe
from tests.faults.harness import upload
from tests.photos import encoded, pictures

STYLE = "udnie"
ITEMS, FEW = 100_000, 20
SIDE_PX = 256


def photo() -> bytes:
    """Return the free picture from which all images are made."""
    _, picture = next(pictures())
    return encoded(picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS), "JPEG")


def request(items: int, uri: str, manifest: str | None = None) -> JobRequest:
    """Return a job that makes a number of images from one photo."""
    source = JobInput(manifest=manifest) if manifest else JobInput(uris=(uri,) * items)
    return JobRequest(input=source, styles=(STYLE,), output=Output(name="{index}.{ext}"))


def seconds(client: Client, uri: str) -> float:
    """Return how many seconds the small job takes, from its submission to its end."""
    started = time.perf_counter()
    job = client.wait(client.submit(request(FEW, uri)).id)
    if job.counts.succeeded != FEW:
        raise SystemExit(f"{job.id} is {job.status} with {job.counts}")
    return time.perf_counter() - started


def begin_long(stack: Stack, client: Client, uri: str) -> Job:
    """Submit the long job, and return it once the worker has one of its chunks of full size."""
    address = BlobUri(BUCKET, "manifests/long.jsonl")
    BlobStore(stack.addresses.storage).put(address, f'{{"input": "{uri}"}}\n'.encode() * ITEMS)
    job = client.submit(request(ITEMS, uri, str(address)))
    while job.counts.total < ITEMS or job.counts.running < chunk_items(stack, job) / 2:
        time.sleep(0.5)
        job = client.job(job.id)
    return job


def chunk_items(stack: Stack, job: Job) -> int:
    """Return the most common number of images in the chunks of a job."""
    query = "SELECT COUNT(*) FROM items WHERE job_id = ? GROUP BY chunk_id"
    with closing(sqlite3.connect(stack.home.database)) as connection:
        return statistics.mode(int(size) for (size,) in connection.execute(query, (job.id,)))


def item_seconds(client: Client, job: Job) -> float:
    """Return how long the worker takes for an image of a job while it has nothing else to do."""
    before, started = client.job(job.id).counts.succeeded, time.perf_counter()
    time.sleep(15)
    after = client.job(job.id).counts.succeeded
    return (time.perf_counter() - started) / (after - before)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fairness", description=__doc__)
    parser.add_argument("--times", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    print(describe(), flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(Path(folder) / "home", workers=1) as stack,
        stack.client() as client,
    ):
        [uri] = upload(client, {"photo.jpg": photo()})
        key = client.keys.create("the other tenant", [str(scope) for scope in Scope], tenant="other").key
        with Client(client.url, key) as other:
            [their_uri] = upload(other, {"photo.jpg": photo()})
            seconds(other, their_uri)  # the network is loaded, and the times of images are known
            alone = [seconds(other, their_uri) for _ in range(args.times)]
            job = begin_long(stack, client, uri)
            size, item_s = chunk_items(stack, job), item_seconds(client, job)
            beside = []
            for _ in range(args.times):
                time.sleep(rng.uniform(0, size * item_s / 2))
                beside.append(seconds(other, their_uri))
        started = time.perf_counter()
        client.cancel(job.id)
        ended = client.wait(job.id)
        cancel_s = time.perf_counter() - started
    usual, chunk_s = statistics.median(alone), size * item_s
    print(
        f"{FEW} images alone: {usual:.2f} s (median of {args.times}); a chunk of the long job: {size} images, "
        f"{chunk_s:.1f} s\n"
        f"beside {ITEMS:,} images: median {statistics.median(beside):.1f} s, longest {max(beside):.1f} s; "
        f"twice alone and a chunk are {2 * usual + chunk_s:.1f} s\n"
        f"cancel: {ended.status} after {cancel_s:.2f} s with {ended.counts.succeeded:,} done"
    )


if __name__ == "__main__":
    main()
