"""The job of a case by `nst up`, from the source tree and without containers: its images must have the same bytes."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from nst_core.client import Client
from nst_core.client.resources.jobs import JobInput, JobRequest, Precision
from scheduler.local.home import ClientConfig, Home
from scheduler.local.servers import free_port
from tests.faults.cluster import ROOT

_START_S, _END_S = 180.0, 60.0


@contextmanager
def nst_up(home: Path, *, workers: int, env: Mapping[str, str]) -> Iterator[Client]:
    """Run `nst up` in an empty home folder for the block, and yield a client. `env` adds to its environment.

    Raises TimeoutError if it is not ready in time.
    """
    command = [sys.executable, "-m", "scheduler.cli", "--home", str(home), "up"]
    command += ["--workers", str(workers), "--port", str(free_port())]
    with home.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env}, stdout=log, stderr=log)
        try:
            address = _address(Home(home), process)
            with Client(address.url, address.api_key) as client:
                yield client
        finally:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def make_images(
    client: Client, photos: Mapping[str, bytes], *, styles: tuple[str, ...], precision: Precision = "auto"
) -> tuple[dict[str, str], Counter[str]]:
    """Upload photos and run a job of them.

    Return the SHA-256 of each image by its key in the output prefix, and how many images each engine made.
    """
    place = client.create_upload()
    for name, data in photos.items():
        client.upload(place.id, name, data)
    job = client.submit(JobRequest(input=JobInput(prefix=place.prefix), styles=styles, precision=precision))
    job = client.wait(job.id, poll_s=0.5, timeout_s=300 + 2 * len(photos) * len(styles))
    items = [item for item in client.items(job.id) if item.output]
    assert len(items) == len(photos) * len(styles), f"{len(items)} images, and the job is {job.status}"
    prefix = str(job.output.prefix)
    digests = {
        str(item.output).removeprefix(prefix): sha256(client.output(job.id, item.id)).hexdigest() for item in items
    }
    return digests, Counter(f"{item.engine} in {item.precision}" for item in items)


def _address(home: Home, process: subprocess.Popen[bytes]) -> ClientConfig:
    """Return the address that `nst up` writes to its home when all but the workers are ready."""
    deadline = time.monotonic() + _START_S
    while (address := home.read_client()) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"`nst up` is not ready: {home.folder.with_suffix('.log').read_text()[-2000:]}")
        time.sleep(0.1)
    return address
