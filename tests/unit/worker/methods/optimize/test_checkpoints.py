"""Tests of worker.methods.optimize.checkpoints."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch

from nst_core.protocol.chunks import OptimizeChunk, item_checkpoint_uri
from nst_core.protocol.events import ItemOutcome, ItemProgress
from nst_core.storage.blobs import BlobStore, BlobUri
from tests.unit.worker.kit import TINY, make_optimize_chunk, outputs, photo
from worker.methods.optimize.checkpoints import CheckpointFile
from worker.methods.optimize.course import Optimization
from worker.runtime.engine import Engine
from worker.runtime.steering import Steering
from worker.settings import WorkerSettings

PHOTO, PAINTING = photo(1), photo(2)


@dataclass
class ManualClock:
    """A clock that moves only when a test moves it."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Watcher:
    """Records the progress of a chunk, and calls a function at each iteration."""

    then: Callable[[int], None] = lambda iteration: None
    seen: list[ItemProgress] = field(default_factory=list)

    def __call__(self, progress: ItemProgress) -> None:
        self.seen.append(progress)
        self.then(progress.iteration)

    @property
    def iterations(self) -> list[int]:
        return [progress.iteration for progress in self.seen]


class KilledError(BaseException):
    """Stands for a worker that dies without an event."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def optimization(settings: WorkerSettings, blobs: BlobStore, engine: Engine, clock: ManualClock) -> Optimization:
    return Optimization(settings, blobs=blobs, engine=engine, device=torch.device("cpu"), clock=clock)


def run(optimization: Optimization, chunk: OptimizeChunk, watch: Watcher | None = None) -> list[ItemOutcome]:
    """Run a chunk without interruption and return its outcomes."""
    steering = Steering(going=lambda: True, wanted=lambda: True, on_progress=watch or Watcher())
    return list(optimization.run(chunk, steering))


def run_until(optimization: Optimization, chunk: OptimizeChunk, last: int, *, wanted: bool = True) -> Watcher:
    """Stop a chunk after an iteration, so that it has no outcome."""
    stopped = False

    def stop(iteration: int) -> None:
        nonlocal stopped
        stopped = stopped or iteration == last

    watcher = Watcher(stop)
    steering = Steering(going=lambda: not stopped, wanted=lambda: wanted, on_progress=watcher)
    assert list(optimization.run(chunk, steering)) == []
    return watcher


def make(blobs: BlobStore, **changes: object) -> OptimizeChunk:
    """Return a chunk of one photo."""
    return make_optimize_chunk(blobs, [PHOTO], **({"painting": PAINTING} | changes))  # type: ignore[arg-type]


def checkpoint(chunk: OptimizeChunk) -> BlobUri:
    return BlobUri.parse(item_checkpoint_uri(chunk.scratch, 0))


def undisturbed(optimization: Optimization, blobs: BlobStore, chunk: OptimizeChunk) -> bytes:
    """Return the result of an equal chunk without interruption."""
    other = replace(make(blobs), config=chunk.config)
    run(optimization, other)
    return outputs(blobs, other)[0]


def test_an_attempt_after_a_killed_worker_resumes_from_the_last_checkpoint(
    optimization: Optimization, blobs: BlobStore, settings: WorkerSettings, clock: ManualClock
) -> None:
    chunk = make(blobs)
    expected = undisturbed(optimization, blobs, chunk)

    def live(iteration: int) -> None:
        if iteration in (2, 4):
            clock.now += settings.checkpoint_s
        if iteration == 7:
            raise KilledError

    with pytest.raises(KilledError):
        run(optimization, chunk, Watcher(live))
    watcher = Watcher()
    run(optimization, replace(chunk, attempt=2), watcher)
    assert watcher.iterations[0] == 5
    assert outputs(blobs, chunk)[0] == expected


def test_a_late_checkpoint_of_an_outdated_attempt_does_not_change_the_result(
    optimization: Optimization, blobs: BlobStore
) -> None:
    chunk = make(blobs)
    expected = undisturbed(optimization, blobs, chunk)
    run_until(optimization, chunk, 2)
    early = blobs.get(checkpoint(chunk))
    run_until(optimization, replace(chunk, attempt=2), 7)
    blobs.put(checkpoint(chunk), early)
    watcher = Watcher()
    run(optimization, replace(chunk, attempt=3), watcher)
    assert watcher.iterations[0] == 3
    assert outputs(blobs, chunk)[0] == expected


@pytest.mark.parametrize("fault", ["truncated", "no checkpoint", "another photo", "another config"])
def test_a_checkpoint_that_does_not_match_is_ignored_and_logged(
    optimization: Optimization, blobs: BlobStore, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    chunk = make(blobs)
    run_until(optimization, chunk, 3)
    if fault == "truncated":
        blobs.put(checkpoint(chunk), blobs.get(checkpoint(chunk))[:-10])
    elif fault == "no checkpoint":
        blobs.put(checkpoint(chunk), b"This is none.")
    elif fault == "another photo":
        blobs.put(BlobUri.parse(chunk.items[0].input), photo(3))
    else:
        chunk = replace(chunk, config=replace(TINY, iterations=4).to_dict())
    watcher = Watcher()
    (outcome,) = run(optimization, chunk, watcher)
    assert outcome.succeeded
    assert watcher.iterations[0] == 1
    assert "starts again: The checkpoint s3://" in caplog.text


def test_a_large_state_is_progress_while_it_comes_and_goes(blobs: BlobStore) -> None:
    touched = list[None]()
    uri = BlobUri(blobs.bucket, "state")
    file = CheckpointFile(blobs, uri, origin="0", touch=lambda: touched.append(None))
    file.save({"pixels": torch.rand(3, 1000, 1000)})
    saved = len(touched)
    assert saved > 3
    assert file.load() is not None
    assert len(touched) > saved + 3
