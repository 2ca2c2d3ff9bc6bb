"""Objects from servers that leave out headers, compress answers, or break off."""

import io
import time
from collections.abc import Iterator
from typing import Any

import pytest

from nst_core.errors import (
    BlobConflictError,
    BlobInvalidError,
    BlobReplacedError,
    BlobTooLargeError,
    BlobUnavailableError,
)
from nst_core.storage.blobs import BlobUri
from tests.playing_s3 import PlayingServer, Quirks, playing, uri

DATA = bytes(range(256)) * 20_000
ODD = {
    "as Amazon": Quirks(),
    "no length": Quirks(content_length=False),
    "no ETag": Quirks(etags=False),
    "compressed": Quirks(zipped=True),
    "compressed, no length": Quirks(zipped=True, content_length=False),
}


@pytest.fixture(scope="module")
def one_server() -> Iterator[PlayingServer]:
    with playing() as server:
        yield server


@pytest.fixture
def server(one_server: PlayingServer) -> PlayingServer:
    one_server.reset()
    one_server.put("photo.jpg", data=DATA)
    return one_server


@pytest.mark.parametrize("quirks", ODD.values(), ids=ODD)
def test_an_object_is_read_with_any_headers(server: PlayingServer, quirks: Quirks) -> None:
    server.quirks = quirks
    store = server.store()
    assert store.get(uri("photo.jpg")) == DATA
    assert store.get(uri("photo.jpg"), max_bytes=len(DATA)) == DATA
    assert b"".join(store.stream(uri("photo.jpg"))) == DATA
    assert b"".join(store.stream(uri("photo.jpg"), nbytes=len(DATA))) == DATA
    assert b"\n".join(store.lines(uri("photo.jpg"))) == DATA


@pytest.mark.parametrize("quirks", ODD.values(), ids=ODD)
def test_no_more_than_the_limit_is_read(server: PlayingServer, quirks: Quirks) -> None:
    server.quirks = quirks
    server.put("bomb", data=bytes(50_000_000))
    with pytest.raises(BlobTooLargeError, match="5,000,000"):
        server.store().get(uri("bomb"), max_bytes=5_000_000)


@pytest.mark.parametrize("quirks", ODD.values(), ids=ODD)
@pytest.mark.parametrize("more", [-1, 1])
def test_an_object_with_another_size_is_not_the_same_object(server: PlayingServer, quirks: Quirks, more: int) -> None:
    server.quirks = quirks
    with pytest.raises(BlobReplacedError):
        b"".join(server.store().stream(uri("photo.jpg"), nbytes=len(DATA) + more))


@pytest.mark.parametrize("cuts", [1, 2])
def test_a_download_that_breaks_off_is_started_again(server: PlayingServer, cuts: int) -> None:
    server.quirks.cut_gets = cuts
    assert server.store().get(uri("photo.jpg")) == DATA
    assert server.count("GET") == cuts + 1


def test_a_download_that_always_breaks_off_is_given_up(server: PlayingServer) -> None:
    server.quirks.cut_gets = 10
    with pytest.raises(BlobUnavailableError):
        server.store().get(uri("photo.jpg"))
    assert server.count("GET") == 3


def test_an_object_that_had_to_wait_for_room_is_opened_again(
    server: PlayingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the server may have closed the connection, since nobody read from it."""
    monkeypatch.setattr("nst_core.storage.blobs._UNREAD_S", 0.2)
    waits, sizes = [0.3, 0.0], list[int]()

    def wait_for_room(size: int) -> None:
        sizes.append(size)
        time.sleep(waits.pop(0))

    assert server.store().get(uri("photo.jpg"), on_size=wait_for_room) == DATA
    assert sizes == [len(DATA)] * 2
    assert server.count("GET") == 2


def test_an_object_without_room_is_closed(server: PlayingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = list[bool]()

    def refuse(size: int) -> None:
        raise InterruptedError

    store = server.store()
    opened = store._open

    def watched(address: BlobUri) -> Any:
        answer = opened(address)
        answer["Body"].close = lambda: closed.append(True)
        return answer

    monkeypatch.setattr(store, "_open", watched)
    with pytest.raises(InterruptedError):
        store.get(uri("photo.jpg"), on_size=refuse)
    with pytest.raises(BlobTooLargeError):
        store.get(uri("photo.jpg"), max_bytes=5)
    assert closed == [True, True]


def test_a_conditional_write_respects_the_existing_object(server: PlayingServer) -> None:
    store = server.store()
    store.put_if(uri("new"), b"1", tag=None, content_type="text/plain")
    with pytest.raises(BlobConflictError):
        store.put_if(uri("new"), b"2", tag=None, content_type="text/plain")
    tag = store.tag(uri("new"))
    store.put_if(uri("new"), b"3", tag=tag, content_type="text/plain")
    with pytest.raises(BlobConflictError):
        store.put_if(uri("new"), b"4", tag=tag, content_type="text/plain")
    assert store.get(uri("new")) == b"3"


def test_the_server_is_asked_before_a_large_body_only(server: PlayingServer) -> None:
    store = server.store()
    for size, asked in ((0, False), (256 << 10, False), (300 << 10, True)):
        store.put(uri("new"), bytes(size))
        assert ("expect" in server.calls[-1].headers) == asked
        store.put_file(uri("new"), io.BytesIO(bytes(size)))
        assert ("expect" in server.calls[-1].headers) == asked
        assert store.size(uri("new")) == size


def test_a_write_error_that_does_not_concern_the_key_is_retryable(server: PlayingServer) -> None:
    server.quirks.refuse = lambda call: (500, "InternalError") if call.method == "PUT" else None
    with pytest.raises(BlobUnavailableError):
        server.store(patient=False).put(uri("out/photo.jpg"), b"x")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("photo.jpg/inside.jpg", "is an object"),
        ("photo.jpg/deep/inside.jpg", "is an object"),
        ("folder", "a folder of that name"),
        ("out/" + "ä" * 128 + ".jpg", "more than 255 bytes"),
    ],
)
def test_the_error_names_a_key_that_a_file_server_cannot_store(server: PlayingServer, key: str, reason: str) -> None:
    server.put("folder/photo.jpg")
    server.quirks.refuse = lambda call: (500, "InternalError") if call.method == "PUT" else None
    with pytest.raises(BlobInvalidError, match=reason):
        server.store(patient=False).put(uri(key), b"x")
