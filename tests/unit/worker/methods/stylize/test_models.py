"""Tests of worker.methods.stylize.models."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch

from nst_core.errors import BlobNotFoundError, WeightsError
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.stylizer import EXACT, EngineChoice
from nst_core.nets.families import Style, blended, joined, one_style
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.weights import dump_transformer
from nst_core.protocol.chunks import BlendPart, StyleRef
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.styles import version_of, version_of_blend
from tests.unit.worker.conftest import build
from tests.unit.worker.kit import WAIT_S
from worker.methods.stylize.models import ModelCache


@dataclass(frozen=True, eq=False)
class Network:
    """A network whose size is that of its file."""

    data: bytes
    style: Style
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


def test_lookups_and_the_memory_of_loaded_networks_can_be_watched(blobs: BlobStore, store: Store) -> None:
    hits: list[bool] = []
    cache = ModelCache(blobs, Network, capacity_bytes=5, on_lookup=hits.append)
    assert cache.nbytes == 0
    style = store(b"four")
    for _ in range(2):
        cache.get(style, EXACT)
    assert (hits, cache.nbytes) == ([False, True], 4)
    cache.get(store(b"two"), EXACT)
    assert (hits, cache.nbytes) == ([False, True, False], 3), "the older one had no room"


def test_two_threads_that_need_the_same_version_load_it_once(blobs: BlobStore, store: Store) -> None:
    begun, release, builds = Event(), Event(), []

    def slow(data: bytes, style: Style, choice: EngineChoice) -> Network:
        builds.append(data)
        begun.set()
        assert release.wait(WAIT_S)
        return Network(data, style, choice)

    cache = ModelCache(blobs, slow, capacity_bytes=100)
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


def test_each_style_of_a_file_has_a_network_of_its_own(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=10)
    first = store(b"one")
    second = replace(first, index=1, version=version_of(b"one", 1))
    models = [cache.get(style, EXACT) for style in (first, second)]
    assert [(model.data, model.style) for model in models] == [(b"one", 0), (b"one", 1)]
    assert [cache.get(style, EXACT) for style in (first, second)] == models
    with pytest.raises(WeightsError, match="is not version"):
        cache.get(replace(second, index=2), EXACT)


def test_the_styles_of_a_family_are_served_and_there_is_none_beyond(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, build, capacity_bytes=1 << 20)
    torch.manual_seed(1)
    nets = [TransformerNet(TransformerConfig(width=4, blocks=1)) for _ in range(2)]
    for name, parameter in nets[1].named_parameters():  # another style on the same convolutions
        own = name in nets[1].config.style_tensors()
        parameter.data = 0.5 + torch.rand_like(parameter) if own else nets[0].get_parameter(name).data
    family = dump_transformer(joined(nets), dtype=torch.float32)
    photo = np.random.default_rng(2).integers(0, 256, (1, 20, 24, 3), dtype=np.uint8)
    for index, net in enumerate(nets):
        style = replace(store(family), index=index, version=version_of(family, index))
        np.testing.assert_array_equal(cache.get(style, EXACT)(photo), EagerStylizer(net)(photo))
    with pytest.raises(WeightsError, match="2 styles, and has no style 2"):
        cache.get(replace(store(family), index=2, version=version_of(family, 2)), EXACT)


def part_of(style: StyleRef, share: float) -> BlendPart:
    return BlendPart(name=style.name, version=style.version, weights=style.weights, index=style.index, share=share)


def blend_of(*parts: BlendPart) -> StyleRef:
    return StyleRef(name="blend", version=version_of_blend((part.version, part.share) for part in parts), parts=parts)


def random_net(seed: int, **fields: Any) -> TransformerNet:
    torch.manual_seed(seed)
    return TransformerNet(TransformerConfig(width=4, blocks=1, **fields)).eval()


def test_a_blend_is_the_mean_of_its_files_and_loaded_once(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, build, capacity_bytes=1 << 20)
    nets = [random_net(seed) for seed in (1, 2)]
    first, second = (store(dump_transformer(net, dtype=torch.float32)) for net in nets)
    style = blend_of(part_of(first, 0.75), part_of(second, 0.25))
    photo = np.random.default_rng(2).integers(0, 256, (1, 20, 24, 3), dtype=np.uint8)
    made = cache.get(style, EXACT)
    np.testing.assert_array_equal(made(photo), EagerStylizer(blended(nets, [0.75, 0.25]))(photo))
    assert cache.get(style, EXACT) is made
    other = cache.get(blend_of(part_of(first, 0.25), part_of(second, 0.75)), EXACT)
    assert (other(photo) != made(photo)).any()
    assert cache.get(first, EXACT) is not made


def faded(seed: int) -> TransformerNet:
    """Return a network with a style and the identity."""
    net = random_net(seed, styles=2, identity=True)
    for name in net.config.style_tensors():
        net.get_parameter(name).data.uniform_(0.5, 1.5)
    return net


def test_a_share_of_a_style_is_a_blend_with_its_identity(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, build, capacity_bytes=1 << 20)
    nets = [faded(seed) for seed in (1, 2)]
    first, second = (store(dump_transformer(net, dtype=torch.float32)) for net in nets)
    weaker = [one_style(net, {0: 0.25, 1: 0.75}) for net in nets]
    photo = np.random.default_rng(2).integers(0, 256, (1, 20, 24, 3), dtype=np.uint8)
    made = cache.get(first, EXACT, share=0.25)
    np.testing.assert_array_equal(made(photo), EagerStylizer(weaker[0])(photo))
    whole = EagerStylizer(one_style(nets[0], 0))(photo)
    np.testing.assert_array_equal(cache.get(first, EXACT)(photo), whole)
    assert cache.get(first, EXACT, share=0.25) is made
    style = blend_of(part_of(first, 0.75), part_of(second, 0.25))
    expected = EagerStylizer(blended(weaker, [0.75, 0.25]))(photo)
    np.testing.assert_array_equal(cache.get(style, EXACT, share=0.25)(photo), expected)


def test_a_network_without_the_identity_paints_no_share_of_its_style(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, build, capacity_bytes=1 << 20)
    style = store(dump_transformer(random_net(1)))
    with pytest.raises(WeightsError, match="has no identity"):
        cache.get(style, EXACT, share=0.5)
    assert cache.get(style, EXACT, share=1.0)


def test_a_file_of_a_blend_must_be_that_of_its_version(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, build, capacity_bytes=1 << 20)
    first, second = (store(dump_transformer(random_net(seed))) for seed in (1, 2))
    style = blend_of(part_of(first, 0.5), part_of(replace(second, weights=first.weights), 0.5))
    with pytest.raises(WeightsError, match="is not version"):
        cache.get(style, EXACT)
    with pytest.raises(WeightsError, match="do not make version"):
        cache.get(replace(blend_of(part_of(first, 0.5), part_of(second, 0.5)), version=first.version), EXACT)


def test_styles_of_different_kinds_are_not_blended(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, build, capacity_bytes=1 << 20)
    first, second = (store(dump_transformer(net)) for net in (random_net(1), random_net(2, output="tanh")))
    with pytest.raises(WeightsError, match="of the same kind"):
        cache.get(blend_of(part_of(first, 0.5), part_of(second, 0.5)), EXACT)


def test_a_missing_weights_file_is_requested_again_the_next_time(blobs: BlobStore, store: Store) -> None:
    cache = ModelCache(blobs, Network, capacity_bytes=10)
    version = version_of(b"late")
    style = StyleRef(name="wave", version=version, weights=f"s3://{blobs.bucket}/models/{version}")
    with pytest.raises(BlobNotFoundError):
        cache.get(style, EXACT)
    store(b"late")
    assert cache.get(style, EXACT).data == b"late"
