"""The ways in which a tenant causes load. Each starts its load, and ends it after the measurement."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass

import httpx

from nst_core.client import ApiError, Client
from nst_core.client.resources.access import Scope
from nst_core.client.resources.jobs import JobInput, JobRequest
from nst_core.client.resources.runs import TrainRequest
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.local.embedded import BUCKET, Stack
from scheduler.local.servers import free_port
from tests.benchmarks.noisy_neighbour_storage import MANY
from tests.faults.harness import upload
from tests.faults.receiver import Mood, Receiver
from tests.hostile.files import HostileFile
from tests.hostile.grown import grown_files
from tests.photos import encoded, pictures, small_photos

STYLE = "udnie"
_THREADS = 4


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The amounts of load from the noisy tenant."""

    keys: int = 500_000
    trainings: int = 1000
    events: int = 40_000
    webhooks: int = 20
    poison: int = 200
    api_keys: int = 50


@dataclass(frozen=True, kw_only=True)
class Noisy:
    """The resources of a way."""

    stack: Stack
    #: Of the noisy tenant.
    client: Client
    key: str
    blobs: BlobStore
    sizes: Sizes

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the noisy tenant's requests."""
        return {"Authorization": f"Bearer {self.key}"}


Way = Callable[[Noisy], AbstractContextManager[None]]


@contextmanager
def webhooks(noisy: Noisy) -> Iterator[None]:
    """Webhooks whose receiver accepts messages and never answers, and jobs that produce messages all the time."""
    receiver = Receiver(port=free_port(), clock=time.time)
    receiver.turn(Mood.SLOW)
    made = [noisy.client.webhooks.create(receiver.url) for _ in range(noisy.sizes.webhooks)]
    request = JobRequest(input=JobInput(uris=("s3://nst/tenants/noisy/none.jpg",)), styles=(STYLE,))

    def submit() -> None:
        noisy.client.submit(request)
        time.sleep(0.2)

    try:
        with _repeated(submit, threads=1):
            _wait_until(lambda: receiver.holding >= 2)
            yield
    finally:
        receiver.turn(Mood.DOWN)
        for hook in made:
            noisy.client.webhooks.delete(hook.id)


@contextmanager
def keys(noisy: Noisy) -> Iterator[None]:
    """Jobs on a prefix with many objects that are not photos, one after the other."""
    prefix = noisy.client.create_upload().prefix.rstrip("/") + MANY
    request = JobRequest(input=JobInput(prefix=prefix), styles=(STYLE,))
    jobs = [noisy.client.submit(request).id for _ in range(3)]
    try:
        yield
    finally:
        for job in jobs:
            _cancel(noisy.client, job)


@contextmanager
def trainings(noisy: Noisy) -> Iterator[None]:
    """More trainings than can ever finish, of which one is running."""
    uris = upload(noisy.client, small_photos(24, side_px=300))
    painting = upload(noisy.client, {"painting.png": encoded(next(pictures())[1].resize((256, 256)), "PNG")})[0]
    options = {"transformer": {"width": 8, "blocks": 1}, "size_px": 128, "batch_size": 1, "style_size_px": 128}
    data = uris[0].rpartition("/")[0] + "/"
    request = TrainRequest(
        name="noise", painting=painting, data=data, steps=100_000, options=options, held_out=2, initial="none"
    )
    with ThreadPoolExecutor(_THREADS) as pool:
        runs = list(pool.map(lambda _: noisy.client.runs.train(request).id, range(noisy.sizes.trainings)))
    try:
        _wait_until(lambda: any(str(noisy.client.runs.get(run).status) == "running" for run in runs[:8]), seconds=120)
        yield
    finally:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(noisy.client.runs.cancel, runs))
        _wait_until(lambda: all(noisy.client.runs.get(run).status.is_terminal for run in runs[:8]), seconds=120)


@contextmanager
def poison(noisy: Noisy) -> Iterator[None]:
    """A job of files that keep their reader busy up to its time limit, or use all of its memory."""
    wanted = ("jpeg-scans-large-100000", "jpeg-exif-loop-100000", "png-profile-bomb-1000000", "tiff-says-65535x65535")
    files = [HostileFile(f"{each.name}.jpg", each.make()) for each in grown_files() if each.name in wanted]
    place = BlobUri.parse(noisy.client.create_upload().prefix)
    for number in range(noisy.sizes.poison):
        file = files[number % len(files)]
        noisy.blobs.put(BlobUri(place.bucket, f"{place.key}{number:05d}-{file.name}"), file.data)
    job = noisy.client.submit(JobRequest(input=JobInput(prefix=str(place)), styles=(STYLE,)))
    try:
        _wait_until(lambda: noisy.client.job(job.id).counts.running > 0)
        yield
    finally:
        _cancel(noisy.client, job.id)


@contextmanager
def events(noisy: Noisy) -> Iterator[None]:
    """Streams that read tens of thousands of old events of a job repeatedly."""
    request = JobRequest(input=JobInput(uris=("s3://nst/tenants/noisy/none.jpg",)), styles=(STYLE,))
    job = noisy.client.submit(request)
    noisy.client.pause(job.id)
    # Events as of a job that was paused and resumed for days, made at once by copying its first event.
    with closing(sqlite3.connect(noisy.stack.home.database, timeout=60)) as connection, connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(events)") if row[1] != "id"]
        columns = ", ".join(names)
        first = "SELECT * FROM events WHERE id = (SELECT MIN(id) FROM events WHERE subject = ?)"
        numbers = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?)"
        connection.execute(
            f"{numbers} INSERT INTO events ({columns}) SELECT {columns} FROM ({first}), n",
            (noisy.sizes.events, job.id),
        )
    path = f"{noisy.stack.url}/v1/jobs/{job.id}/events"

    def replay() -> None:
        with httpx.stream("GET", path, headers=noisy.headers, timeout=5, trust_env=False) as answer:
            for _ in answer.iter_raw():
                pass

    with _repeated(replay, threads=8):
        yield
    _cancel(noisy.client, job.id)


@contextmanager
def listings(noisy: Noisy) -> Iterator[None]:
    """Listings of many jobs with many long addresses each."""
    uris = tuple(f"s3://{BUCKET}/tenants/noisy/{'x' * 900}/{number}.jpg" for number in range(1000))
    jobs = [noisy.client.submit(JobRequest(input=JobInput(uris=uris), styles=(STYLE,))) for _ in range(50)]
    for job in jobs:
        _cancel(noisy.client, job.id)
    path = f"{noisy.stack.url}/v1/jobs?limit=1000"
    with _repeated(lambda: httpx.get(path, headers=noisy.headers, timeout=120, trust_env=False), threads=_THREADS):
        yield


@contextmanager
def bodies(noisy: Noisy) -> Iterator[None]:
    """Requests of 4 MB with hundreds of thousands of unknown fields."""
    body = ("{" + ",".join(f'"k{number}":1' for number in range(330_000)) + "}").encode()
    path, headers = f"{noisy.stack.url}/v1/jobs", noisy.headers | {"Content-Type": "application/json"}

    def post() -> None:
        httpx.post(path, headers=headers, content=body, timeout=120, trust_env=False)

    with _repeated(post, threads=_THREADS):
        yield


@contextmanager
def api_keys(noisy: Noisy) -> Iterator[None]:
    """Many keys of one tenant, each of which sends requests as often as it can."""
    scopes = [str(Scope.JOBS_READ)]
    made = []
    for number in range(noisy.sizes.api_keys):
        try:
            made.append(noisy.client.keys.create(f"noise {number}", scopes).key)
        except Exception as error:  # noqa: BLE001  # a limit of keys is a good answer
            print(f"  {number} keys were made: {error}")
            break
    numbers = iter(range(10**9))
    clients = [httpx.Client(timeout=60, trust_env=False) for _ in range(_THREADS)]

    def ask() -> None:
        number = next(numbers)
        key = made[number % len(made)] if made else noisy.key
        clients[number % len(clients)].get(
            f"{noisy.stack.url}/v1/jobs?limit=100", headers={"Authorization": f"Bearer {key}"}
        )

    with _repeated(ask, threads=_THREADS):
        yield


WAYS: Mapping[str, Way] = {
    "webhooks": webhooks,
    "keys": keys,
    "trainings": trainings,
    "poison": poison,
    "events": events,
    "listings": listings,
    "bodies": bodies,
    "api-keys": api_keys,
}


@contextmanager
def _repeated(act: Callable[[], object], *, threads: int) -> Iterator[None]:
    """Call a function repeatedly in threads. Refused or broken requests are part of the load."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            try:
                act()
            except (httpx.HTTPError, OSError):
                stop.wait(0.1)
            except Exception as error:  # noqa: BLE001  # such as an ApiError of a limit
                print(f"  the noise was refused: {error}")
                stop.wait(1.0)

    running = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        time.sleep(1.0)
        yield
    finally:
        stop.set()
        for thread in running:
            thread.join(10)


def _cancel(client: Client, job_id: str) -> None:
    with suppress(ApiError):  # it has ended on its own
        client.cancel(job_id)
    client.wait(job_id, timeout_s=300)


def _wait_until(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"The noise did not begin in {seconds:g} s.")
        time.sleep(0.2)
