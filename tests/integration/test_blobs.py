"""Large objects on a real storage."""

import hashlib
import tempfile

import pytest

from nst_core.errors import BlobInvalidError
from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri


def test_large_file_is_uploaded_in_parts_and_read_back_whole(blobs: BlobStore) -> None:
    uri, digest = BlobUri("nst", "test_blobs/large.jsonl"), hashlib.sha256()
    with tempfile.TemporaryFile() as file:
        for number in range(20):
            piece = bytes([number]) * (1 << 20)
            digest.update(piece)
            file.write(piece)
        file.seek(0)
        blobs.put_file(uri, file)
    back = hashlib.sha256()
    for piece in blobs.stream(uri):
        back.update(piece)
    assert back.digest() == digest.digest()
    blobs.delete(uri)


def test_listing_is_in_key_order_whatever_the_folders(blobs: BlobStore) -> None:
    prefix = BlobUri("nst", "test_blobs/order/")
    names = [
        "a.jpg",
        "a/b.jpg",
        "a/b/c.jpg",
        "a-b.jpg",
        "a0.jpg",
        "Z.jpg",
        "ä.jpg",
        "\U0001f600.jpg",
        "～.jpg",
        "b c.jpg",
    ]
    for name in names:
        blobs.put(BlobUri("nst", prefix.key + name), b"x")
    assert blobs.list_keys(prefix) == sorted(prefix.key + name for name in names)
    found: list[str] = []
    while page := blobs.list_keys(prefix, after=found[-1] if found else "", limit=3):
        found += page
    assert found == sorted(prefix.key + name for name in names)


def test_object_and_folder_with_the_same_name_are_refused_with_a_reason(s3_server: StorageSettings) -> None:
    blobs = BlobStore(s3_server, patient=False)
    blobs.ensure_bucket()
    blobs.put(BlobUri("nst", "test_blobs/same/a.jpg"), b"x")
    with pytest.raises(BlobInvalidError, match="is an object, and cannot"):
        blobs.put(BlobUri("nst", "test_blobs/same/a.jpg/b.jpg"), b"x")
    blobs.put(BlobUri("nst", "test_blobs/same/c/d.jpg"), b"x")
    with pytest.raises(BlobInvalidError, match="a folder of that name"):
        blobs.put(BlobUri("nst", "test_blobs/same/c"), b"x")
    with pytest.raises(BlobInvalidError, match="255 bytes"):
        blobs.put(BlobUri("nst", f"test_blobs/same/{'x' * 300}"), b"x")
