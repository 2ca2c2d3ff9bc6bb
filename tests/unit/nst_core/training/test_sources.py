"""Photos from a folder and from an S3 prefix: the same names, order and bytes."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from pydantic import SecretStr

from nst_core.errors import BlobAccessError, ConfigError, ImageDecodeError, ImageTooLargeError, StorageIdentityError
from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.training.cache import FileCache
from nst_core.training.sources import MAX_FILE_BYTES, FolderPhotos, SomePhotos
from nst_core.training.stored_photos import Reduction, StoredPhotos
from tests.playing_s3 import PlayingServer, playing
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
def server() -> Iterator[PlayingServer]:
    with playing() as server:
        yield server


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


@pytest.mark.parametrize("refusal", [(403, "AccessDenied"), (403, "InvalidObjectState")])
def test_one_photo_that_the_storage_refuses_is_an_image_error(
    server: PlayingServer, tmp_path: Path, refusal: tuple[int, str]
) -> None:
    server.put("photos/0.jpg", "photos/1.jpg", "photos/2.jpg")
    server.quirks.refuse = lambda call: refusal if call.key == "photos/1.jpg" else None
    source = StoredPhotos(server.store(), BlobUri("nst", "photos/"), cache=FileCache(tmp_path, max_bytes=1000))
    with pytest.raises(ImageDecodeError):
        source.read("1.jpg")
    assert source.read("2.jpg") == b"x"


def test_a_storage_that_refuses_every_photo_is_not_an_image_error(server: PlayingServer, tmp_path: Path) -> None:
    server.put(*(f"photos/{number}.jpg" for number in range(100)))
    server.quirks.refuse = lambda call: (403, "AccessDenied") if call.key else None
    source = StoredPhotos(server.store(), BlobUri("nst", "photos/"), cache=FileCache(tmp_path, max_bytes=1000))
    with pytest.raises(BlobAccessError):
        source.read("1.jpg")
    assert server.count("GET") < 10


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


def test_an_unusable_file_is_unusable_in_a_subset_too() -> None:
    some = SomePhotos(MemoryPhotos({"a.jpg": b"1", "b.jpg": b""}), ["b.jpg", "a.jpg"])
    assert some.read("a.jpg") == b"1"
    with pytest.raises(ImageDecodeError):
        some.read("b.jpg")
