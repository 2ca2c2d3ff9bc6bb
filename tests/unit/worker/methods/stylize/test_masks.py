"""Tests of masks: their files, and what a worker makes of them."""

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_core import images
from nst_core.errors import ImageDecodeError, ImageTooLargeError
from nst_core.protocol.chunks import StylizeChunk, StylizeOptions
from nst_core.protocol.events import ItemOutcome
from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from tests.unit.worker.kit import Invert, Pixels, make_chunk, outputs, photo
from worker.methods.stylize import masks
from worker.methods.stylize.masks import decode_mask
from worker.methods.stylize.pipeline import Pipeline
from worker.runtime.engine import Engine
from worker.settings import WorkerSettings

#: The left half is painted, the right one is the photo.
HALVES = np.repeat(np.array([[255] * 24 + [0] * 24], np.uint8), 32, axis=0)


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class CountingStore(BlobStore):
    """A storage that remembers what was read."""

    def __init__(self, settings: StorageSettings) -> None:
        super().__init__(settings)
        self.read: list[str] = []

    def get(self, uri: BlobUri, **options: Any) -> bytes:
        self.read.append(str(uri))
        return super().get(uri, **options)


@pytest.fixture(name="store")
def counting_store(s3_server: StorageSettings, blobs: BlobStore) -> CountingStore:
    return CountingStore(s3_server)


@pytest.fixture(name="pipeline")
def counted_pipeline(settings: WorkerSettings, store: CountingStore, pipeline_engine: Engine) -> Iterator[Pipeline]:
    pipeline = Pipeline(settings, blobs=store, engine=pipeline_engine)
    yield pipeline
    pipeline.close()


def masked(blobs: BlobStore, count: int, *files: bytes | None, **options: Any) -> StylizeChunk:
    """Return a chunk of photos with a mask for all, and of the last photos with one of their own each.

    None stands for a mask that is not in the storage.
    """
    chunk = make_chunk(blobs, [photo(seed) for seed in range(count)])
    uris = [f"s3://{blobs.bucket}/{chunk.job_id}/mask/{number}" for number in range(len(files))]
    for uri, data in zip(uris, files, strict=True):
        if data is not None:
            blobs.put(BlobUri.parse(uri), data)
    own = [None] * (count - len(files) + 1) + uris[1:]
    items = tuple(replace(item, mask=mask) for item, mask in zip(chunk.items, own, strict=True))
    return replace(chunk, items=items, options=StylizeOptions(mask=uris[0], **options))


def run(pipeline: Pipeline, chunk: StylizeChunk) -> dict[int, ItemOutcome]:
    return {outcome.index: outcome for outcome in pipeline.run(chunk, Invert(), going=lambda: True)}


def expected(seed: int, weight: Pixels) -> Pixels:
    original = images.decode(photo(seed)).rgb
    return np.where(weight[..., None] == 255, 255 - original, original).astype(np.uint8)


def test_a_mask_is_its_luminance() -> None:
    pixels = np.zeros((16, 20, 3), np.uint8)
    pixels[:, 5:10], pixels[:, 10:15], pixels[:, 15:] = 255, (255, 0, 0), 128
    weight = decode_mask(png(pixels), max_pixels=1000)
    assert weight.dtype == np.uint8
    assert weight.shape == (16, 20)
    assert weight[3, [2, 7, 12, 17]].tolist() == [0, 255, 77, 128]


def test_the_opacity_of_a_mask_is_ignored() -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:, :8, :3] = 255
    assert decode_mask(png(pixels), max_pixels=1000)[0].tolist() == [255] * 8 + [0] * 8


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16"])
def test_masks_may_be_of_any_kind(mode: str) -> None:
    grey = Image.fromarray(HALVES)
    if mode == "I;16":
        grey = Image.fromarray(HALVES.astype(np.uint16) * 257)
    file = io.BytesIO()
    (grey if mode == "I;16" else grey.convert(mode)).save(file, "PNG")
    np.testing.assert_array_equal(decode_mask(file.getvalue(), max_pixels=10_000), HALVES)


def test_a_large_mask_is_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "_MOST_PX", 24)
    assert decode_mask(png(HALVES), max_pixels=10_000).shape == (16, 24)


@pytest.mark.parametrize("size", [(1, 1), (8, 256), (5000, 16), (5000, 1)])
def test_a_mask_may_be_as_thin_as_it_likes(size: tuple[int, int]) -> None:
    width, height = size
    weight = decode_mask(png(np.full((height, width), 200, np.uint8)), max_pixels=100_000)
    assert weight.min() == weight.max() == 200
    assert weight.shape == (max(1, round(height * min(1, 4096 / width))), min(width, 4096))


def test_a_tiny_mask_is_stretched_to_the_photo(pipeline: Pipeline, store: CountingStore) -> None:
    chunk = masked(store, 1, png(np.full((1, 1), 255, np.uint8)))
    assert run(pipeline, chunk)[0].succeeded
    np.testing.assert_array_equal(images.decode(outputs(store, chunk)[0]).rgb, 255 - images.decode(photo(0)).rgb)


def test_a_mask_that_cannot_be_used_has_the_error_of_such_a_photo() -> None:
    with pytest.raises(ImageDecodeError, match="The mask cannot be used: The image is truncated or damaged"):
        decode_mask(png(HALVES)[:-30], max_pixels=10_000)
    with pytest.raises(ImageTooLargeError, match="The mask cannot be used: The image is 48 x 32 pixels"):
        decode_mask(png(HALVES), max_pixels=1000)


def test_the_mask_of_a_chunk_is_fetched_once_and_used_for_each_photo(pipeline: Pipeline, store: CountingStore) -> None:
    chunk = masked(store, 3, png(HALVES))
    assert all(outcome.succeeded for outcome in run(pipeline, chunk).values())
    for index, data in outputs(store, chunk).items():
        np.testing.assert_array_equal(images.decode(data).rgb, expected(index, HALVES))
    assert store.read.count(str(chunk.options.mask)) == 1


def test_a_mask_is_stretched_to_the_photo(pipeline: Pipeline, store: CountingStore) -> None:
    chunk = masked(store, 1, png(np.kron(HALVES, np.ones((3, 2), np.uint8))))
    run(pipeline, chunk)
    result, wanted = images.decode(outputs(store, chunk)[0]).rgb, expected(0, HALVES)
    far = [*range(22), *range(26, 48)]  # from the edge, which is soft
    np.testing.assert_array_equal(result[:, far], wanted[:, far])


def test_a_photo_with_a_mask_of_its_own_needs_no_other(pipeline: Pipeline, store: CountingStore) -> None:
    mirrored = np.ascontiguousarray(HALVES[:, ::-1])
    both = masked(store, 2, png(HALVES), png(mirrored))
    run(pipeline, both)
    results = outputs(store, both)
    np.testing.assert_array_equal(images.decode(results[0]).rgb, expected(0, HALVES))
    np.testing.assert_array_equal(images.decode(results[1]).rgb, expected(1, mirrored))
    own = masked(store, 1, None, png(mirrored))
    assert run(pipeline, own)[0].succeeded
    assert str(own.options.mask) not in store.read


@pytest.mark.parametrize(("data", "code"), [(None, "blob_not_found"), (b"no picture", "image_undecodable")])
def test_a_mask_that_cannot_be_used_fails_the_photos_that_need_it(
    pipeline: Pipeline, store: CountingStore, data: bytes | None, code: str
) -> None:
    chunk = masked(store, 3, data)
    outcomes = run(pipeline, chunk)
    assert [(outcome.error_code, outcome.retryable) for outcome in outcomes.values()] == [(code, False)] * 3
    assert outputs(store, chunk) == {}
    assert store.read == [str(chunk.options.mask)], "no photo is fetched"
    alone = run(pipeline, masked(store, 3, png(HALVES), data))
    assert [alone[index].error_code for index in range(3)] == [None, None, code]


def test_the_same_mask_gives_the_same_bytes(pipeline: Pipeline, store: CountingStore) -> None:
    soft = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (20, 1))
    chunk = masked(store, 2, png(soft), strength=0.6, preserve_color=True)
    first = [(run(pipeline, chunk), outputs(store, chunk))[1] for _ in range(2)]
    assert first[0] == first[1]
