"""The stream of training photos: addressable, complete, random."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nst_core.errors import ConfigError
from nst_core.photos import PhotoStream, epoch_order, list_photos

pytestmark = pytest.mark.usefixtures("one_thread")

COUNT = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven plain photos, each of a grey level of its own, in several sizes, shapes and folders."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "deep").mkdir()
    for i in range(COUNT):
        place = folder / "deep" if i % 2 else folder
        size = [(80, 50), (40, 90), (33, 33)][i % 3]
        Image.new("RGB", size, (i * 30,) * 3).save(place / f"{i}.{('png', 'JPEG', 'webp')[i % 3]}", quality=98)
    (folder / "notes.txt").write_text("no photo")
    return folder


def stream(folder: Path, *, batch_size: int = 3, seed: int = 0) -> PhotoStream:
    return PhotoStream(list_photos(folder), size_px=32, batch_size=batch_size, seed=seed)


def levels(batch: torch.Tensor) -> list[int]:
    """Return which photo each crop of a batch comes from."""
    return [round(float(crop.mean()) * 255 / 30) for crop in batch]


def test_photos_are_listed_in_order_whatever_their_folder(folder: Path) -> None:
    found = list_photos(folder)
    assert len(found) == COUNT
    assert found == sorted(found)


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(ConfigError, match="no photos"):
        list_photos(tmp_path)
    with pytest.raises(ConfigError, match="no photos"):
        list_photos(tmp_path / "missing")


def test_a_batch_has_its_shape_and_range(folder: Path) -> None:
    batch = stream(folder).batch(0)
    assert batch.shape == (3, 3, 32, 32)
    assert batch.dtype == torch.float32
    assert 0 <= batch.min() <= batch.max() <= 1


def test_a_batch_is_the_same_whatever_was_asked_before(folder: Path) -> None:
    first = [stream(folder).batch(step) for step in range(6)]
    other = stream(folder)
    for step in (5, 0, 3, 3, 1, 4, 2):
        assert torch.equal(other.batch(step), first[step])


def test_each_photo_comes_once_an_epoch(folder: Path) -> None:
    photos = stream(folder, batch_size=1)
    for epoch in range(3):
        steps = range(epoch * COUNT, (epoch + 1) * COUNT)
        assert sorted(levels(torch.cat([photos.batch(step) for step in steps]))) == list(range(COUNT))


def test_batches_run_on_over_the_end_of_an_epoch(folder: Path) -> None:
    by_one = stream(folder, batch_size=1)
    batch = stream(folder, batch_size=5).batch(1)  # positions 5 to 9, of which 7 begins the second epoch
    assert torch.equal(batch, torch.cat([by_one.batch(position) for position in range(5, 10)]))


def test_epochs_have_different_orders() -> None:
    orders = {tuple(epoch_order(0, epoch, 20)) for epoch in range(5)}
    assert len(orders) == 5


@given(seed=st.integers(0, 2**32), epoch=st.integers(0, 10**6), count=st.integers(1, 200))
def test_an_epoch_is_a_permutation(seed: int, epoch: int, count: int) -> None:
    assert sorted(epoch_order(seed, epoch, count)) == list(range(count))


def test_another_seed_gives_another_stream(folder: Path) -> None:
    assert not torch.equal(stream(folder, seed=0).batch(0), stream(folder, seed=1).batch(0))


def test_crops_of_a_photo_differ_and_half_of_them_are_mirrored(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 48, axis=0).repeat(3, axis=2)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    crops = stream(tmp_path, batch_size=60).batch(0)
    rising = Counter(bool(crop[0, 0, -1] > crop[0, 0, 0]) for crop in crops)
    assert 15 < rising[True] < 45
    assert len({crop.numpy().tobytes() for crop in crops}) > 50


def test_crops_lie_inside_the_photo(tmp_path: Path) -> None:
    Image.new("RGB", (40, 300), "white").save(tmp_path / "white.png")
    assert stream(tmp_path, batch_size=20).batch(0).min() == 1
