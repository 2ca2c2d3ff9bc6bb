"""Tests of worker.methods.optimize.course and worker.methods.optimize.checkpoints: real optimisations of 48 pixels."""

import io
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from PIL import Image

from nst_core import images
from nst_core.errors import BlobUnavailableError, ConfigError, WeightsError
from nst_core.gatys.config import GatysConfig
from nst_core.protocol.chunks import OptimizeChunk, item_checkpoint_uri, preview_uri
from nst_core.protocol.events import ItemOutcome, ItemProgress
from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.training.config import TrainConfig
from tests.unit.worker.kit import TINY, WAIT_S, Invert, make_chunk, make_optimize_chunk, outputs, photo
from worker.methods.optimize.course import Optimization
from worker.methods.stylize.pipeline import Pipeline
from worker.runtime.engine import Engine
from worker.runtime.loss_networks import LossNetworks, load_network_of
from worker.runtime.outcomes import InterruptedWorkError
from worker.runtime.steering import Steering
from worker.settings import WorkerSettings

PHOTO, PAINTING = photo(1), photo(2)


@dataclass
class ManualClock:
    """Stands still until a test moves it."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Watcher:
    """Notes the progress of a chunk, and does something at each iteration."""

    then: Callable[[int], None] = lambda iteration: None
    seen: list[ItemProgress] = field(default_factory=list)

    def __call__(self, progress: ItemProgress) -> None:
        self.seen.append(progress)
        self.then(progress.iteration)

    @property
    def iterations(self) -> list[int]:
        return [progress.iteration for progress in self.seen]


class KilledError(BaseException):
    """Stands for a worker that ends without a word."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def optimization(settings: WorkerSettings, blobs: BlobStore, engine: Engine, clock: ManualClock) -> Optimization:
    return Optimization(settings, blobs=blobs, engine=engine, device=torch.device("cpu"), clock=clock)


def run(optimization: Optimization, chunk: OptimizeChunk, watch: Watcher | None = None) -> list[ItemOutcome]:
    """Return the outcomes of a chunk that nothing keeps from being completed."""
    steering = Steering(going=lambda: True, wanted=lambda: True, on_progress=watch or Watcher())
    return list(optimization.run(chunk, steering))


def run_until(optimization: Optimization, chunk: OptimizeChunk, last: int, *, wanted: bool = True) -> Watcher:
    """Tell a chunk to stop when an iteration is done; it then has no outcome."""
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
    """Return the result of a like chunk that nothing disturbed."""
    other = replace(make(blobs), config=chunk.config)
    run(optimization, other)
    return outputs(blobs, other)[0]


def test_a_photo_is_optimised_and_every_iteration_told(optimization: Optimization, blobs: BlobStore) -> None:
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
def test_an_attempt_that_goes_on_after_a_shutdown_gives_the_bytes_of_an_undisturbed_one(
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
    assert "goes on after iteration 5 of 12" in caplog.text
    assert outputs(blobs, chunk)[0] == expected
    assert not blobs.exists(checkpoint(chunk)), "it is of no use any more"


def test_an_attempt_after_a_killed_worker_goes_on_from_the_last_checkpoint(
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


def test_an_earlier_state_that_an_outdated_attempt_saves_late_changes_no_byte(
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
def test_a_checkpoint_that_does_not_fit_is_ignored_with_a_line(
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
    assert "begins anew: The checkpoint s3://" in caplog.text


def test_previews_are_stored_as_often_as_wanted(optimization: Optimization, blobs: BlobStore) -> None:
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


class NoResults(BlobStore):
    """A storage that takes no results now."""

    def put(self, uri: BlobUri, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        if content_type == "image/png":
            raise BlobUnavailableError("The storage is busy.")
        super().put(uri, data, content_type=content_type)


def test_a_result_that_the_storage_does_not_take_now_keeps_its_checkpoint(
    settings: WorkerSettings, blobs: BlobStore, engine: Engine, s3_server: StorageSettings
) -> None:
    store = NoResults(s3_server, client=blobs._client)
    optimization = Optimization(settings, blobs=store, engine=engine, device=torch.device("cpu"))
    chunk = make(blobs)
    run_until(optimization, chunk, 11)
    (outcome,) = run(optimization, chunk)
    assert (outcome.succeeded, outcome.retryable) == (False, True)
    assert blobs.exists(checkpoint(chunk))


def test_loss_networks_are_loaded_once_and_the_one_used_longest_ago_is_forgotten() -> None:
    networks = LossNetworks(kept=2)
    first, average = networks.get(TINY), networks.get(replace(TINY, pooling="average"))
    assert first is not None
    assert networks.get(replace(TINY, iterations=3, size_px=20)) is first
    assert networks.get(replace(TINY, feature_scale=0.5)) not in (first, average)
    assert networks.get(TINY) is first
    assert networks.get(replace(TINY, pooling="average")) is not average
    assert networks.get(GatysConfig(content={}, tv_weight=1.0)) is None


def test_a_network_that_requests_may_not_name_is_not_downloaded() -> None:
    with pytest.raises(ConfigError, match="network must be one of vgg16, "):
        LossNetworks().get(GatysConfig(network="regnet_y_128gf", content={"trunk_output": 1.0}))
    with pytest.raises(ConfigError, match="network must be one of vgg16, "):
        load_network_of(TrainConfig(network="vit_h_14", content_layer="ln", style_weights={"ln": 1.0}))


def test_a_download_of_one_network_holds_up_no_other_and_says_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enough = Event()

    class Slow(BaseHTTPRequestHandler):
        """Sends a file byte by byte, until the test has seen what it wants to see."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            while not enough.is_set():
                self.wfile.write(b"x")
                time.sleep(0.01)

        def log_message(self, *_: object) -> None: ...

    networks, alive = LossNetworks(), Event()
    vgg19 = replace(TINY, network="vgg19")
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server, ThreadPoolExecutor(3) as threads:
        threads.submit(server.serve_forever)
        monkeypatch.setenv("NST_LOSS_WEIGHTS_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("nst_core.nets.loss_weights._PIECE_BYTES", 1)
        slow = threads.submit(networks.get, vgg19, on_bytes=alive.set)
        assert alive.wait(WAIT_S)
        assert networks.get(TINY) is not None  # while the other one is on its way

        def interrupted() -> None:
            raise InterruptedWorkError

        with pytest.raises(InterruptedWorkError):
            networks.get(vgg19, on_bytes=interrupted)  # who waits for it need not wait on
        enough.set()
        with pytest.raises(WeightsError, match="wrong checksum"):
            slow.result(WAIT_S)
        server.shutdown()
    assert list((tmp_path / "hub" / "checkpoints").iterdir()) == []


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
