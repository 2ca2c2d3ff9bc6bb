"""The bytes of objects as they come and go."""

import gzip
import io
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from nst_core.errors import BlobInvalidError, BlobTooLargeError, BlobUnavailableError
from nst_core.storage.blobs import BlobStore
from tests.playing_s3 import PlayingServer, Quirks, playing, uri
from tests.unit.nst_core.storage.test_blobs import DATA, ODD


@pytest.fixture(scope="module")
def one_server() -> Iterator[PlayingServer]:
    with playing() as server:
        yield server


@pytest.fixture
def server(one_server: PlayingServer) -> PlayingServer:
    one_server.reset()
    one_server.put("photo.jpg", data=DATA)
    return one_server


def marked_as_gzip(server: PlayingServer) -> BlobStore:
    """Return a store whose objects have the header of compressed ones, whatever they are."""
    store = server.store()
    answer = store._client.get_object

    def lying(**values: object) -> object:
        return {**answer(**values), "ContentEncoding": "gzip"}

    class Client:
        get_object = staticmethod(lying)

    store._client = Client()
    return store


def test_an_uncompressed_object_with_a_compression_header_is_read_unchanged(server: PlayingServer) -> None:
    assert marked_as_gzip(server).get(uri("photo.jpg")) == DATA


@pytest.mark.parametrize("padding", [b"", bytes(3), bytes(3_000_000)])
def test_all_members_of_a_compressed_object_are_read(server: PlayingServer, padding: bytes) -> None:
    parts = [b"first\n", b"", DATA, b"last\n"]
    server.put("many", data=b"".join(gzip.compress(part) + padding for part in parts))
    assert marked_as_gzip(server).get(uri("many")) == b"".join(parts)
    assert b"\n".join(marked_as_gzip(server).lines(uri("many"))) == b"".join(parts)[:-1]


def test_many_tiny_members_take_a_time_in_proportion_to_their_number(server: PlayingServer) -> None:
    began = time.process_time()
    one_s = 0.0
    for count in (20_000, 200_000):
        server.put("tiny", data=gzip.compress(b"x") * count)
        began = time.process_time()
        assert sum(map(len, marked_as_gzip(server).stream(uri("tiny")))) == count
        took_s = time.process_time() - began
        one_s = one_s or took_s
    assert took_s < 30 * one_s


@pytest.mark.parametrize("end", [b"garbage", bytes(5) + b"garbage", b"\x1f\x8b\xff garbage, not a member"])
def test_garbage_after_a_member_is_an_error(server: PlayingServer, end: bytes) -> None:
    server.put("garbage", data=gzip.compress(DATA) + end)
    with pytest.raises(BlobInvalidError, match="cannot be decompressed"):
        marked_as_gzip(server).get(uri("garbage"))


def test_a_member_that_is_cut_off_is_an_error(server: PlayingServer) -> None:
    server.put("cut", data=gzip.compress(DATA) + gzip.compress(DATA)[:-1])
    with pytest.raises(BlobUnavailableError, match="only the beginning"):
        marked_as_gzip(server).get(uri("cut"))


def test_the_limit_is_that_of_all_members_together(server: PlayingServer) -> None:
    server.put("bombs", data=gzip.compress(bytes(3_000_000)) * 2)
    with pytest.raises(BlobTooLargeError, match="5,000,000"):
        marked_as_gzip(server).get(uri("bombs"), max_bytes=5_000_000)


@pytest.mark.parametrize("quirks", ODD.values(), ids=ODD)
def test_each_piece_of_a_large_object_is_told(server: PlayingServer, quirks: Quirks) -> None:
    server.quirks = quirks
    store, pieces = server.store(), list[None]()

    def tell() -> None:
        pieces.append(None)

    assert store.get(uri("photo.jpg"), on_piece=tell) == DATA
    assert len(pieces) >= len(DATA) // (1 << 20)
    writes: list[Callable[[], None]] = [
        lambda: store.put(uri("new"), DATA, on_piece=tell),
        lambda: store.put_if(uri("newer"), DATA, tag=None, content_type="image/png", on_piece=tell),
        lambda: store.put_file(uri("newest"), io.BytesIO(DATA), on_piece=tell),
    ]
    for write in writes:
        pieces.clear()
        write()
        assert len(pieces) > 3
    assert all(server.objects["nst", key] == DATA for key in ("new", "newer", "newest"))


def test_an_upload_that_is_refused_once_is_sent_again_as_a_whole(server: PlayingServer) -> None:
    refusals = [(503, "SlowDown")]
    server.quirks.refuse = lambda call: refusals.pop() if refusals and call.method == "PUT" else None
    server.store().put(uri("new"), DATA, on_piece=lambda: None)
    assert server.objects["nst", "new"] == DATA


def test_a_large_object_is_read_without_a_copy(server: PlayingServer) -> None:
    server.put("large", data=bytes(64 << 20))
    store = server.store()
    tracemalloc.start()
    assert len(store.get(uri("large"))) == 64 << 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20
