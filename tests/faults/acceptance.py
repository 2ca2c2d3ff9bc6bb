"""`python -m tests.faults.acceptance PHOTOS`: the main job on a folder of real photos, with every kind of fault.

Runs all photos with every shipped style: twice without faults; with six bad inputs; with a worker killed at five random
moments and Redis flushed; with the scheduler killed. Prints what was checked, and stops at the first check
that fails.
"""

import argparse
import io
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps

from nst_core.client import Client
from nst_core.client.resources.jobs import Job
from nst_core.styles import shipped_styles
from scheduler.local.embedded import Stack
from scheduler.local.supervisor import StackEvent
from tests.benchmarks.machine import describe
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
from tests.photos import BAD_CODES, bad_files


class Acceptance:
    """Runs jobs on one stack and reports on each."""

    def __init__(self, stack: Stack, client: Client, photos: dict[str, bytes], *, seed: int) -> None:
        self.stack = stack
        self.client = client
        self.photos = photos
        self.styles = [style.name for style in shipped_styles()[:4]]
        self.uris = upload(client, photos)
        self.rng = random.Random(seed)

    def run(self, name: str, *, more: list[str] | None = None, on_poll: Callable[[Job], None] | None = None) -> Outcome:
        """Run one job to its end, check that its manifest and its objects match, and print a line."""
        started = time.perf_counter()
        job = submit(self.client, [*self.uris, *(more or [])], self.styles)
        outcome = finish(self.stack, self.client, job, on_poll=on_poll, timeout_s=3600)
        check_complete(outcome)
        counts, seconds = outcome.job.counts, time.perf_counter() - started
        again = sum((item.attempt or 1) > 1 for item in outcome.items)
        print(
            f"{name}: {outcome.job.status}, {counts.total} items, "
            f"{counts.succeeded} succeeded, {counts.failed} failed, "
            f"lost {counts.total - counts.succeeded - counts.failed}, {len(images(outcome))} objects, "
            f"{len(outcome.results)} manifest lines, {again} items done in a later attempt, {seconds:.0f} s",
            flush=True,
        )
        return outcome

    def all(self) -> None:
        """Run every case."""
        first = self.run("undisturbed")
        assert first.job.status == "succeeded"
        self.check_sizes(first)
        assert images(self.run("undisturbed again")) == images(first)
        print(f"  equal bytes, every output of its input's size: {len(first.items)} of {len(first.items)}")
        self.bad_inputs(first)
        kills = [(self.rng.uniform(0.02, 0.95), lambda: kill_running(self.stack, "worker-1")) for _ in range(5)]
        self.disturbed("5 x kill -9 of the worker, FLUSHALL", first, *kills, (0.5, lambda: flush_redis(self.stack)))
        moments = sorted(self.rng.uniform(0.05, 0.9) for _ in range(2))
        self.disturbed(
            "2 x kill -9 of the scheduler",
            first,
            *((at, lambda: kill_running(self.stack, "scheduler")) for at in moments),
        )

    def check_sizes(self, outcome: Outcome) -> None:
        """Assert that each output has exactly its input's size."""
        for item in outcome.items:
            with Image.open(io.BytesIO(self.photos[Path(item.input).name])) as source:
                size = ImageOps.exif_transpose(source).size
            with Image.open(io.BytesIO(self.client.output(outcome.job.id, item.id))) as result:
                assert result.size == size == (item.width, item.height), item

    def bad_inputs(self, first: Outcome) -> None:
        """Assert that exactly the six bad inputs fail, each with its code and a message."""
        bad = upload(self.client, bad_files())
        outcome = self.run("with six bad inputs", more=[*bad, bad[0].rpartition("/")[0] + "/missing.jpg"])
        assert outcome.job.status == "partially_succeeded"
        failed = {(Path(item.input).name, item.style): item.error for item in outcome.items if item.error}
        expected = {(name, style): code for name, code in BAD_CODES.items() for style in self.styles}
        assert {key: error.code for key, error in failed.items()} == expected
        for name in BAD_CODES:
            error = failed[name, self.styles[0]]
            print(f"  {name}: {error.code}: {error.message}")
        assert images(outcome) == images(first), "the bad inputs changed nothing for the others"

    def disturbed(self, name: str, first: Outcome, *at: tuple[float, Callable[[], bool]]) -> None:
        """Assert that a run with faults stores the same bytes as the run without faults."""
        disturber = Disturber(*at)
        outcome = self.run(name, on_poll=disturber)
        assert disturber.done == len(at)
        assert outcome.job.status == "succeeded"
        assert images(outcome) == images(first)
        moments = ", ".join(f"{share:.0%}" for share in sorted(share for share, _ in at))
        print(f"  lost 0, duplicates 0, bytes equal; disturbed when {moments} was done")


def say(event: StackEvent) -> None:
    """Print what the supervisor does when processes die."""
    if event.state not in ("starting", "ready", "stopping"):
        print(f"  [{event.name} {event.state} {event.detail}]", flush=True)


def main() -> None:
    """Run all cases in a new home folder."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.acceptance", description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seed", type=int, default=2026)
    args = parser.parse_args()
    photos = {path.name: path.read_bytes() for path in sorted(args.photos.iterdir())}
    print(describe())
    with (
        tempfile.TemporaryDirectory() as scratch,
        Stack(Path(scratch), workers=1, on_event=say) as stack,
        stack.client() as client,
    ):
        Acceptance(stack, client, photos, seed=args.seed).all()


if __name__ == "__main__":
    main()
