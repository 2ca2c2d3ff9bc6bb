"""A real stack with two tenants, one of them hostile, and a process that watches it."""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nst_core.client import Client
from nst_core.client.resources.access import Scope
from nst_core.client.resources.jobs import Job, JobInput, JobRequest, Output
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.local.embedded import Stack
from scheduler.local.supervisor import ServiceState, StackEvent
from tests.faults.harness import upload
from tests.hostile.files import HostileFile
from tests.photos import small_photos

STYLE = "udnie"
WORKERS = 2
SETTINGS = {
    # Short chunks, so that a job waits for seconds behind another one, not for a minute.
    "NST_CHUNK_S": "4",
    # Frequent reports, so that a silence of two seconds can be seen.
    "NST_HEARTBEAT_S": "0.5",
    "NST_PROGRESS_S": "0.5",
    "NST_TRAIN_COMPILE": "false",
    "NST_TRAIN_SEGMENT_S": "5",
}


@dataclass
class Ground:
    """The resources of a hostile run."""

    stack: Stack
    good: Client
    hostile: Client
    hostile_key: str
    good_uris: list[str]
    blobs: BlobStore
    #: Processes that ended by themselves.
    deaths: list[str] = field(default_factory=list)

    def put(self, files: Iterable[HostileFile]) -> str:
        """Store files in an upload of the hostile tenant, and return its prefix."""
        prefix = BlobUri.parse(self.hostile.create_upload().prefix)
        with ThreadPoolExecutor(8) as pool:
            # Not all at once, because together they may have gigabytes.
            waiting: list[Any] = []
            for file in files:
                waiting.append(pool.submit(self.blobs.put, BlobUri(prefix.bucket, prefix.key + file.name), file.data))
                if len(waiting) > 16:
                    waiting.pop(0).result()
            for each in waiting:
                each.result()
        return str(prefix)

    def good_job(self) -> float:
        """Run the good tenant's job, and return how many seconds it took."""
        begun = time.monotonic()
        request = JobRequest(input=JobInput(uris=tuple(self.good_uris)), styles=(STYLE,), output=Output(max_px=96))
        job = self.good.wait(self.good.submit(request).id, poll_s=0.1, timeout_s=900)
        if job.counts.succeeded != len(self.good_uris):
            raise RuntimeError(f"the good job {job.id} is {job.status} with {job.counts}")
        return time.monotonic() - begun

    def submit(self, prefix: str) -> Job:
        """Submit a job of the hostile tenant for all files under a prefix."""
        output = Output(max_px=96, name="{index}.{ext}", format="jpeg")
        return self.hostile.submit(JobRequest(input=JobInput(prefix=prefix), styles=(STYLE,), output=output))


@contextmanager
def ground(home: Path, *, good_photos: int, settings: Mapping[str, str] | None = None) -> Iterator[Ground]:
    """Yield a running stack whose workers have made their first images."""
    deaths: list[str] = []

    def note(event: StackEvent) -> None:
        if event.state in (ServiceState.DIED, ServiceState.KILLED):
            deaths.append(f"{event.name} {event.state}: {event.detail}")

    env = SETTINGS | dict(settings or {})
    with Stack(home, workers=WORKERS, env=env, on_event=note) as stack, stack.client() as admin:
        own = [str(scope) for scope in Scope if scope is not Scope.ADMIN]
        good_key = admin.keys.create("good", own, tenant="good").key
        hostile_key = admin.keys.create("hostile", own, tenant="hostile").key
        with Client(stack.url, good_key) as good, Client(stack.url, hostile_key) as hostile:
            uris = upload(good, small_photos(good_photos))
            blobs = BlobStore(stack.addresses.storage)
            here = Ground(stack, good, hostile, hostile_key, uris, blobs)
            here.deaths = deaths
            here.good_job()
            yield here


@contextmanager
def watched(here: Ground) -> Iterator[dict[str, Any]]:
    """Watch the stack during the block. Afterwards the dictionary has the results of `tests.hostile.watch`."""
    seen: dict[str, Any] = {}
    env = os.environ | {
        "HOSTILE_REDIS_URL": here.stack.addresses.broker.redis_url.get_secret_value(),
        "HOSTILE_HEARTBEATS": str(here.stack.home.heartbeats),
    }
    command = [sys.executable, "-m", "tests.hostile.watch", here.stack.url, str(os.getpid())]
    process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield seen
    finally:
        told, _ = process.communicate(timeout=60)
        seen.update(json.loads(told))


class Beside:
    """Runs the good tenant's job repeatedly during the block."""

    def __init__(self, here: Ground) -> None:
        self.seconds: list[float] = []
        self._here = here
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="beside")

    def __enter__(self) -> "Beside":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    @property
    def median(self) -> float:
        """The median in seconds; 0 if the block ended before the first job."""
        return statistics.median(self.seconds) if self.seconds else 0.0

    def _run(self) -> None:
        try:
            while not self._stop.wait(1.0):
                took = self._here.good_job()
                if not self._stop.is_set():  # otherwise a part of it ran alone
                    self.seconds.append(took)
        except Exception as error:  # noqa: BLE001  # it is raised in the thread that waits
            self._error = error


def median_of(times: int, measure: Callable[[], float]) -> float:
    """Return the median of several measurements."""
    return statistics.median(measure() for _ in range(times))
