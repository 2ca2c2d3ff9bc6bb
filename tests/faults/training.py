"""`python -m tests.faults.training --kills 10 --seed 1`: a run whose worker and Redis die repeatedly.

Trains one tiny style twice on a real stack: first without faults, then with its worker killed at random steps, during
segments and right after their end, and with Redis flushed halfway. Prints a table of the faults and
their steps, and fails unless both runs end with the same steps, the same checkpoint and the same style.
"""

import argparse
import csv
import hashlib
import io
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nst_core.client import Client
from nst_core.client.resources.runs import Run, RunStatus, TrainRequest
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.local.embedded import Stack
from tests.benchmarks.machine import describe
from tests.faults.harness import flush_redis, kill_running, upload
from tests.photos import small_photos
from tests.postgres import run_postgres

STEPS = 240
#: A step takes some hundredths of a second, a segment some tens of steps.
OPTIONS = {
    "transformer": {"width": 8, "blocks": 1},
    "batch_size": 1,
    "size_px": 64,
    "style_size_px": 96,
    "content_layer": "relu1_2",
    "style_weights": {"relu1_2": 1e-3, "relu2_1": 1e-3},
    "warmup_steps": 4,
    "learning_rate": 5e-3,
}
AMID, BETWEEN, ANY = "amid a segment", "after a segment", "at any moment"
ENV = {
    "NST_TRAIN_SEGMENT_S": "1",
    "NST_LEASE_S": "3",
    "NST_HEARTBEAT_S": "0.5",
    "NST_TRAIN_PROGRESS_S": "0.05",
    "NST_LOST_AFTER_S": "1",
    # With more threads, they wait for each other most of the time.
    "NST_THREADS": "1",
}
PHOTOS, HELD_OUT = 12, 2
_POLL_S, _TIMEOUT_S = 0.05, 1800.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a run, read from the storage itself."""

    run: Run
    seconds: float
    #: The SHA-256 of the last step's checkpoint, and of the style's weights.
    checkpoint: str
    weights: str
    #: The steps in the losses file.
    losses: tuple[int, ...]
    #: The names of the checkpoints in storage, and of those that the API lists.
    stored: tuple[str, ...]
    named: tuple[str, ...]


@dataclass(kw_only=True)
class Disturbance:
    """A fault that happens when a run reaches a step."""

    what: str
    when: str
    at_step: int
    act: Callable[[], bool]
    #: The step at the time of the fault, the last saved step, and the attempt.
    done_at: int = 0
    saved: int = 0
    attempt: int = 0


class RunDisturber:
    """Is called with a run each time it is polled, and starts the disturbances in order of their steps."""

    def __init__(self, disturbances: Sequence[Disturbance]) -> None:
        """Take disturbances in any order. Each happens once."""
        self.waiting = sorted(disturbances, key=lambda each: each.at_step)
        self.done: list[Disturbance] = []
        self._segments = 0

    def __call__(self, run: Run) -> None:
        """Start the next disturbance if the run has reached its step."""
        ended, self._segments = run.segments > self._segments, run.segments
        saved = max((checkpoint.step for checkpoint in run.checkpoints), default=0)
        if not self.waiting or run.status not in (RunStatus.RUNNING, RunStatus.EVALUATING):
            return
        first = self.waiting[0]
        is_time = {AMID: run.step > saved, BETWEEN: ended, ANY: True}[first.when]
        if run.step >= first.at_step and is_time and first.act():
            first.done_at, first.saved, first.attempt = run.step, saved, run.attempt
            self.done.append(self.waiting.pop(0))


class SegmentKiller:
    """Is called with a run like a `RunDisturber`, and kills the worker after segments, at a random moment.

    A slower machine has more segments, and its workers take longer to start, so no more than `most`
    workers are killed.
    """

    def __init__(self, stack: Stack, *, rng: random.Random, most: int) -> None:
        self.kills = 0
        self._most = most
        self._stack = stack
        self._rng = rng
        self._segments = 0
        self._at: float | None = None

    def __call__(self, run: Run) -> None:
        """Kill the worker if a segment has ended."""
        if run.segments > self._segments and self.kills < self._most:
            self._segments, self._at = run.segments, time.monotonic() + self._rng.uniform(0.0, 1.0)
        going = run.status in (RunStatus.RUNNING, RunStatus.EVALUATING)
        if going and self._at is not None and time.monotonic() >= self._at and kill_running(self._stack, "worker-1"):
            self.kills, self._at = self.kills + 1, None


class TrainingFaults:
    """Trains one style on one stack, any number of times."""

    def __init__(self, stack: Stack, client: Client) -> None:
        """Upload the photos and the painting."""
        self.stack = stack
        self._client = client
        uris = upload(client, small_photos(PHOTOS, side_px=120))
        self._data = uris[0].rpartition("/")[0] + "/"
        (self._painting,) = upload(client, {"painting.png": small_photos(2, side_px=150)["coffee_001.png"]})

    def run(self, *, steps: int = STEPS, on_poll: Callable[[Run], None] = lambda run: None) -> Outcome:
        """Train a style to its end, and check everything that it stored."""
        started = time.perf_counter()
        request = TrainRequest(
            name="tiny",
            painting=self._painting,
            data=self._data,
            preset="paper",
            steps=steps,
            options=OPTIONS,
            initial="none",
            held_out=HELD_OUT,
            exact=True,
        )
        run = self._client.runs.train(request)
        run = self._client.runs.wait(run.id, on_poll=on_poll, poll_s=_POLL_S, timeout_s=_TIMEOUT_S)
        assert run.status is RunStatus.SUCCEEDED, run.error
        return self._outcome(run, seconds=time.perf_counter() - started)

    def _outcome(self, run: Run, *, seconds: float) -> Outcome:
        blobs = BlobStore(self.stack.addresses.storage)
        last = max(run.checkpoints, key=lambda checkpoint: checkpoint.step)
        for checkpoint in run.checkpoints:
            data = blobs.get(BlobUri.parse(checkpoint.uri))
            assert hashlib.sha256(data).hexdigest() == checkpoint.sha256, "a kept checkpoint is whole"
        assert last.step == run.step == run.steps
        assert run.version is not None
        folder = BlobUri.parse(last.uri.rpartition("/")[0] + "/")
        return Outcome(
            run=run,
            seconds=seconds,
            checkpoint=last.sha256,
            weights=run.version,
            losses=tuple(int(row["step"]) for row in _rows(self._client.runs.losses(run.id))),
            stored=_settled(blobs, folder, expected=len(run.checkpoints)),
            named=tuple(sorted(checkpoint.uri.rpartition("/")[2] for checkpoint in run.checkpoints)),
        )


def check_same(disturbed: Outcome, undisturbed: Outcome) -> None:
    """Assert that a run has the result of one without faults, has each step once, and leaves nothing behind."""
    assert disturbed.run.step == undisturbed.run.step
    assert disturbed.checkpoint == undisturbed.checkpoint, "the same weights and moments"
    assert disturbed.weights == undisturbed.weights, "the same style"
    assert disturbed.run.evaluation == undisturbed.run.evaluation
    for outcome in (disturbed, undisturbed):
        assert outcome.losses == tuple(range(1, outcome.run.steps + 1)), "each step once, in order"
        assert outcome.stored == outcome.named, "no other checkpoints in storage than those that the API names"


def disturbances(stack: Stack, *, kills: int, rng: random.Random, steps: int = STEPS) -> list[Disturbance]:
    """Return a number of worker kills at random steps, every third one after a segment, and one FLUSHALL."""
    found = [
        Disturbance(
            what="kill -9",
            at_step=rng.randint(1, int(0.8 * steps)),
            when=BETWEEN if number % 3 == 2 else AMID,
            act=lambda: kill_running(stack, "worker-1"),
        )
        for number in range(kills)
    ]
    return [*found, Disturbance(what="FLUSHALL", when=ANY, at_step=steps // 2, act=lambda: flush_redis(stack))]


@contextmanager
def training_stack(home: Path, *, database: str = "sqlite", **more: str) -> Iterator[TrainingFaults]:
    """Run a stack with one worker, on SQLite or on its own PostgreSQL server. `more` adds to its environment."""
    env = ENV | {"NST_CACHE_DIR": str(home / "cache")} | more
    with ExitStack() as servers:
        if database == "postgresql":
            env["NST_DATABASE_URL"] = servers.enter_context(run_postgres(home / "postgres"))
        stack = servers.enter_context(Stack(home / "nst", workers=1, env=env))
        yield TrainingFaults(stack, servers.enter_context(stack.client()))


def _rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def _settled(blobs: BlobStore, folder: BlobUri, *, expected: int) -> tuple[str, ...]:
    """Return the names in a folder after unneeded objects were removed, or after a time limit."""
    deadline = time.monotonic() + 60
    while len(keys := blobs.list_keys(folder)) > expected and time.monotonic() < deadline:
        time.sleep(0.2)
    return tuple(sorted(key.removeprefix(folder.key) for key in keys))


def _table(undisturbed: Outcome, disturbed: Outcome, done: Sequence[Disturbance]) -> Iterator[str]:
    yield f"{'what':<10} {'when':<16} {'at step':>8} {'saved':>8} {'attempt':>8}"
    for each in done:
        yield f"{each.what:<10} {each.when:<16} {each.done_at:>8} {each.saved:>8} {each.attempt:>8}"
    yield ""
    yield f"{'':<12} {'steps':>6} {'segments':>9} {'attempts':>9} {'seconds':>8}  {'checkpoint':<16}  {'style':<16}"
    for name, outcome in (("undisturbed", undisturbed), ("disturbed", disturbed)):
        run = outcome.run
        yield (
            f"{name:<12} {run.step:>6} {run.segments:>9} {run.attempt:>9} {outcome.seconds:>8.0f}  "
            f"{outcome.checkpoint[:16]}  {outcome.weights[:16]}"
        )


def main() -> None:
    """Run both trainings in a new home folder, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.training", description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as home, training_stack(Path(home)) as faults:
        undisturbed = faults.run(steps=args.steps)
        disturber = RunDisturber(
            disturbances(faults.stack, kills=args.kills, rng=random.Random(args.seed), steps=args.steps)
        )
        disturbed = faults.run(steps=args.steps, on_poll=disturber)
        print(*_table(undisturbed, disturbed, disturber.done), sep="\n", flush=True)
        assert not disturber.waiting, "the run ended before all went wrong"
        check_same(disturbed, undisturbed)
    print("the same steps, the same checkpoint, the same style; each step's losses once; no stray checkpoints")


if __name__ == "__main__":
    main()
