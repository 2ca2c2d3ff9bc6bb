"""Tests of worker.methods.stylize.models."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event

import pytest

from nst_core.errors import BlobNotFoundError, WeightsError
from nst_core.inference.stylizer import EXACT, EngineChoice
from nst_core.protocol.chunks import StyleRef
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.styles import version_of
from tests.unit.worker.kit import WAIT_S
from worker.methods.stylize.models import ModelCache


@dataclass(frozen=True, eq=False)
class Network:
    """A network whose size is that of its file."""

    data: bytes
    choice: EngineChoice

    @property
    def nbytes(self) -> int:
        return len(self.data)


@pytest.fixture
def store(blobs: BlobStore) -> Callable[[bytes], StyleRef]:
    """Return a function that stores a weights file and returns its style."""

    def put(data: bytes) -> StyleRef:
        version = version_of(data)
        uri = BlobUri(blobs.bucket, f"models/{version}")
        blobs.put(uri, data)
        return StyleRef(name="wave", version=version, weights=str(uri))

    return put


FAST = EngineChoice(engine="fast", precision="bf16")
Store = Callable[[bytes], StyleRef]


def test_a_version_is_loaded_once(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=100)
    style = store(b"one")
    model = cache.get(style, EXACT)
    assert model.data == b"one"
    assert cache.get(style, EXACT) is model


def test_two_threads_that_need_the_same_version_load_it_once(blobs: BlobStore, store: Store) -> None:
    begun, release, builds = Event(), Event(), []

    def build(data: bytes, choice: EngineChoice) -> Network:
        builds.append(data)
        begun.set()
        assert release.wait(WAIT_S)
        return Network(data, choice)

    cache = ModelCache(blobs, build, capacity_bytes=100)
    style = store(b"one")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.get, style, EXACT)
        assert begun.wait(WAIT_S)
        second = threads.submit(cache.get, style, EXACT)
        release.set()
        assert first.result(WAIT_S) is second.result(WAIT_S)
    assert builds == [b"one"]


def test_the_least_recently_used_networks_are_evicted_over_the_capacity(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=10)
    a, b, c = store(b"aaaa"), store(b"bbbb"), store(b"cccc")
    model_a, model_b = cache.get(a, EXACT), cache.get(b, EXACT)
    assert cache.get(a, EXACT) is model_a  # now b is the least recently used
    cache.get(c, EXACT)
    assert cache.get(a, EXACT) is model_a
    assert cache.get(b, EXACT) is not model_b


def test_each_engine_has_a_network_of_its_own(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=10)
    style = store(b"one")
    exact, fast = cache.get(style, EXACT), cache.get(style, FAST)
    assert (exact.data, exact.choice, fast.data, fast.choice) == (b"one", EXACT, b"one", FAST)
    assert (cache.get(style, EXACT), cache.get(style, FAST)) == (exact, fast)


def test_the_networks_of_all_engines_share_the_capacity(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=10)
    a, b = store(b"aaaa"), store(b"bbbb")
    exact, fast = cache.get(a, EXACT), cache.get(a, FAST)
    cache.get(b, FAST)
    assert cache.get(a, FAST) is fast
    assert cache.get(a, EXACT) is not exact


def test_a_network_larger_than_the_cache_is_kept_until_the_next(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=3)
    large, small = store(b"large"), store(b"s")
    model = cache.get(large, EXACT)
    assert cache.get(large, EXACT) is model
    cache.get(small, EXACT)
    assert cache.get(large, EXACT) is not model


def test_weights_with_a_wrong_digest_are_refused_and_not_kept(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=10)
    wrong = replace(store(b"wrong"), version=store(b"right").version)
    with pytest.raises(WeightsError, match="is not version"):
        cache.get(wrong, EXACT)
    assert cache.get(store(b"right"), EXACT).data == b"right"


def test_the_version_is_checked_even_if_the_file_is_already_loaded(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=10)
    style = store(b"one")
    cache.get(style, EXACT)
    with pytest.raises(WeightsError, match="is not version"):
        cache.get(replace(style, version="0" * 64), EXACT)


def test_styles_with_the_same_file_share_its_network(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=10)
    style = store(b"one")
    assert cache.get(replace(style, name="another"), EXACT) is cache.get(style, EXACT)


def test_a_network_of_one_style_has_no_second_one(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=10)
    second = replace(store(b"one"), index=1, version=version_of(b"one", 1))
    with pytest.raises(WeightsError, match="has no style 1"):
        cache.get(second, EXACT)


def test_a_missing_weights_file_is_requested_again_the_next_time(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=10)
    version = version_of(b"late")
    style = StyleRef(name="wave", version=version, weights=f"s3://{blobs.bucket}/models/{version}")
    with pytest.raises(BlobNotFoundError):
        cache.get(style, EXACT)
    store(b"late")
    assert cache.get(style, EXACT).data == b"late"
