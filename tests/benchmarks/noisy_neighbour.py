"""`python -m tests.benchmarks.noisy_neighbour [--way NAME]`: a tenant with extreme load beside a normal one.

The stack is the real one on this machine, with real networks. The other tenant's job of 20 images, and the webhook that
reports its end, are measured alone and under the load of the noisy tenant, in one way after the other: webhooks that
never answer, a prefix of 500,000 objects that are not photos, 1,000 trainings, files that stall their reader or fill
its memory, replays of 40,000 events, giant listings, requests of 4 MB, many keys. A way passes if neither the job nor
its webhook is later than alone by more than one chunk, the unit in which workers are shared.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

from nst_core.client import Client
from nst_core.client.resources.access import Scope
from nst_core.client.resources.jobs import JobInput, JobRequest, Output
from nst_core.storage.blobs import BlobStore
from scheduler.local.embedded import Stack
from scheduler.local.servers import HOST, free_port
from tests.benchmarks.machine import describe
from tests.benchmarks.noisy_neighbour_storage import listing_proxy
from tests.benchmarks.noisy_neighbour_ways import STYLE, WAYS, Noisy, Sizes
from tests.faults.harness import upload
from tests.faults.receiver import Mood, Receiver
from tests.photos import small_photos

IMAGES = 20
#: A webhook that is later than this after its job counts as arriving at this time.
_WEBHOOK_S = 120.0


@dataclass(frozen=True)
class Course:
    """Seconds from a job's submission to its end, and to the message about it."""

    job_s: float
    webhook_s: float


class Quiet:
    """The normal tenant, whose jobs are measured."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._receiver = Receiver(port=free_port(), clock=time.time)
        self._receiver.turn(Mood.WELL)
        self._uris = tuple(upload(client, small_photos(IMAGES, side_px=160)))
        client.webhooks.create(self._receiver.url, types=("job.completed",))

    def close(self) -> None:
        """Stop listening."""
        self._receiver.close()

    def run(self) -> Course:
        """Run the job and wait for its webhook."""
        begun = time.monotonic()
        job = self._client.submit(JobRequest(input=JobInput(uris=self._uris), styles=(STYLE,), output=Output()))
        ended = self._client.wait(job.id, timeout_s=900)
        job_s = time.monotonic() - begun
        if ended.counts.succeeded != IMAGES:
            raise SystemExit(f"{job.id} is {ended.status} with {ended.counts}")
        while not any(job.id.encode() in message.body for message in self._receiver.messages):
            if time.monotonic() - begun > job_s + _WEBHOOK_S:
                break
            time.sleep(0.02)
        return Course(job_s, time.monotonic() - begun)

    def median(self, times: int) -> Course:
        """Return the medians of several jobs."""
        courses = [self.run() for _ in range(times)]
        return Course(
            statistics.median(course.job_s for course in courses),
            statistics.median(course.webhook_s for course in courses),
        )


def measure(noisy: Noisy, quiet: Quiet, name: str, *, times: int, chunk_s: float) -> bool:
    """Measure a way, print its line, and return whether it is passed."""
    alone = quiet.median(times)
    with WAYS[name](noisy):
        beside = quiet.median(times)
    late = max(beside.job_s - alone.job_s, beside.webhook_s - alone.webhook_s)
    passed = late <= chunk_s
    print(
        f"{name:<10} job {alone.job_s:6.2f} -> {beside.job_s:6.2f} s   webhook {alone.webhook_s:6.2f} -> "
        f"{beside.webhook_s:6.2f} s   later by {late:6.2f} s   a chunk is {chunk_s:.1f} s   "
        f"{'PASS' if passed else 'FAIL'}",
        flush=True,
    )
    return passed


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 if a way was not passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.noisy_neighbour", description=__doc__)
    parser.add_argument("--way", action="append", choices=WAYS, help="one of the ways, and another; default: all")
    parser.add_argument("--times", type=int, default=3, help="jobs whose median is taken, alone and beside")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--chunk-s", type=float, default=10.0, help="work in a chunk: NST_CHUNK_S")
    parser.add_argument("--listing-s", type=float, default=0.01, help="what a page of a listing takes")
    for size in fields(Sizes):
        parser.add_argument(f"--{size.name.replace('_', '-')}", type=int, default=size.default)
    args = parser.parse_args(argv)
    sizes = Sizes(**{size.name: getattr(args, size.name) for size in fields(Sizes)})
    print(describe(), flush=True)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack_of:
        stack = _start(Path(folder) / "home", args, sizes, stack_of)
        admin = stack_of.enter_context(stack.client())
        own = [str(scope) for scope in Scope if scope is not Scope.ADMIN]
        clients = {}
        for tenant in ("noisy", "quiet"):
            key = admin.keys.create(tenant, own, tenant=tenant).key
            clients[tenant] = (key, stack_of.enter_context(Client(stack.url, key)))
        quiet = Quiet(clients["quiet"][1])
        stack_of.callback(quiet.close)
        quiet.run()  # the network is loaded, and the times of images are known
        noisy = Noisy(
            stack=stack,
            client=clients["noisy"][1],
            key=clients["noisy"][0],
            blobs=BlobStore(stack.addresses.storage),
            sizes=sizes,
        )
        passed = [
            measure(noisy, quiet, name, times=args.times, chunk_s=args.chunk_s) for name in args.way or list(WAYS)
        ]
    return int(not all(passed))


def _start(home: Path, args: argparse.Namespace, sizes: Sizes, stack_of: ExitStack) -> Stack:
    """Start a stack whose scheduler reads its listings through the proxy."""
    stacks: list[Stack] = []
    proxy = stack_of.enter_context(
        listing_proxy(lambda: str(stacks[0].addresses.storage.s3_endpoint), count=sizes.keys, listing_s=args.listing_s)
    )
    env = {
        "NST_CHUNK_S": str(args.chunk_s),
        "NST_S3_ENDPOINT": proxy,
        "NST_WEBHOOK_ALLOW_HTTP": "true",
        "NST_WEBHOOK_ALLOWED_NETWORKS": f'["{HOST}/32"]',
        "NST_TRAIN_COMPILE": "false",
    }
    stacks.append(Stack(home, workers=args.workers, env=env))
    return stack_of.enter_context(stacks[0])


if __name__ == "__main__":
    sys.exit(main())
