"""Photos of a folder and of an S3 prefix: the same names in the same order, the same bytes."""

from itertools import count
from pathlib import Path

import pytest
from pydantic import SecretStr

from nst_core.blobs import BlobStore, BlobUri
from nst_core.errors import BlobAccessError, ConfigError, ImageDecodeError, ImageTooLargeError
from nst_core.settings import StorageSettings
from nst_core.training.cache import FileCache
from nst_core.training.sources import MAX_FILE_BYTES, FolderPhotos, StoredPhotos

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


def test_a_folder_gives_its_photos_by_their_path_in_it(folder: Path) -> None:
    source = FolderPhotos(folder)
    assert sorted(source.names) == sorted(PHOTOS)
    assert source.names == FolderPhotos(folder).names
    assert {name: source.read(name) for name in source.names} == PHOTOS


def test_a_folder_has_the_same_names_wherever_it_is(folder: Path) -> None:
    names = FolderPhotos(folder).names
    moved = folder.rename(folder.with_name("elsewhere"))
    assert FolderPhotos(moved).names == names


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match="no photos"):
            FolderPhotos(folder)


def test_a_file_that_is_gone_or_huge_is_an_image_error(folder: Path) -> None:
    source = FolderPhotos(folder)
    (folder / "b.jpg").unlink()
    with pytest.raises(ImageDecodeError, match="No such file"):
        source.read("b.jpg")
    (folder / "b.jpg").mkdir()
    with pytest.raises(ImageDecodeError, match="directory"):
        source.read("b.jpg")
    with open(folder / "a.webp", "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # a hole, which takes no room
    with pytest.raises(ImageTooLargeError):
        source.read("a.webp")


def test_a_prefix_gives_its_photos_by_the_rest_of_their_keys(blobs: BlobStore, prefix: BlobUri, tmp_path: Path) -> None:
    source = StoredPhotos(blobs, prefix, cache=FileCache(tmp_path, max_bytes=1000))
    assert list(source.names) == sorted(PHOTOS)
    assert {name: source.read(name) for name in source.names} == PHOTOS


def test_an_object_is_fetched_once(blobs: BlobStore, prefix: BlobUri, tmp_path: Path) -> None:
    source = StoredPhotos(blobs, prefix, cache=FileCache(tmp_path, max_bytes=1000))
    source.read("b.jpg")
    blobs.put(BlobUri(prefix.bucket, prefix.key + "b.jpg"), b"changed")
    assert source.read("b.jpg") == b"1"
    elsewhere = StoredPhotos(blobs, prefix, cache=FileCache(tmp_path / "other", max_bytes=1000))
    assert elsewhere.read("b.jpg") == b"changed"


def test_a_prefix_without_photos_is_refused(blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no photos"):
        StoredPhotos(blobs, BlobUri(blobs.bucket, "nothing/here/"), cache=FileCache(tmp_path, max_bytes=1))


def test_an_object_that_is_gone_is_an_image_error(blobs: BlobStore, prefix: BlobUri, tmp_path: Path) -> None:
    source = StoredPhotos(blobs, prefix, cache=FileCache(tmp_path, max_bytes=1000))
    with pytest.raises(ImageDecodeError, match="no object"):
        source.read("gone.jpg")


def test_a_storage_that_refuses_is_no_image_error(s3_server: StorageSettings, blobs: BlobStore, tmp_path: Path) -> None:
    stranger = BlobStore(s3_server.model_copy(update={"s3_access_key": SecretStr("somebody")}))
    with pytest.raises(BlobAccessError):
        StoredPhotos(stranger, BlobUri(blobs.bucket, "photos/"), cache=FileCache(tmp_path, max_bytes=1000))
