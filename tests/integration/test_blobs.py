"""Large objects on a real storage."""

import hashlib
import tempfile

from nst_core.blobs import BlobStore, BlobUri


def test_large_file_goes_out_in_parts_and_comes_back_whole(blobs: BlobStore) -> None:
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
