"""Photos from a folder and from an S3 prefix: the same names, order and bytes."""

from itertools import count
from pathlib import Path

import pytest
from pydantic import SecretStr

from nst_core.errors import ConfigError, ImageDecodeError, ImageTooLargeError, StorageIdentityError
from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.training.cache import FileCache
from nst_core.training.sources import (
    MAX_FILE_BYTES,
    FolderPhotos,
    Reduction,
    SomePhotos,
    StoredPhotos,
    split_photos,
)
from tests.unit.nst_core.training.kit import MemoryPhotos

FILES = {"b.jpg": b"1", "a/deep/c.PNG": b"22", "a.webp": b"333", "a/x.tiff": b"4444", "notes.txt": b"no photo"}
PHOTOS = {name: data for name, data in FILES.items() if name != "notes.txt"}
_numbers = count()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "photos"


@pytest.fixture
def prefix(blobs: BlobStore) -> BlobUri:
    """A prefix in storage with the files."""
    prefix = BlobUri(blobs.bucket, f"sources{next(_numbers)}/photos/")
    for name, data in FILES.items():
        blobs.put(BlobUri(prefix.bucket, prefix.key + name), data)
    return prefix


def test_a_folder_lists_its_photos_by_relative_path(folder: Path) -> None:
    source = FolderPhotos(folder)
    assert sorted(source.names) == sorted(PHOTOS)
    assert source.names == FolderPhotos(folder).names
    assert {name: source.read(name) for name in source.names} == PHOTOS


def test_the_names_do_not_depend_on_the_place_of_the_folder(folder: Path) -> None:
    names = FolderPhotos(folder).names
    moved = folder.rename(folder.with_name("elsewhere"))
    assert FolderPhotos(moved).names == names


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match="no photos"):
            FolderPhotos(folder)


def test_a_missing_or_huge_file_is_an_image_error(folder: Path) -> None:
    source = FolderPhotos(folder)
    (folder / "b.jpg").unlink()
    with pytest.raises(ImageDecodeError, match="No such file"):
        source.read("b.jpg")
    (folder / "b.jpg").mkdir()
    with pytest.raises(ImageDecodeError, match="directory"):
        source.read("b.jpg")
    with open(folder / "a.webp", "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # a sparse file, which needs no space
    with pytest.raises(ImageTooLargeError):
        source.read("a.webp")


def test_a_prefix_lists_its_photos_by_the_rest_of_their_keys(blobs: BlobStore, prefix: BlobUri, tmp_path: Path) -> None:
    source = StoredPhotos(blobs, prefix, cache=FileCache(tmp_path, max_bytes=1000))
    assert list(source.names) == sorted(PHOTOS)
    assert {name: source.read(name) for name in source.names} == PHOTOS


def test_an_object_is_fetched_once(blobs: BlobStore, prefix: BlobUri, tmp_path: Path) -> None:
    source = StoredPhotos(blobs, prefix, cache=FileCache(tmp_path, max_bytes=1000))
    source.read("b.jpg")
    blobs.put(BlobUri(prefix.bucket, prefix.key + "b.jpg"), b"changed")
    assert source.read("b.jpg") == b"1"


def test_a_photo_that_was_replaced_is_not_taken_from_the_cache(
    blobs: BlobStore, prefix: BlobUri, tmp_path: Path
) -> None:
    cache = FileCache(tmp_path, max_bytes=1000)
    StoredPhotos(blobs, prefix, cache=cache).read("b.jpg")
    blobs.put(BlobUri(prefix.bucket, prefix.key + "b.jpg"), b"2")
    assert StoredPhotos(blobs, prefix, cache=cache).read("b.jpg") == b"2"


def test_a_prefix_without_photos_is_refused(blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no photos"):
        StoredPhotos(blobs, BlobUri(blobs.bucket, "nothing/here/"), cache=FileCache(tmp_path, max_bytes=1))


def test_a_missing_object_is_an_image_error(blobs: BlobStore, prefix: BlobUri, tmp_path: Path) -> None:
    source = StoredPhotos(blobs, prefix, cache=FileCache(tmp_path, max_bytes=1000))
    with pytest.raises(ImageDecodeError, match="no object"):
        source.read("gone.jpg")


def test_a_storage_that_refuses_is_not_an_image_error(
    s3_server: StorageSettings, blobs: BlobStore, tmp_path: Path
) -> None:
    stranger = BlobStore(s3_server.model_copy(update={"s3_access_key": SecretStr("somebody")}))
    with pytest.raises(StorageIdentityError):
        StoredPhotos(stranger, BlobUri(blobs.bucket, "photos/"), cache=FileCache(tmp_path, max_bytes=1000))


def test_results_of_different_reductions_are_kept_separately(blobs: BlobStore, prefix: BlobUri, tmp_path: Path) -> None:
    cache = FileCache(tmp_path, max_bytes=1000)
    plain = StoredPhotos(blobs, prefix, cache=cache)
    doubled = StoredPhotos(blobs, prefix, cache=cache, reduction=Reduction(name="twice", make=lambda data: 2 * data))
    for _ in range(2):
        assert (plain.read("a.webp"), doubled.read("a.webp")) == (b"333", b"333333")


def test_a_photo_that_cannot_be_reduced_is_not_kept(blobs: BlobStore, prefix: BlobUri, tmp_path: Path) -> None:
    def make(data: bytes) -> bytes:
        if data == b"1":
            raise ImageDecodeError("no picture")
        return data

    cache = FileCache(tmp_path, max_bytes=1000)
    source = StoredPhotos(blobs, prefix, cache=cache, reduction=Reduction(name="strict", make=make))
    with pytest.raises(ImageDecodeError):
        source.read("b.jpg")
    blobs.put(BlobUri(prefix.bucket, prefix.key + "b.jpg"), b"good")
    assert source.read("b.jpg") == b"good"


def test_photos_are_split_by_the_seed_and_each_is_on_one_side(folder: Path) -> None:
    source = FolderPhotos(folder)
    training, held_out = split_photos(source, 1, seed=3)
    assert held_out is not None
    assert len(held_out.names) == 1
    assert sorted([*training.names, *held_out.names]) == sorted(source.names)
    assert held_out.read(held_out.names[0]) == source.read(held_out.names[0])
    again = split_photos(source, 1, seed=3)[1]
    assert again is not None
    assert again.names == held_out.names
    drawn = {tuple(split[1].names) for seed in range(20) if (split := split_photos(source, 1, seed=seed))[1]}
    assert len(drawn) > 1


def test_at_least_half_of_the_photos_are_trained_on(folder: Path) -> None:
    source = FolderPhotos(folder)
    training, held_out = split_photos(source, 100, seed=0)
    assert held_out is not None
    assert (len(training.names), len(held_out.names)) == (2, 2)
    assert split_photos(source, 0, seed=0) == (source, None)


@pytest.mark.parametrize(("photos", "count", "held"), [(100, 16, 16), (31, 16, 15), (3, 2, 1), (1, 16, 0), (9, -1, 0)])
def test_photos_are_split_without_loss_and_in_order(photos: int, count: int, held: int) -> None:
    source = MemoryPhotos({f"{number:03d}.jpg": b"%d" % number for number in range(photos)})
    training, held_out = split_photos(source, count, seed=0)
    parts = [training] if held_out is None else [training, held_out]
    assert [len(part.names) for part in parts] == [photos - held, held][: len(parts)]
    assert sorted(name for part in parts for name in part.names) == source.names
    for part in parts:
        assert list(part.names) == sorted(part.names)
        assert [part.read(name) for name in part.names] == [source.files[name] for name in part.names]


def test_an_unusable_file_is_unusable_in_a_subset_too() -> None:
    some = SomePhotos(MemoryPhotos({"a.jpg": b"1", "b.jpg": b""}), ["b.jpg", "a.jpg"])
    assert some.read("a.jpg") == b"1"
    with pytest.raises(ImageDecodeError):
        some.read("b.jpg")
