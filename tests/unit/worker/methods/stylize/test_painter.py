"""Tests of worker.methods.stylize.painter: what becomes of a photo under the options of a chunk."""

import io
from dataclasses import replace
from threading import Barrier, Semaphore

import numpy as np
import pytest
from PIL import Image

from nst_core import images
from nst_core.inference.blend import blend
from nst_core.inference.painting import margin
from nst_core.inference.strokes import Stroke
from nst_core.inference.stylizer import EngineChoice
from nst_core.protocol.chunks import StylizeOptions
from nst_core.storage.blobs import BlobStore
from nst_core.upscaling.network import FACTORS, Factor
from nst_core.upscaling.upscaler import load_upscaler
from tests.unit.nst_core.inference.test_painting import inside
from tests.unit.worker.kit import WAIT_S, Calls, Invert, Pixels, make_chunk, outputs, photo
from tests.unit.worker.methods.stylize.test_pipeline import run
from worker.methods.stylize.pipeline import Pipeline
from worker.runtime.engine import Engine
from worker.settings import WorkerSettings


def test_the_options_of_the_chunk_are_used(pipeline: Pipeline, blobs: BlobStore) -> None:
    seen: list[Pixels] = []

    def record(batch: Pixels) -> Pixels:
        seen.append(batch)
        return 255 - batch

    options = StylizeOptions(strength=0.5, preserve_color=True, max_px=24)
    chunk = make_chunk(blobs, [photo()], options=options)
    run(pipeline, chunk, Calls(record))
    (small,) = seen[0]
    assert small.shape == (16, 24, 3)
    result = images.decode(outputs(blobs, chunk)[0]).rgb
    np.testing.assert_array_equal(result, blend(small, 255 - small, strength=0.5, preserve_color=True))


def test_a_network_that_paints_less_is_mixed_with_the_photo_less(pipeline: Pipeline, blobs: BlobStore) -> None:
    chunk = make_chunk(blobs, [photo()], options=StylizeOptions(strength=0.5))
    chunk = replace(chunk, style=replace(chunk.style, fades=True))
    run(pipeline, chunk, Invert())
    original = images.decode(photo()).rgb
    result = images.decode(outputs(blobs, chunk)[0]).rgb
    np.testing.assert_array_equal(result, blend(original, 255 - original, strength=0.75))


def test_a_strength_of_0_gives_the_photo_without_the_network(pipeline: Pipeline, blobs: BlobStore) -> None:
    def broken(batch: Pixels) -> Pixels:
        raise AssertionError("the network ran")

    chunk = make_chunk(blobs, [photo()], options=StylizeOptions(strength=0.0, preserve_color=True, stroke=2.0))
    assert run(pipeline, chunk, Calls(broken))[0].succeeded
    np.testing.assert_array_equal(images.decode(outputs(blobs, chunk)[0]).rgb, images.decode(photo()).rgb)


def test_the_opacity_of_a_photo_is_kept(pipeline: Pipeline, blobs: BlobStore) -> None:
    pixels = np.zeros((16, 16, 4), dtype=np.uint8)
    pixels[:8, :, 3] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    chunk = make_chunk(blobs, [file.getvalue()])
    run(pipeline, chunk, Invert())
    alpha = images.decode(outputs(blobs, chunk)[0]).alpha
    assert alpha is not None
    assert (alpha == pixels[..., 3]).all()


def test_a_photo_is_unchanged_if_the_network_changes_nothing(pipeline: Pipeline, blobs: BlobStore) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 4), dtype=np.uint8)
    pixels[..., 3] |= 1
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    chunk = make_chunk(blobs, [file.getvalue()])
    run(pipeline, chunk, Calls(lambda batch: batch))
    with Image.open(io.BytesIO(outputs(blobs, chunk)[0])) as image:
        np.testing.assert_array_equal(np.array(image), pixels)


@pytest.mark.parametrize(
    ("stroke", "painted"),
    [(None, (32, 48)), (2.0, (16, 24)), (0.5, (64, 96)), ("auto", (64 + 2 * margin(64), 96 + 2 * margin(96)))],
)
def test_for_other_strokes_the_network_paints_a_copy_of_another_size(
    pipeline: Pipeline, blobs: BlobStore, stroke: Stroke | None, painted: tuple[int, int]
) -> None:
    shapes: list[tuple[int, ...]] = []

    def record(batch: Pixels) -> Pixels:
        shapes.append(batch.shape)
        return batch

    outcome = run(pipeline, make_chunk(blobs, [photo()], options=StylizeOptions(stroke=stroke)), Calls(record))[0]
    assert (outcome.width, outcome.height) == (48, 32)
    assert shapes == [(1, *painted, 3)]


def test_small_photos_are_painted_two_at_a_time_where_bytes_do_not_depend_on_threads(
    pipeline: Pipeline, blobs: BlobStore
) -> None:
    places, most = Semaphore(2), list[bool]()
    together = Barrier(2)

    def meet(batch: Pixels) -> Pixels:
        most.append(places.acquire(blocking=False))
        together.wait(WAIT_S)
        places.release()
        return 255 - batch

    pair = Calls(meet)
    pair.choice = EngineChoice(engine="native", precision="int16")
    chunk = make_chunk(blobs, [photo(seed) for seed in range(8)])
    outcomes = run(pipeline, chunk, pair)
    assert all(outcomes[index].succeeded for index in range(8))
    assert most == [True] * 8


@pytest.mark.parametrize("factor", FACTORS)
def test_results_are_enlarged_with_their_opacity(pipeline: Pipeline, blobs: BlobStore, factor: Factor) -> None:
    rgba = np.dstack([images.decode(photo()).rgb, np.full((32, 48), 255, np.uint8)])
    rgba[:, :24, 3] = 0
    file = io.BytesIO()
    Image.fromarray(rgba).save(file, "PNG")
    chunk = make_chunk(blobs, [file.getvalue()], options=StylizeOptions(upscale=factor))
    outcome = run(pipeline, chunk, Invert())[0]
    assert (outcome.width, outcome.height) == (factor * 48, factor * 32)
    picture = images.decode(outputs(blobs, chunk)[0])
    painted = 255 - images.decode(file.getvalue()).rgb
    seen = picture.alpha
    assert seen is not None
    assert seen[:, : factor * 20].max() == 0
    assert seen[:, factor * 28 :].min() == 255
    expected = load_upscaler(factor)(painted).astype(int)
    opaque = slice(factor * 28, None)
    np.testing.assert_allclose(picture.rgb[:, opaque], expected[:, opaque], atol=1, err_msg="as on another thread")


def test_a_photo_whose_enlarged_result_would_be_too_large_is_refused(
    settings: WorkerSettings, blobs: BlobStore
) -> None:
    engine = Engine()
    pipeline = Pipeline(settings.model_copy(update={"max_pixels": 48 * 32 * 4}), blobs=blobs, engine=engine)
    assert run(pipeline, make_chunk(blobs, [photo()], options=StylizeOptions(upscale=2)), Invert())[0].succeeded
    refused = run(pipeline, make_chunk(blobs, [photo()], options=StylizeOptions(upscale=4)), Invert())[0]
    assert refused.error_code == "image_too_large"
    assert "--max-px 24)" in str(refused.error_message)
    smaller = StylizeOptions(upscale=4, max_px=24)
    outcome = run(pipeline, make_chunk(blobs, [photo()], options=smaller), Invert())[0]
    assert (outcome.width, outcome.height) == (96, 64)
    pipeline.close()
    engine.close()


def sky_and_leaves(height: int = 96, width: int = 144) -> Pixels:
    """Return a photo whose upper half is flat, and whose lower half is full of contrast."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    pixels[height // 2 :] = np.random.default_rng(0).integers(0, 256, (height - height // 2, width, 3), np.uint8)
    return pixels


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_varied_strokes_are_painted_after_broader_ones_more_in_a_sky_than_in_leaves(
    pipeline: Pipeline, blobs: BlobStore
) -> None:
    """The network fills a picture with its height, so that each layer says how much of the one below it sees."""
    seen: list[Pixels] = []

    def mark(batch: Pixels) -> Pixels:
        seen.append(inside(batch[0]))
        return np.full_like(batch, len(seen[-1]))

    photo = sky_and_leaves()
    chunk = make_chunk(blobs, [png(photo)], options=StylizeOptions(stroke="varied"))
    assert run(pipeline, chunk, Calls(mark))[0].succeeded
    assert [layer.shape[:2] for layer in seen] == [(24, 36), (48, 72), (96, 144)]
    assert (images.decode(outputs(blobs, chunk)[0]).rgb == 96).all()
    sky, leaves = slice(0, 10), slice(60, 96)
    # The clouds in the sky are about 10 levels.
    assert seen[-1][sky].mean() == pytest.approx(0.25 * photo[sky].mean() + 0.75 * 48, abs=15)
    assert seen[-1][leaves].mean() == pytest.approx(0.75 * photo[leaves].mean() + 0.25 * 48, abs=3)
    assert seen[-1][leaves].std() == pytest.approx(0.75 * photo[leaves].std(), abs=3)


@pytest.mark.parametrize(("height", "heights"), [(16, [16]), (24, [16, 24]), (48, [16, 24, 48])])
def test_varied_strokes_of_a_tiny_photo_have_fewer_layers(
    pipeline: Pipeline, blobs: BlobStore, height: int, heights: list[int]
) -> None:
    sizes: list[int] = []

    def record(batch: Pixels) -> Pixels:
        sizes.append(inside(batch[0]).shape[0])
        return batch

    noise = np.random.default_rng(0).integers(0, 256, (height, 2 * height, 3), np.uint8)
    chunk = make_chunk(blobs, [png(noise)], options=StylizeOptions(stroke="varied"))
    assert run(pipeline, chunk, Calls(record))[0].succeeded
    assert sizes == heights


def test_each_tile_of_an_enlarged_result_is_progress_of_the_engine(
    settings: WorkerSettings, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nst_core.upscaling.upscaler._TILE_PX", 16)
    calls = list[None]()

    class Counting(Engine):
        def proceed(self) -> None:
            calls.append(None)
            super().proceed()

    engine = Counting()
    pipeline = Pipeline(settings, blobs=blobs, engine=engine)
    run(pipeline, make_chunk(blobs, [photo()], options=StylizeOptions(upscale=2)), Invert())
    assert len(calls) == 2 * 3
    pipeline.close()
    engine.close()
