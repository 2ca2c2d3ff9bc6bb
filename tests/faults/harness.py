"""Run bulk jobs on a real stack while processes are killed, and compare with a run without faults."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nst_core.client import Client
from nst_core.client.resources.items import Item
from nst_core.client.resources.jobs import Job, JobInput, JobRequest, Output
from nst_core.queue.connection import make_redis
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.local.embedded import Stack


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished job and everything that it stored."""

    job: Job
    items: list[Item]
    #: The SHA-256 of each object under the job's output prefix, by its key relative to the prefix.
    objects: dict[str, str]
    results: list[dict[str, object]]
    errors: list[dict[str, object]]


def upload(client: Client, photos: Mapping[str, bytes]) -> list[str]:
    """Store photos and return their addresses."""
    place = client.create_upload()
    return [client.upload(place.id, name, data) for name, data in photos.items()]


def submit(client: Client, uris: Sequence[str], styles: Sequence[str], **output: object) -> Job:
    """Submit a job of inline photos."""
    return client.submit(
        JobRequest(
            input=JobInput(uris=tuple(uris)),
            styles=tuple(styles),
            output=Output(**output),
        )
    )


def finish(
    stack: Stack, client: Client, job: Job, *, on_poll: Callable[[Job], None] | None = None, timeout_s: float = 600
) -> Outcome:
    """Wait for a job, and return it with what it stored, read from the storage itself."""
    job = client.wait(job.id, poll_s=0.05, on_poll=on_poll, timeout_s=timeout_s)
    store = BlobStore(stack.addresses.storage)
    prefix = BlobUri.parse(str(job.output.prefix))
    objects, after = {}, ""
    while keys := store.list_keys(prefix, after=after):
        for key in keys:
            data = store.get(BlobUri(prefix.bucket, key))
            objects[key.removeprefix(prefix.key)] = hashlib.sha256(data).hexdigest()
        after = keys[-1]
    return Outcome(
        job=job,
        items=list(client.items(job.id)),
        objects=objects,
        results=[json.loads(line) for line in client.results(job.id).splitlines()],
        errors=[json.loads(line) for line in client.errors(job.id).splitlines()],
    )


def images(outcome: Outcome) -> dict[str, str]:
    """Return the hashes of a job's images, without its reports."""
    return {key: value for key, value in outcome.objects.items() if not key.endswith(".jsonl")}


def check_complete(outcome: Outcome) -> None:
    """Assert that each succeeded item has one object and one line in the manifest, with its SHA-256, and no more."""
    prefix = str(outcome.job.output.prefix)
    succeeded = {item.id: item for item in outcome.items if item.status == "succeeded"}
    assert [line["id"] for line in outcome.results] == sorted(succeeded), "one line each, in order"
    listed = {str(line["output"]).removeprefix(prefix): line["sha256"] for line in outcome.results}
    assert len(listed) == len(succeeded), "no output twice"
    assert listed == images(outcome), "exactly the objects of the manifest, with its hashes"
    failed = [item.id for item in outcome.items if item.status == "failed"]
    assert [line["id"] for line in outcome.errors] == failed
    counts = outcome.job.counts
    assert (counts.total, counts.succeeded, counts.failed) == (len(outcome.items), len(succeeded), len(failed))
    assert counts.pending == counts.running == 0


def flush_redis(stack: Stack) -> bool:
    """Delete all that Redis holds."""
    client = make_redis(stack.addresses.broker)
    client.flushall()
    client.close()
    return True


def kill_running(stack: Stack, name: str) -> bool:
    """Kill a process. Return False if it is dead and its successor has not started yet."""
    child = stack.children.get(name)
    if child is None or child.poll() is not None:
        return False
    stack.kill(name)
    return True


class Disturber:
    """Calls functions when given shares of a job's items are done. One that returns False is called again later."""

    def __init__(self, *at: tuple[float, Callable[[], bool]]) -> None:
        self._waiting = sorted(at, key=lambda pair: pair[0])
        self.done = 0

    def __call__(self, job: Job) -> None:
        total, done = job.counts.total, job.counts.succeeded
        while self._waiting and total and self._waiting[0][0] * total <= done < total and self._waiting[0][1]():
            self._waiting.pop(0)
            self.done += 1
