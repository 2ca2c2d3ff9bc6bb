"""The stream of training photos: any position can be read, epochs are complete and random, bad files are skipped."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nst_core.errors import BlobUnavailableError, ConfigError, ImageError
from nst_core.training.photos import PhotoStream, decode_photo, epoch_order, reduce_photo
from nst_core.training.sources import FEW_PHOTOS
from tests.unit.nst_core.training.kit import MemoryPhotos, encoded

pytestmark = pytest.mark.usefixtures("one_thread")

COUNT = 7


def levelled(number: int) -> bytes:
    """Return a plain photo with its own grey level, in one of several sizes, shapes and formats."""
    size = [(80, 50), (40, 90), (33, 33)][number % 3]
    return encoded(Image.new("RGB", size, (number * 30,) * 3), ("PNG", "JPEG", "WEBP")[number % 3], quality=98)


FILES = {f"{number}.photo": levelled(number) for number in range(COUNT)}
BAD = {
    "empty.jpg": b"",
    "text.jpg": b"This is no picture.\n" * 20,
    "tiny.png": encoded(Image.new("RGB", (15, 40))),
    "truncated.jpg": FILES["1.photo"][: len(FILES["1.photo"]) // 2],
    "tiny_panorama.png": encoded(Image.new("RGB", (600, 15))),
}


def stream(
    files: dict[str, bytes] | MemoryPhotos = FILES, *, batch_size: int = 3, seed: int = 0, crops: int = 1
) -> PhotoStream:
    source = files if isinstance(files, MemoryPhotos) else MemoryPhotos(files)
    return PhotoStream(source, size_px=32, batch_size=batch_size, seed=seed, crops_per_photo=crops)


def levels(batch: torch.Tensor) -> list[int]:
    """Return which photo each crop of a batch comes from."""
    return [round(float(crop.mean()) * 255 / 30) for crop in batch]


def test_a_batch_has_its_shape_and_range() -> None:
    batch = stream().batch(0)
    assert batch.shape == (3, 3, 32, 32)
    assert batch.dtype == torch.float32
    assert 0 <= batch.min() <= batch.max() <= 1


def test_a_batch_does_not_depend_on_earlier_requests() -> None:
    first = [stream().batch(step) for step in range(6)]
    other = stream()
    for step in (5, 0, 3, 3, 1, 4, 2):
        assert torch.equal(other.batch(step), first[step])


def test_each_photo_comes_once_an_epoch() -> None:
    photos = stream(batch_size=1)
    for epoch in range(3):
        steps = range(epoch * COUNT, (epoch + 1) * COUNT)
        assert sorted(levels(torch.cat([photos.batch(step) for step in steps]))) == list(range(COUNT))


def test_batches_continue_over_the_end_of_an_epoch() -> None:
    by_one = stream(batch_size=1)
    batch = stream(batch_size=5).batch(1)  # positions 5 to 9, of which 7 begins the second epoch
    assert torch.equal(batch, torch.cat([by_one.batch(position) for position in range(5, 10)]))


def test_epochs_have_different_orders() -> None:
    orders = {tuple(epoch_order(0, epoch, 20)) for epoch in range(5)}
    assert len(orders) == 5


@given(seed=st.integers(0, 2**32), epoch=st.integers(0, 10**6), count=st.integers(1, 200))
def test_an_epoch_is_a_permutation(seed: int, epoch: int, count: int) -> None:
    assert sorted(epoch_order(seed, epoch, count)) == list(range(count))


def test_another_seed_gives_another_stream() -> None:
    assert not torch.equal(stream(seed=0).batch(0), stream(seed=1).batch(0))


def test_crops_of_a_photo_differ_and_half_of_them_are_mirrored() -> None:
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 48, axis=0).repeat(3, axis=2)
    crops = stream({"ramp": encoded(Image.fromarray(ramp))}, batch_size=60).batch(0)
    rising = Counter(bool(crop[0, 0, -1] > crop[0, 0, 0]) for crop in crops)
    assert 15 < rising[True] < 45
    assert len({crop.numpy().tobytes() for crop in crops}) > 50


def test_crops_lie_inside_the_photo() -> None:
    assert stream({"white": encoded(Image.new("RGB", (40, 300), "white"))}, batch_size=20).batch(0).min() == 1


def test_several_crops_of_a_photo_come_one_after_another_and_read_it_once() -> None:
    source = MemoryPhotos(FILES)
    batch = stream(source, batch_size=3 * COUNT, crops=3).batch(0)
    found = levels(batch)
    assert [found[i] for i in range(0, 3 * COUNT, 3)] == levels(stream(batch_size=COUNT).batch(0))
    assert all(len(set(found[i : i + 3])) == 1 for i in range(0, 3 * COUNT, 3))
    assert Counter(source.reads) == dict.fromkeys(FILES, 1)


def test_several_crops_of_a_photo_are_different_crops() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    batch = stream({"noise": encoded(Image.fromarray(noise))}, batch_size=4, crops=4).batch(0)
    assert len({crop.numpy().tobytes() for crop in batch}) == 4


def test_a_batch_may_end_between_two_crops_of_a_photo() -> None:
    by_one = stream(batch_size=1, crops=3)
    batch = stream(batch_size=4, crops=3).batch(1)
    assert torch.equal(batch, torch.cat([by_one.batch(position) for position in range(4, 8)]))


def test_bad_files_are_reported_and_replaced_by_the_next_good_one() -> None:
    files = FILES | BAD
    photos = stream(files, batch_size=len(files))
    found = levels(photos.batch(0))
    assert set(photos.skipped) == set(BAD)
    assert photos.skipped["empty.jpg"] == "The file cannot be read."
    assert "truncated" in photos.skipped["truncated.jpg"]
    assert "15 x 40" in photos.skipped["tiny.png"]
    names = sorted(files)
    order = [names[i] for i in epoch_order(0, 0, len(files))]
    for position, name in enumerate(order):
        rest = [*order[position:], *order]
        standing_in = next(each for each in rest if each not in BAD)
        assert found[position] == int(standing_in[0]), name


def test_skipping_does_not_depend_on_earlier_requests() -> None:
    files = FILES | BAD
    expected = [stream(files).batch(step) for step in range(8)]  # each detects the bad files again
    other = stream(files)
    with ThreadPoolExecutor(4) as pool:
        for step, batch in enumerate(pool.map(other.batch, range(8))):
            assert torch.equal(batch, expected[step])


def test_a_bad_file_is_read_once() -> None:
    source = MemoryPhotos(FILES | BAD)
    photos = stream(source, batch_size=len(source.files))
    for step in range(3):
        photos.batch(step)
    reads = Counter(source.reads)
    assert all(reads[name] == 1 for name in BAD)


def test_photos_that_are_all_unusable_are_an_error_that_names_some() -> None:
    with pytest.raises(ConfigError, match=r"None of the 5 photos can be used \(.*: The .*\)"):
        stream(BAD).batch(0)


def test_a_storage_that_does_not_answer_is_not_a_bad_photo() -> None:
    class Silent(MemoryPhotos):
        def read(self, name: str) -> bytes:
            raise BlobUnavailableError("The storage did not answer.")

    photos = stream(Silent(FILES))
    with pytest.raises(BlobUnavailableError):
        photos.batch(0)
    assert photos.skipped == {}


def test_few_photos_give_a_warning() -> None:
    many = stream(MemoryPhotos({f"{number}": b"" for number in range(FEW_PHOTOS)}))
    assert many.warning is None
    many.skipped["0"] = "The image is empty."
    assert "only 99 photos" in str(many.warning)
    assert "only 7 photos" in str(stream().warning)


def test_a_stream_describes_its_photos_by_their_names() -> None:
    assert stream().describe()["count"] == COUNT
    assert stream().describe() == stream(seed=5).describe()
    assert stream().describe() != stream(FILES | {"another": b""}).describe()


def test_large_photos_are_as_sharp_as_small_ones_of_any_shape() -> None:
    """Thin stripes stay visible in a long photo, which was first reduced by its longer side."""
    tall = np.zeros((52, 2000, 3), np.uint8)
    tall[::4] = tall[1::4] = 255
    batch = stream({"long": encoded(Image.fromarray(tall))}, batch_size=8).batch(0)
    assert float(batch.std()) > 0.2


def test_photos_are_turned_upright_and_grey_ones_become_rgb() -> None:
    half = Image.new("L", (64, 32))
    half.paste(255, (0, 0, 64, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    batch = stream({"turned": encoded(half, "JPEG", exif=exif)}, batch_size=8).batch(0)
    assert torch.allclose(batch[:, 0], batch[:, 1])
    assert float((batch.mean(2).max(2).values - batch.mean(2).min(2).values).max()) > 0.9  # light next to dark


def test_a_panorama_is_reduced_to_what_crops_need() -> None:
    """Its file would be as large as the photo, and each crop would decode it."""
    rgb = decode_photo(noisy(3000, 600, "PNG"), size_px=32, zoom=1.6)
    assert rgb.shape == (52, 260, 3)
    assert len(reduce_photo(noisy(3000, 600, "JPEG"), size_px=32, zoom=1.6)) == 54 + 52 * 260 * 3


@pytest.mark.parametrize("width", [*range(198, 216), 240, 2001])
def test_a_reduced_photo_of_about_two_to_one_is_decoded_to_the_same_pixels(width: int) -> None:
    data = noisy(width, 100, "PNG")
    direct, reduced = (
        decode_photo(each, size_px=32, zoom=1.6) for each in (data, reduce_photo(data, size_px=32, zoom=1.6))
    )
    np.testing.assert_array_equal(direct, reduced)


def noisy(width: int, height: int, kind: str) -> bytes:
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encoded(Image.fromarray(noise), kind)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("width", "height"), [(400, 300), (300, 1200), (60, 40)])
def test_a_reduced_photo_gives_the_same_crops(kind: str, width: int, height: int) -> None:
    data = noisy(width, height, kind)
    reduced = reduce_photo(data, size_px=32, zoom=1.6)
    assert len(reduced) <= len(data)
    for step in range(4):
        assert torch.equal(stream({"a": reduced}).batch(step), stream({"a": data}).batch(step))


def test_only_large_photos_are_reduced() -> None:
    large, small = noisy(400, 300, "JPEG"), noisy(60, 40, "WEBP")
    assert len(reduce_photo(large, size_px=32, zoom=1.6)) < len(large) / 3
    assert reduce_photo(small, size_px=32, zoom=1.6) == small


@pytest.mark.parametrize("name", sorted(BAD))
def test_an_unusable_photo_cannot_be_reduced(name: str) -> None:
    with pytest.raises(ImageError):
        reduce_photo(BAD[name], size_px=32, zoom=1.6)
