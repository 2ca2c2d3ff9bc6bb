"""Tests of worker.methods.optimize.course and worker.methods.optimize.checkpoints: real optimisations of 48 pixels."""

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nst_core import images
from nst_core.errors import BlobUnavailableError
from nst_core.gatys import costs
from nst_core.protocol.chunks import OptimizeChunk, item_checkpoint_uri, preview_uri
from nst_core.protocol.events import ItemOutcome, ItemProgress
from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from tests.unit.worker.kit import TINY, Invert, make_chunk, make_optimize_chunk, outputs, photo, wait_until
from worker.methods.optimize.course import Optimization
from worker.methods.stylize.pipeline import Pipeline
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


def test_a_photo_is_optimised_and_every_iteration_reported(optimization: Optimization, blobs: BlobStore) -> None:
    chunk, watcher = make(blobs), Watcher()
    (outcome,) = run(optimization, chunk, watcher)
    assert (outcome.error_message, outcome.width, outcome.height) == (None, 48, 32)
    assert outcome.bytes == len(outputs(blobs, chunk)[0])
    assert watcher.iterations == list(range(1, TINY.iterations + 1))
    first, last = watcher.seen[0], watcher.seen[-1]
    assert sum(last.losses.values()) < sum(first.losses.values())
    assert (first.iterations, first.preview) == (TINY.iterations, False)


def test_the_opacity_of_a_photo_is_kept_in_the_size_of_the_result(optimization: Optimization, blobs: BlobStore) -> None:
    pixels = np.full((64, 96, 4), 200, dtype=np.uint8)
    pixels[:32, :, 3] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    chunk = make_optimize_chunk(blobs, [file.getvalue()], painting=PAINTING, config=replace(TINY, iterations=1))
    run(optimization, chunk)
    alpha = images.decode(outputs(blobs, chunk)[0]).alpha
    assert alpha is not None
    assert alpha.shape == (32, 48)
    assert (alpha[0, 0], alpha[-1, 0]) == (0, 200)


def test_a_cancelled_chunk_ends_after_its_iteration_and_leaves_nothing(
    optimization: Optimization, blobs: BlobStore
) -> None:
    chunk = make(blobs)
    assert run_until(optimization, chunk, 3, wanted=False).iterations == [1, 2, 3]
    assert outputs(blobs, chunk) == {}
    assert not blobs.exists(checkpoint(chunk))


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_an_attempt_resumed_after_a_shutdown_gives_the_same_bytes(
    optimization: Optimization, blobs: BlobStore, optimizer: str, caplog: pytest.LogCaptureFixture
) -> None:
    chunk = make(blobs, config=replace(TINY, optimizer=optimizer))  # type: ignore[arg-type]
    expected = undisturbed(optimization, blobs, chunk)
    run_until(optimization, chunk, 5)
    assert blobs.exists(checkpoint(chunk))
    watcher = Watcher()
    with caplog.at_level(logging.INFO, "worker"):
        run(optimization, replace(chunk, attempt=2), watcher)
    assert watcher.iterations == list(range(6, TINY.iterations + 1))
    assert "continues after iteration 5 of 12" in caplog.text
    assert outputs(blobs, chunk)[0] == expected
    assert not blobs.exists(checkpoint(chunk)), "it is of no use any more"


def test_previews_are_stored_at_the_requested_interval(optimization: Optimization, blobs: BlobStore) -> None:
    chunk = make(blobs, preview_every=5)
    preview = BlobUri.parse(preview_uri(chunk.scratch, 0))
    found: list[bytes] = []

    def look(iteration: int) -> None:
        if iteration in (5, 10):
            found.append(blobs.get(preview))

    watcher = Watcher(look)
    run(optimization, chunk, watcher)
    assert [progress.iteration for progress in watcher.seen if progress.preview] == list(range(5, 13))
    assert found[0] != found[1]
    with Image.open(io.BytesIO(found[1])) as picture:
        assert (picture.format, picture.size) == ("JPEG", (48, 32))


@pytest.mark.parametrize(
    ("inputs", "painting", "code", "start"),
    [
        ([b"no image"], PAINTING, "image_undecodable", "The data"),
        ([None], PAINTING, "blob_not_found", "There is no object"),
        ([PHOTO], b"no image", "image_undecodable", "The painting cannot be used: The data"),
        ([PHOTO], None, "blob_not_found", "There is no object"),
    ],
)
def test_a_picture_that_cannot_be_used_fails_the_item_with_its_code(
    optimization: Optimization,
    blobs: BlobStore,
    inputs: list[bytes | None],
    painting: bytes | None,
    code: str,
    start: str,
) -> None:
    chunk = make_optimize_chunk(blobs, inputs, painting=painting)
    (outcome,) = run(optimization, chunk)
    assert (outcome.error_code, outcome.retryable) == (code, False)
    assert str(outcome.error_message).startswith(start)


def test_a_network_whose_weights_are_missing_fails_the_item(
    optimization: Optimization, blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NST_LOSS_WEIGHTS", str(tmp_path / "none.pth"))
    chunk = make(blobs, config=replace(TINY, network="vgg19"))
    (outcome,) = run(optimization, chunk)
    assert (outcome.error_code, outcome.retryable) == ("weights_invalid", False)


def test_a_config_of_another_version_fails_the_item(optimization: Optimization, blobs: BlobStore) -> None:
    chunk = make(blobs)
    (outcome,) = run(optimization, replace(chunk, config=chunk.config | {"dither": 1}))
    assert outcome.error_code == "config_invalid"
    assert "dither" in str(outcome.error_message)


def test_a_photo_over_the_limit_is_refused(settings: WorkerSettings, blobs: BlobStore, engine: Engine) -> None:
    small = settings.model_copy(update={"max_optimize_bytes": 2_000_000})
    optimization = Optimization(small, blobs=blobs, engine=engine, device=torch.device("cpu"))
    (outcome,) = run(optimization, make(blobs))
    assert outcome.error_code == "image_too_large"
    assert "(size_px, --size " in str(outcome.error_message)


@pytest.fixture
def in_tiles(
    settings: WorkerSettings, blobs: BlobStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> Optimization:
    """Return an optimization with so little memory that the photo is cut into tiles."""
    monkeypatch.setattr(costs, "TILES", (24**2,))
    most = costs.optimize_bytes(TINY, 48 * 32, costs.Plan(tile_pixels=24**2, history=TINY.history))
    small = settings.model_copy(update={"max_optimize_bytes": most})
    return Optimization(small, blobs=blobs, engine=engine, device=torch.device("cpu"))


def test_each_tile_of_a_large_picture_shows_that_the_work_goes_on(in_tiles: Optimization, blobs: BlobStore) -> None:
    touched: list[int] = []
    watcher = Watcher()
    steering = Steering(
        going=lambda: True,
        wanted=lambda: True,
        on_progress=watcher,
        touch=lambda: touched.append(len(watcher.seen)),
    )
    (outcome,) = in_tiles.run(make(blobs), steering)
    assert (outcome.error_message, outcome.width, outcome.height) == (None, 48, 32)
    assert all(touched.count(iteration) > 2 for iteration in range(TINY.iterations))


def test_an_optimisation_that_waits_for_a_large_photo_is_not_idle(
    optimization: Optimization, blobs: BlobStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runtime.engine._SIGN_S", 0.01)
    touched = list[int]()
    engine.submit(lambda: wait_until(lambda: len(touched) > 3), lane="a photo")
    watcher = Watcher()
    steering = Steering(
        going=lambda: True,
        wanted=lambda: True,
        on_progress=watcher,
        touch=lambda: touched.append(len(watcher.seen)),
    )
    (outcome,) = optimization.run(make(blobs), steering)
    assert outcome.error_message is None
    assert touched.count(0) > 3


def test_a_cancelled_optimisation_ends_within_an_iteration_of_a_large_picture(
    in_tiles: Optimization, blobs: BlobStore
) -> None:
    watcher = Watcher()
    tiles: list[int] = []
    steering = Steering(
        going=lambda: len(tiles) < 150, wanted=lambda: False, on_progress=watcher, touch=lambda: tiles.append(0)
    )
    assert list(in_tiles.run(make(blobs), steering)) == []
    assert 0 < len(watcher.seen) < TINY.iterations
    assert len(tiles) == 150


class NoResults(BlobStore):
    """A storage that currently refuses results."""

    def put(self, uri: BlobUri, data: bytes, **options: Any) -> None:
        if options.get("content_type") == "image/png":
            raise BlobUnavailableError("The storage is busy.")
        super().put(uri, data, **options)


def test_a_result_that_cannot_be_stored_now_keeps_its_checkpoint(
    settings: WorkerSettings, blobs: BlobStore, engine: Engine, s3_server: StorageSettings
) -> None:
    store = NoResults(s3_server, client=blobs._client)
    optimization = Optimization(settings, blobs=store, engine=engine, device=torch.device("cpu"))
    chunk = make(blobs)
    run_until(optimization, chunk, 11)
    (outcome,) = run(optimization, chunk)
    assert (outcome.succeeded, outcome.retryable) == (False, True)
    assert blobs.exists(checkpoint(chunk))


def test_images_of_other_chunks_are_stylized_between_two_iterations(
    optimization: Optimization, blobs: BlobStore, engine: Engine, settings: WorkerSettings
) -> None:
    pipeline = Pipeline(settings, blobs=blobs, engine=engine)
    other = make_chunk(blobs, [photo(seed) for seed in range(4)], chunk_id=2)
    done: list[ItemOutcome] = []

    def stylize(iteration: int) -> None:
        if iteration == 3:
            done.extend(pipeline.run(other, Invert(), going=lambda: True))

    watcher = Watcher(stylize)
    (outcome,) = run(optimization, make(blobs), watcher)
    pipeline.close()
    assert outcome.succeeded
    assert len(done) == 4
    assert watcher.iterations[-1] == TINY.iterations
