"""Listings on servers that follow the rules, and on servers that do not."""

import random
from collections.abc import Iterator

import pytest

from nst_core.errors import BlobUnavailableError
from nst_core.storage.blobs import BlobStore
from nst_core.storage.listing import Listings
from tests.playing_s3 import PlayingServer, Quirks, playing, uri

KEYS = [f"in/{number:04d} é%+&.jpg" for number in range(25)]


def shuffled(keys: list[str]) -> list[str]:
    return sorted(keys, key=lambda key: random.Random(key).random())


ODD = {
    "as Amazon": Quirks(),
    "short pages": Quirks(page=2),
    "an empty page": Quirks(empty_pages=1),
    "many empty pages": Quirks(empty_pages=20, page=3),
    "StartAfter is included": Quirks(start_after="from"),
    "StartAfter is included, short pages": Quirks(start_after="from", page=1),
    "StartAfter is ignored": Quirks(start_after="ignored"),
    "StartAfter is ignored, short pages": Quirks(start_after="ignored", page=2),
    "StartAfter is ignored, empty pages": Quirks(start_after="ignored", page=2, empty_pages=2),
    "no tokens": Quirks(tokens=False, page=4),
    "no ETags": Quirks(etags=False),
    "no order": Quirks(order=shuffled, page=5),
    "no order, StartAfter is ignored": Quirks(order=shuffled, page=5, start_after="ignored"),
    "a page of its own for each": Quirks(order=lambda keys: sorted(keys, reverse=True), page=1),
}


@pytest.fixture(scope="module")
def one_server() -> Iterator[PlayingServer]:
    with playing() as server:
        yield server


@pytest.fixture
def server(one_server: PlayingServer) -> PlayingServer:
    one_server.reset()
    return one_server


def all_keys(store: BlobStore, *, limit: int, calls: int = 200, restart: bool = False) -> list[str]:
    """List as the planner does: after the last key, until no key comes."""
    found: list[str] = []
    for _ in range(calls):
        page = store.list_keys(uri("in/"), after=found[-1] if found else "", limit=limit)
        if not page:
            return found
        found += page
        if restart:
            store._listings = Listings(store._client)
    raise AssertionError(f"no end after {len(found)} keys")


@pytest.mark.parametrize("limit", [7, 25, 1000])
@pytest.mark.parametrize("quirks", ODD.values(), ids=ODD)
def test_every_key_is_listed_once_and_in_order(server: PlayingServer, quirks: Quirks, limit: int) -> None:
    server.put(*KEYS, "other/a.jpg", "im")
    server.quirks = quirks
    assert all_keys(server.store(), limit=limit) == sorted(KEYS)


@pytest.mark.parametrize("name", ["StartAfter is included", "StartAfter is ignored, short pages", "no order"])
def test_a_listing_continues_after_a_key_after_a_restart(server: PlayingServer, name: str) -> None:
    server.put(*KEYS)
    server.quirks = ODD[name]
    assert all_keys(server.store(), limit=7, restart=True) == sorted(KEYS)


def test_a_prefix_without_objects_has_no_keys(server: PlayingServer) -> None:
    for quirks in ODD.values():
        server.quirks = quirks
        assert server.store().list_keys(uri("in/")) == []


def test_a_server_that_ignores_the_key_is_not_read_from_the_start_for_each_page(server: PlayingServer) -> None:
    server.put(*(f"in/{number:05d}" for number in range(800)))
    server.quirks = Quirks(start_after="ignored", page=10)
    assert len(all_keys(server.store(), limit=10, calls=300)) == 800
    assert server.count("GET") < 3 * 80  # reading from the start each time would give 3,200


def test_endless_empty_pages_hold_a_call_only_for_a_while(server: PlayingServer) -> None:
    server.put(*KEYS)
    server.quirks = Quirks(empty_pages=25)
    listings = Listings(server.store()._client, max_pages=10)
    for calls in (10, 20):
        with pytest.raises(BlobUnavailableError, match="without a new object"):
            listings.list_objects(uri("in/"), after="", limit=1000)
        assert server.count("GET") == calls
    assert list(listings.list_objects(uri("in/"), after="", limit=1000)) == sorted(KEYS)


def test_a_listing_continues_without_a_token_that_the_server_forgot(server: PlayingServer) -> None:
    server.put(*KEYS)
    server.quirks = Quirks(start_after="ignored", page=5)
    store = server.store()
    first = store.list_keys(uri("in/"), limit=5)
    second = store.list_keys(uri("in/"), after=first[-1], limit=5)
    server.issued.clear()
    assert store.list_keys(uri("in/"), after=second[-1], limit=5) == sorted(KEYS)[10:15]


def test_keys_outside_the_prefix_are_left_out(server: PlayingServer) -> None:
    server.put(*KEYS)
    store = server.store()

    class Careless:
        def list_objects_v2(self, *, Prefix: str, **values: object) -> object:
            return store._client.list_objects_v2(Prefix="", **values)

    server.put("a-secret")
    assert list(Listings(Careless()).list_objects(uri("in/"), after="", limit=1000)) == sorted(KEYS)
