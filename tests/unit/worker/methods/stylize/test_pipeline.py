"""Tests of worker.methods.stylize.pipeline."""

import hashlib
import io
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from PIL import Image

from nst_core.inference.eager import EagerStylizer
from nst_core.inference.stylizer import EngineChoice, Stylizer
from nst_core.metrics import Stage
from nst_core.nets.costs import stylize_bytes
from nst_core.protocol.chunks import StylizeChunk, StylizeOptions
from nst_core.protocol.events import ItemOutcome
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.system.logs import Ids, about, current
from tests.unit.worker.kit import (
    WAIT_S,
    Calls,
    Gate,
    Invert,
    Pixels,
    Style,
    make_chunk,
    outputs,
    photo,
    store_style,
    wait_until,
)
from worker.methods.stylize.pipeline import Pipeline
from worker.runtime.engine import Engine
from worker.runtime.outcomes import Stopwatch
from worker.settings import WorkerSettings


def always() -> bool:
    return True


def run(pipeline: Pipeline, chunk: StylizeChunk, stylize: Stylizer) -> dict[int, ItemOutcome]:
    """Return the outcomes of a chunk by item, and check that no item has two."""
    outcomes = list(pipeline.run(chunk, stylize, going=always))
    by_item = {outcome.index: outcome for outcome in outcomes}
    assert len(by_item) == len(outcomes)
    return by_item


def load(blobs: BlobStore, style: Style) -> EagerStylizer:
    return EagerStylizer.load(blobs.get(BlobUri.parse(style.weights)))


@pytest.mark.parametrize(("suffix", "kind"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_every_image_is_in_storage_as_its_outcome_says(
    pipeline: Pipeline, blobs: BlobStore, style: Style, suffix: str, kind: str
) -> None:
    chunk = make_chunk(blobs, [photo(seed) for seed in range(8)], suffix=suffix)
    outcomes = run(pipeline, chunk, load(blobs, style))
    results = outputs(blobs, chunk)
    assert sorted(outcomes) == sorted(results) == list(range(8))
    for index, data in results.items():
        outcome = outcomes[index]
        assert outcome.succeeded
        assert (outcome.sha256, outcome.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.size) == (kind, (outcome.width, outcome.height)) == (kind, (48, 32))


def test_lines_about_an_image_name_it_on_every_thread(pipeline: Pipeline, blobs: BlobStore) -> None:
    seen: list[Ids] = []

    def record(batch: Pixels) -> Pixels:
        seen.append(current())
        return batch

    with about(chunk_id=7):
        run(pipeline, make_chunk(blobs, [photo(1), photo(2)]), Calls(record))
    assert sorted(seen, key=lambda ids: ids["item"]) == [Ids(chunk_id=7, item=0), Ids(chunk_id=7, item=1)]


def test_an_outcome_says_which_engine_made_the_result(pipeline: Pipeline, blobs: BlobStore) -> None:
    stylize = Invert()
    stylize.choice = EngineChoice(engine="fast", precision="int8")
    outcome = run(pipeline, make_chunk(blobs, [photo()]), stylize)[0]
    assert (outcome.engine, outcome.precision) == ("fast", "int8")


def test_a_photo_with_several_frames_has_a_warning(pipeline: Pipeline, blobs: BlobStore) -> None:
    file = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    outcomes = run(pipeline, make_chunk(blobs, [file.getvalue(), photo()]), Invert())
    assert outcomes[0].warning == "Only the first of the file's 2 frames is used."
    assert outcomes[1].warning is None


def test_the_network_sees_no_edges_of_transparent_areas(pipeline: Pipeline, blobs: BlobStore) -> None:
    seen: list[Pixels] = []
    pixels = np.zeros((32, 32, 4), dtype=np.uint8)
    pixels[8:24, 8:24] = (200, 100, 50, 255)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")

    def record(batch: Pixels, **_: object) -> Pixels:
        seen.append(batch)
        return batch

    run(pipeline, make_chunk(blobs, [file.getvalue()]), Calls(record))
    assert np.abs(seen[0].astype(int) - (200, 100, 50)).max() <= 4


def test_bad_images_fail_alone_each_with_its_code(pipeline: Pipeline, blobs: BlobStore) -> None:
    dot = io.BytesIO()
    Image.new("RGB", (1, 1)).save(dot, "PNG")
    bad = {
        1: (photo()[:-200], "image_undecodable"),
        2: (b"not an image", "image_undecodable"),
        3: (b"", "image_undecodable"),
        4: (None, "blob_not_found"),
        5: (dot.getvalue(), "image_too_small"),
    }
    chunk = make_chunk(blobs, [bad[index][0] if index in bad else photo(index) for index in range(8)])
    outcomes = run(pipeline, chunk, Invert())
    assert {index: outcome.error_code for index, outcome in outcomes.items() if not outcome.succeeded} == {
        index: code for index, (_, code) in bad.items()
    }
    assert all(outcomes[index].error_message and not outcomes[index].retryable for index in bad)
    assert sorted(outputs(blobs, chunk)) == [0, 6, 7]


def test_a_photo_over_the_limits_is_refused(settings: WorkerSettings, blobs: BlobStore) -> None:
    engine = Engine()
    for limits, code in [({"max_pixels": 1000}, "image_too_large"), ({"max_input_bytes": 100}, "blob_too_large")]:
        pipeline = Pipeline(settings.model_copy(update=limits), blobs=blobs, engine=engine)
        assert run(pipeline, make_chunk(blobs, [photo()]), Invert())[0].error_code == code
        pipeline.close()
    engine.close()


@pytest.mark.parametrize("output", ["s3://nst/out.gif", "s3://nst/out", "out.png"])
def test_a_result_that_cannot_be_saved_is_refused_before_any_work(
    pipeline: Pipeline, blobs: BlobStore, output: str
) -> None:
    chunk = make_chunk(blobs, [photo()])
    chunk = replace(chunk, items=(replace(chunk.items[0], output=output),))
    outcome = run(pipeline, chunk, Gate())[0]  # a gate that is never opened
    assert (outcome.error_code, outcome.ms) == ("config_invalid", 0)


@pytest.mark.parametrize(("suffix", "longest"), [("webp", 4095), ("jpg", 16_375)])
def test_a_result_that_is_too_long_for_its_format_is_refused_before_any_work(
    pipeline: Pipeline, blobs: BlobStore, suffix: str, longest: int
) -> None:
    chunk = make_chunk(blobs, [photo(width=longest + 1, height=16)], options=StylizeOptions(upscale=4))
    chunk = replace(chunk, items=(replace(chunk.items[0], output=f"s3://{blobs.bucket}/out.{suffix}"),))
    outcome = run(pipeline, chunk, Gate())[0]  # a gate that is never opened
    assert outcome.error_code == "image_too_large"
    assert f"--max-px {longest}" in str(outcome.error_message)


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 9 GiB"), "engine_failed", True),
        (RuntimeError("could not create a primitive"), "engine_failed", True),
        (MemoryError(), "engine_failed", True),
        (KeyError("a fault of ours"), "internal", False),
    ],
)
def test_an_error_in_the_network_fails_one_item_only(
    pipeline: Pipeline, blobs: BlobStore, error: Exception, code: str, retryable: bool
) -> None:
    @dataclass
    class FailOnce(Invert):
        calls: int = 0

        def __call__(self, batch: Pixels) -> Pixels:
            self.calls += 1
            if self.calls == 2:
                raise error
            return super().__call__(batch)

    outcomes = run(pipeline, make_chunk(blobs, [photo(seed) for seed in range(5)]), FailOnce())
    (failed,) = (outcome for outcome in outcomes.values() if not outcome.succeeded)
    assert (failed.error_code, failed.retryable) == (code, retryable)
    assert failed.error_message
    assert "\n" not in failed.error_message
    assert len(outcomes) == 5


def test_a_stop_completes_the_image_in_the_network_and_the_rest_has_no_outcome(
    pipeline: Pipeline, blobs: BlobStore
) -> None:
    gate, stopped = Gate(), Event()
    chunk = make_chunk(blobs, [photo(seed) for seed in range(9)])
    with ThreadPoolExecutor(1) as thread:
        outcomes = thread.submit(lambda: list(pipeline.run(chunk, gate, going=lambda: not stopped.is_set())))
        assert gate.entered.wait(WAIT_S)
        stopped.set()
        gate.opened.set()
        (outcome,) = outcomes.result(WAIT_S)
    assert outcome.succeeded
    assert list(outputs(blobs, chunk)) == [outcome.index]


def test_large_files_are_progress_while_they_come_and_go(pipeline: Pipeline, blobs: BlobStore) -> None:
    """Eight of 200 MB take ten minutes on a slow line."""
    touched, painting = list[None](), list[int]()

    def paint(batch: Pixels) -> Pixels:
        painting.append(len(touched))
        return 255 - batch

    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "BMP")
    chunk = make_chunk(blobs, [file.getvalue()])
    (outcome,) = pipeline.run(chunk, Calls(paint), going=always, touch=lambda: touched.append(None))
    assert outcome.succeeded
    assert painting[0] > 3
    assert len(touched) > painting[0] + 3


def test_a_photo_that_takes_long_is_no_idle_chunk(
    pipeline: Pipeline, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine has its own watch, which sees the strips of a large photo."""
    monkeypatch.setattr("worker.runtime.engine._SIGN_S", 0.01)
    touched = list[None]()

    def paint(batch: Pixels) -> Pixels:
        before = len(touched)
        wait_until(lambda: len(touched) > before + 3)
        return batch

    chunk = make_chunk(blobs, [photo()])
    (outcome,) = pipeline.run(chunk, Calls(paint), going=always, touch=lambda: touched.append(None))
    assert outcome.succeeded


@pytest.fixture
def two_styles(blobs: BlobStore, tmp_path: Path) -> tuple[EagerStylizer, EagerStylizer]:
    return load(blobs, store_style(blobs, tmp_path, seed=1)), load(blobs, store_style(blobs, tmp_path, seed=2))


def test_two_chunks_at_once_give_the_same_bytes_as_one_after_the_other(
    pipeline: Pipeline, blobs: BlobStore, two_styles: tuple[EagerStylizer, EagerStylizer]
) -> None:
    chunks = [make_chunk(blobs, [photo(seed, width=16 + 8 * seed) for seed in range(6)]) for _ in range(2)]
    for chunk, stylizer in zip(chunks, two_styles, strict=True):
        run(pipeline, chunk, stylizer)
    alone = [outputs(blobs, chunk) for chunk in chunks]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(run, [pipeline] * 2, chunks, two_styles))
    assert [outputs(blobs, chunk) for chunk in chunks] == alone
    assert alone[0] != alone[1]


def test_a_stopwatch_adds_up_the_time_inside() -> None:
    times = iter([1.0, 1.25, 10.0, 10.5])
    watch = Stopwatch(lambda: next(times))
    with watch:
        pass
    with watch:
        pass
    assert watch.ms == 750


def test_an_image_too_large_for_the_network_fails_before_it(blobs: BlobStore, settings: WorkerSettings) -> None:
    engine = Engine()
    pipeline = Pipeline(settings.model_copy(update={"max_network_pixels": 48 * 32 - 1}), blobs=blobs, engine=engine)
    chunk = make_chunk(blobs, [photo()])
    outcome = run(pipeline, chunk, Invert())[0]
    smaller = make_chunk(blobs, [photo()], options=StylizeOptions(max_px=40))
    assert outcome.error_code == "image_too_large"
    assert run(pipeline, smaller, Invert())[0].succeeded
    pipeline.close()
    engine.close()


def test_a_photo_is_refused_if_its_style_needs_too_much_memory(
    settings: WorkerSettings, blobs: BlobStore, two_styles: tuple[EagerStylizer, EagerStylizer]
) -> None:
    """The refusal names the longest side that is accepted, and a photo of that size is."""
    engine = Engine()
    budget = stylize_bytes(two_styles[0].net.config, 40 * 27)
    pipeline = Pipeline(settings, blobs=blobs, engine=engine, budget_bytes=budget)
    refused = run(pipeline, make_chunk(blobs, [photo()]), two_styles[0])[0]  # of 48 x 32 pixels
    assert refused.error_code == "image_too_large"
    named = re.search(r"--max-px (\d+)\)", str(refused.error_message))
    assert named is not None
    for max_px, code in ((int(named[1]), None), (int(named[1]) + 1, "image_too_large")):
        chunk = make_chunk(blobs, [photo()], options=StylizeOptions(max_px=max_px))
        assert run(pipeline, chunk, two_styles[0])[0].error_code == code
    pipeline.close()
    engine.close()


def slow_photo() -> bytes:
    """Return a large progressive JPEG with many empty scans, each of which passes through all pixels."""
    file = io.BytesIO()
    Image.new("L", (7000, 7000), 128).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    last = whole.rindex(b"\xff\xda")
    scan = whole[last : last + 2 + int.from_bytes(whole[last + 2 : last + 4], "big")]
    return whole[:-2] + scan * 85 + b"\xff\xd9"


def test_photos_that_are_slow_to_decode_delay_no_other_chunk(pipeline: Pipeline, blobs: BlobStore) -> None:
    run(pipeline, make_chunk(blobs, [photo(seed) for seed in range(4)]), Invert())  # the readers have started
    slow = make_chunk(blobs, [slow_photo()] * 5, options=StylizeOptions(max_px=64))
    good = make_chunk(blobs, [photo(seed) for seed in range(6)])
    stop, looks = Event(), list[None]()
    ended: list[ItemOutcome] = []

    def going() -> bool:
        looks.append(None)
        return not stop.is_set()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: ended.extend(pipeline.run(slow, Invert(), going=going)))
        # It is asked for each photo before it is taken, before it is fetched and before it is decoded.
        wait_until(lambda: len(looks) >= 3 * 3)
        outcomes = run(pipeline, good, Invert())
        before = len(ended)
        stop.set()
        waiting.result()
    assert all(outcome.succeeded for outcome in outcomes.values())
    assert len(outcomes) == 6
    assert before <= 1


def test_the_observer_is_called_for_every_completed_stage(settings: WorkerSettings, blobs: BlobStore) -> None:
    seen = list[tuple[Stage, float]]()
    engine = Engine(observe=lambda stage, seconds: seen.append((stage, seconds)))
    pipeline = Pipeline(
        settings, blobs=blobs, engine=engine, observe=lambda stage, seconds: seen.append((stage, seconds))
    )
    run(pipeline, make_chunk(blobs, [photo(1), photo(2), b"damaged"]), Invert())
    pipeline.close()
    engine.close()
    counts = {stage: sum(each == stage for each, _ in seen) for stage in Stage}
    assert counts == {**dict.fromkeys(Stage, 2), Stage.FETCH: 3}
    assert all(seconds >= 0 for _, seconds in seen)
