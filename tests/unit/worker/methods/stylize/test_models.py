"""Tests of worker.methods.stylize.models."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

import pytest

from nst_core.errors import BlobNotFoundError, WeightsError
from nst_core.storage.blobs import BlobStore, BlobUri
from tests.unit.worker.kit import WAIT_S
from worker.methods.stylize.models import ModelCache


@dataclass(frozen=True, eq=False)
class Network:
    """A network that is as large as its file."""

    data: bytes

    @property
    def nbytes(self) -> int:
        return len(self.data)


@pytest.fixture
def store(blobs: BlobStore) -> Callable[[bytes], tuple[str, str]]:
    """Return a function that puts a weights file into storage and returns its version and address."""

    def put(data: bytes) -> tuple[str, str]:
        version = hashlib.sha256(data).hexdigest()
        uri = BlobUri(blobs.bucket, f"models/{version}")
        blobs.put(uri, data)
        return version, str(uri)

    return put


Store = Callable[[bytes], tuple[str, str]]


def test_a_version_is_loaded_once(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=100)
    style = store(b"one")
    model = cache.get(*style)
    assert model.data == b"one"
    assert cache.get(*style) is model


def test_two_threads_that_want_one_version_load_it_once(blobs: BlobStore, store: Store) -> None:
    begun, release, builds = Event(), Event(), []

    def build(data: bytes) -> Network:
        builds.append(data)
        begun.set()
        assert release.wait(WAIT_S)
        return Network(data)

    cache = ModelCache(blobs, build, capacity_bytes=100)
    style = store(b"one")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.get, *style)
        assert begun.wait(WAIT_S)
        second = threads.submit(cache.get, *style)
        release.set()
        assert first.result(WAIT_S) is second.result(WAIT_S)
    assert builds == [b"one"]


def test_the_least_recently_used_networks_go_once_the_bytes_are_too_many(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=10)
    a, b, c = store(b"aaaa"), store(b"bbbb"), store(b"cccc")
    model_a, model_b = cache.get(*a), cache.get(*b)
    assert cache.get(*a) is model_a  # now b was used longest ago
    cache.get(*c)
    assert cache.get(*a) is model_a
    assert cache.get(*b) is not model_b


def test_a_network_larger_than_the_cache_is_kept_until_the_next(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=3)
    large, small = store(b"large"), store(b"s")
    model = cache.get(*large)
    assert cache.get(*large) is model
    cache.get(*small)
    assert cache.get(*large) is not model


def test_weights_of_another_digest_are_refused_and_not_kept(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=10)
    version, _ = store(b"right")
    _, wrong = store(b"wrong")
    with pytest.raises(WeightsError, match="is not version"):
        cache.get(version, wrong)
    assert cache.get(*store(b"right")).data == b"right"


def test_a_missing_weights_file_is_asked_for_again_the_next_time(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=10)
    version = hashlib.sha256(b"late").hexdigest()
    address = f"s3://{blobs.bucket}/models/{version}"
    with pytest.raises(BlobNotFoundError):
        cache.get(version, address)
    store(b"late")
    assert cache.get(version, address).data == b"late"
