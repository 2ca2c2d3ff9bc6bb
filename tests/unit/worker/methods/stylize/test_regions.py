"""Jobs with regions: parts of photos in styles of their own."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nst_core import images
from nst_core.inference.blend import blend
from nst_core.inference.stylizer import Stylizer
from nst_core.protocol.chunks import ChunkItem, Region, StyleRef, StylizeChunk, StylizeOptions
from nst_core.protocol.events import ItemOutcome
from nst_core.storage.blobs import BlobUri
from tests.unit.worker.kit import WAIT_S, Calls, Gate, Invert, Pixels, make_chunk, outputs, photo, wait_until
from tests.unit.worker.methods.stylize.test_masks import HALVES, CountingStore, counted_pipeline, counting_store, png
from worker.methods.stylize.pipeline import Pipeline

__all__ = ["counted_pipeline", "counting_store"]  # fixtures

WHITE, BLACK = np.full((32, 48), 255, np.uint8), np.zeros((32, 48), np.uint8)
RIGHT = np.ascontiguousarray(HALVES[:, ::-1])
#: Options that change what a style paints.
LOOKS: list[dict[str, Any]] = [
    {},
    {"strength": 0.5, "preserve_color": True, "stroke": 2.0},
    {"strength": 0.3, "stroke": "auto", "max_px": 40},
]


def darker(batch: Pixels) -> Pixels:
    return batch // 2


def turned(batch: Pixels) -> Pixels:
    return np.ascontiguousarray(batch[:, ::-1, :, ::-1])


class Recorder(Calls):
    """A style that remembers the sizes of what it painted."""

    def __init__(self, function: Any) -> None:
        self.painted: list[tuple[int, ...]] = []
        self._paint = function
        super().__init__(self._remember)

    def _remember(self, batch: Pixels) -> Pixels:
        self.painted.append(batch.shape[1:3])
        result: Pixels = self._paint(batch)
        return result


def put(store: CountingStore, chunk: StylizeChunk, name: str, mask: Pixels | bytes) -> str:
    uri = BlobUri(store.bucket, f"{chunk.job_id}/masks/{name}")
    store.put(uri, mask if isinstance(mask, bytes) else png(mask))
    return str(uri)


def with_regions(
    store: CountingStore, *masks: Pixels | bytes | None, count: int = 1, fades: bool = False, **options: Any
) -> StylizeChunk:
    """Return a chunk with a region for each mask."""
    chunk = make_chunk(store, [photo(seed) for seed in range(count)])
    style = StyleRef(name="region", version="0" * 64, fades=fades)
    uris = [None if mask is None else put(store, chunk, str(place), mask) for place, mask in enumerate(masks)]
    regions = tuple(Region(style=style, mask=uri) for uri in uris)
    return replace(chunk, options=StylizeOptions(regions=regions, **options))


def outcomes(pipeline: Pipeline, chunk: StylizeChunk, *networks: Stylizer) -> dict[int, ItemOutcome]:
    lowest, *regions = networks
    found = pipeline.run(chunk, lowest, regions=regions, going=lambda: True)
    return {outcome.index: outcome for outcome in found}


def results(pipeline: Pipeline, store: CountingStore, chunk: StylizeChunk, *networks: Stylizer) -> list[bytes]:
    found = outcomes(pipeline, chunk, *networks)
    assert [outcome.error_message for outcome in found.values()] == [None] * len(chunk.items)
    return [data for _, data in sorted(outputs(store, chunk).items())]


def pixels(data: bytes) -> Pixels:
    return images.decode(data).rgb


def alone(pipeline: Pipeline, store: CountingStore, network: Stylizer, **options: Any) -> bytes:
    """Return the picture of a photo in one style."""
    return results(pipeline, store, make_chunk(store, [photo()], options=StylizeOptions(**options)), network)[0]


@pytest.mark.parametrize("options", LOOKS)
def test_a_white_region_is_a_job_in_its_style(pipeline: Pipeline, store: CountingStore, options: Any) -> None:
    chunk = with_regions(store, WHITE, **options)
    (result,) = results(pipeline, store, chunk, Invert(), Calls(darker))
    assert result == alone(pipeline, store, Calls(darker), **options)


@pytest.mark.parametrize("options", LOOKS)
def test_a_black_region_changes_nothing(pipeline: Pipeline, store: CountingStore, options: Any) -> None:
    chunk = with_regions(store, BLACK, **options)
    (result,) = results(pipeline, store, chunk, Invert(), Calls(darker))
    assert result == alone(pipeline, store, Invert(), **options)


@pytest.mark.parametrize("options", LOOKS)
def test_two_halves_are_those_of_jobs_in_their_styles(pipeline: Pipeline, store: CountingStore, options: Any) -> None:
    chunk = with_regions(store, HALVES, RIGHT, **options)
    (result,) = results(pipeline, store, chunk, Invert(), Calls(darker), Calls(turned))
    left, right = (pixels(alone(pipeline, store, Calls(function), **options)) for function in (darker, turned))
    middle = left.shape[1] // 2
    np.testing.assert_array_equal(pixels(result)[:, : middle - 2], left[:, : middle - 2])
    np.testing.assert_array_equal(pixels(result)[:, middle + 2 :], right[:, middle + 2 :])


def test_the_rest_is_painted_in_the_style_of_the_job(pipeline: Pipeline, store: CountingStore) -> None:
    (result,) = results(pipeline, store, with_regions(store, HALVES), Invert(), Calls(darker))
    original = pixels(photo())
    expected = np.where(HALVES[..., None] == 255, original // 2, 255 - original)
    np.testing.assert_array_equal(pixels(result), expected)


def test_later_regions_lie_over_earlier_ones(pipeline: Pipeline, store: CountingStore) -> None:
    networks = (Invert(), Calls(darker), Calls(turned))
    (result,) = results(pipeline, store, with_regions(store, HALVES, WHITE), *networks)
    assert result == alone(pipeline, store, Calls(turned))
    (result,) = results(pipeline, store, with_regions(store, WHITE, HALVES), *networks)
    original = pixels(photo())
    expected = np.where(HALVES[..., None] == 255, turned(original[np.newaxis])[0], original // 2)
    np.testing.assert_array_equal(pixels(result), expected)


def test_the_mask_of_the_job_holds_for_regions_too(pipeline: Pipeline, store: CountingStore) -> None:
    chunk = with_regions(store, HALVES)
    lower = np.tile(np.repeat(np.array([[0], [255]], np.uint8), 16, axis=0), (1, 48))
    options = replace(chunk.options, mask=put(store, chunk, "mask", lower))
    (result,) = results(pipeline, store, replace(chunk, options=options), Invert(), Calls(darker))
    original = pixels(photo())
    expected = np.where(HALVES[..., None] == 255, original // 2, 255 - original)
    np.testing.assert_array_equal(pixels(result)[:16], original[:16])
    np.testing.assert_array_equal(pixels(result)[16:], expected[16:])


def test_each_style_is_mixed_with_the_photo_in_its_own_way(pipeline: Pipeline, store: CountingStore) -> None:
    chunk = with_regions(store, HALVES, fades=True, strength=0.5)
    (result,) = results(pipeline, store, chunk, Invert(), Calls(darker))
    original = pixels(photo())
    fading = blend(original, original // 2, strength=0.75)
    np.testing.assert_array_equal(pixels(result)[:, :24], fading[:, :24])
    np.testing.assert_array_equal(pixels(result)[:, 24:], blend(original, 255 - original, strength=0.5)[:, 24:])


def test_styles_that_are_not_seen_are_not_painted(pipeline: Pipeline, store: CountingStore) -> None:
    networks = [Recorder(function) for function in (darker, turned, darker, turned)]
    results(pipeline, store, with_regions(store, HALVES, WHITE, BLACK), *networks)
    assert [len(network.painted) for network in networks] == [0, 0, 1, 0]
    results(pipeline, store, with_regions(store, HALVES, WHITE, HALVES, strength=0.0), *networks)
    assert [len(network.painted) for network in networks] == [0, 0, 1, 0]


def own(chunk: StylizeChunk, *masks: Sequence[str | None]) -> StylizeChunk:
    """Return a chunk whose photos have masks of their own for the regions."""
    pairs = zip(chunk.items, masks, strict=True)
    return replace(chunk, items=tuple(replace(item, regions=tuple(each)) for item, each in pairs))


def test_photos_may_have_masks_of_their_own(pipeline: Pipeline, store: CountingStore) -> None:
    chunk = with_regions(store, HALVES, None, count=3)
    left, right = put(store, chunk, "left", HALVES), put(store, chunk, "right", RIGHT)
    chunk = own(chunk, (), (right,), (None, left))
    found = [pixels(data) for data in results(pipeline, store, chunk, Invert(), Calls(darker), Calls(turned))]
    for seed, region in enumerate((HALVES, RIGHT)):
        original = pixels(photo(seed))
        expected = np.where(region[..., None] == 255, original // 2, 255 - original)
        np.testing.assert_array_equal(found[seed], expected)
    original = pixels(photo(2))
    expected = np.where(HALVES[..., None] == 255, turned(original[np.newaxis])[0], 255 - original)
    np.testing.assert_array_equal(found[2], expected)


def test_a_mask_that_no_photo_needs_is_not_read(pipeline: Pipeline, store: CountingStore) -> None:
    chunk = with_regions(store, b"no picture", count=2)
    right = put(store, chunk, "right", RIGHT)
    results(pipeline, store, own(chunk, (right,), (right,)), Invert(), Calls(darker))
    assert chunk.options.regions[0].mask not in store.read


def test_photos_with_many_masks_of_their_own_take_turns(pipeline: Pipeline, store: CountingStore) -> None:
    chunk = with_regions(store, *[None] * 8, count=12)
    masks = [put(store, chunk, f"own-{place}", HALVES) for place in range(8)]
    gate = Gate()

    def photos_read() -> int:
        return sum("/in/" in uri for uri in store.read)

    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(outcomes, pipeline, own(chunk, *[masks] * 12), gate, *[Calls(darker)] * 8)
        wait_until(lambda: photos_read() == 2)
        time.sleep(0.3)
        assert photos_read() == 2, "there is room for the masks of two photos"
        gate.opened.set()
        found = run.result(WAIT_S)
    assert [outcome.succeeded for outcome in found.values()] == [True] * 12


@pytest.mark.parametrize(("data", "code"), [(None, "blob_not_found"), (b"no picture", "image_undecodable")])
def test_a_mask_that_cannot_be_used_fails_the_photos_that_need_it(
    pipeline: Pipeline, store: CountingStore, data: bytes | None, code: str
) -> None:
    chunk = with_regions(store, HALVES, data or BLACK, count=2)
    if data is None:
        store.delete(BlobUri.parse(str(chunk.options.regions[1].mask)))
    networks = (Invert(), Calls(darker), Calls(turned))
    found = outcomes(pipeline, chunk, *networks)
    assert [outcome.error_code for outcome in found.values()] == [code] * 2
    assert outputs(store, chunk) == {}
    if data is not None:
        assert str(found[0].error_message).startswith("The mask of region 2 cannot be used: ")
    good = with_regions(store, HALVES, None, count=2)
    bad = f"s3://{store.bucket}/{good.job_id}/none" if data is None else put(store, good, "bad", data)
    found = outcomes(pipeline, own(good, (None, bad), ()), *networks)
    assert [found[index].error_code for index in range(2)] == [code, None]


class Small(Invert):
    """A style with little room for photos."""

    def max_pixels(self, budget_bytes: int) -> int:
        return 1000


def test_a_photo_that_is_too_large_for_the_style_of_a_region_is_refused(
    pipeline: Pipeline, store: CountingStore
) -> None:
    found = outcomes(pipeline, with_regions(store, HALVES), Invert(), Small())
    assert found[0].error_code == "image_too_large"


def test_each_style_of_a_photo_is_progress(pipeline: Pipeline, store: CountingStore) -> None:
    touched: list[int] = []
    networks = [Recorder(function) for function in (darker, turned, darker)]

    def touch() -> None:
        touched.append(sum(len(network.painted) for network in networks))

    lowest, *regions = networks
    list(pipeline.run(with_regions(store, HALVES, RIGHT), lowest, regions=regions, going=lambda: True, touch=touch))
    assert touched == [0, 1, 2]


def test_the_engine_of_the_style_of_the_job_is_reported(pipeline: Pipeline, store: CountingStore) -> None:
    other = Calls(darker)
    other.choice = replace(other.choice, engine="other")
    outcome = outcomes(pipeline, with_regions(store, WHITE), Invert(), other)[0]
    assert outcome.engine == Invert.choice.engine


def test_the_same_regions_give_the_same_bytes(pipeline: Pipeline, store: CountingStore) -> None:
    soft = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (20, 1))
    chunk = with_regions(store, soft, HALVES, count=2, preserve_color=True, strength=0.6)
    networks = (Invert(), Calls(darker), Calls(turned))
    assert results(pipeline, store, chunk, *networks) == results(pipeline, store, chunk, *networks)


def test_an_item_of_an_older_scheduler_has_no_masks() -> None:
    assert ChunkItem(index=0, input="s3://a", output="s3://b").regions == ()
