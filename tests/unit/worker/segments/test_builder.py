"""Tests of worker.segments.builder."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from nst_core.errors import (
    EngineError,
    ImageDecodeError,
    WeightsError,
)
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.weights import dump_transformer, load_transformer_bytes
from nst_core.protocol.events import SegmentFinished, TrainProgress
from nst_core.protocol.segments import StoredFile, TrainSegment
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.styles import families
from nst_core.training.guesses import guess_for
from nst_core.training.held_out import HELD_OUT
from nst_core.training.pictures import parse_style
from tests.unit.worker.training_kit import (
    TINY,
    Bench,
    checkpoint_of,
    make_segment,
    next_segment,
    put,
    soft_picture,
)
from worker.runtime.engine import Engine
from worker.runtime.outcomes import InterruptedWorkError
from worker.runtime.steering import Steering
from worker.segments.builder import TrainingBuilder, has_compiler
from worker.settings import WorkerSettings

MakeBench = Callable[..., Bench]
_T = TypeVar("_T")


@pytest.fixture
def benches(settings: WorkerSettings, blobs: BlobStore, engine: Engine, tmp_path: Path) -> Iterator[MakeBench]:
    """Makes workers with empty memory, and closes them."""
    made: list[Bench] = []

    def make(**changes: Any) -> Bench:
        made.append(Bench(settings, blobs, engine, tmp_path / "photos", **changes))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(benches: MakeBench) -> Bench:
    """A worker."""
    return benches()


def whole(bench: Bench, segment: TrainSegment) -> SegmentFinished:
    """Return the end of an equal run without interruption, in one segment."""
    end = bench.run(replace(segment, place=segment.place + "undisturbed/"))
    assert end.step == segment.config["steps"]
    return end


def same_tensors(blobs: BlobStore, one: SegmentFinished, other: SegmentFinished) -> bool:
    """Return whether two checkpoints have the same weights and moments, bit for bit."""
    first, second = checkpoint_of(blobs, one).tensors, checkpoint_of(blobs, other).tensors
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def initial_weights(blobs: BlobStore, kind: str) -> tuple[StoredFile, TransformerNet]:
    """Store initial weights, and return them and the network."""
    torch.manual_seed(5)
    net = TransformerNet(TINY.transformer)
    return put(blobs, f"initial/{kind}", dump_transformer(net, dtype=torch.float32)), net


def test_a_run_starts_from_the_weights_of_a_style(bench: Bench, blobs: BlobStore) -> None:
    initial, net = initial_weights(blobs, "style")
    slow = replace(TINY, learning_rate=1e-12)
    end = bench.run(make_segment(blobs, config=slow, initial=initial), until=1)
    checkpoint = checkpoint_of(blobs, end)
    assert checkpoint.origin["initial_sha256"] == initial.sha256
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(checkpoint.tensors[f"transformer.{name}"], tensor)


def test_a_style_of_a_family_starts_as_the_mean_of_its_styles(bench: Bench, blobs: BlobStore) -> None:
    family = TransformerNet(replace(TINY.transformer, styles=4, identity=True))
    for name in family.config.style_tensors():
        family.get_parameter(name).data.uniform_(0.5, 1.5)
    initial = put(blobs, "initial/family", dump_transformer(family, dtype=torch.float32))
    config = replace(TINY, transformer=family.config.newcomer, trained="norms", learning_rate=1e-12)
    checkpoint = checkpoint_of(blobs, bench.run(make_segment(blobs, config=config, initial=initial), until=1))
    for name, tensor in family.state_dict().items():
        rows = torch.stack([tensor[:3].mean(0), tensor[3]]) if name in config.transformer.style_tensors() else tensor
        torch.testing.assert_close(checkpoint.tensors[f"transformer.{name}"], rows)


def test_a_style_of_the_painters_starts_as_a_guess(bench: Bench, blobs: BlobStore) -> None:
    data = families()["painters"].weights()
    family = load_transformer_bytes(data, style=None)
    config = replace(
        TINY, transformer=family.config.newcomer, trained="norms", learning_rate=1e-12, size_px=32, batch_size=1
    )
    segment = make_segment(blobs, config=config, initial=put(blobs, "initial/painters", data))
    first = bench.run(segment, until=1)
    checkpoint = checkpoint_of(blobs, first)
    tensors = checkpoint.tensors
    painting = parse_style(
        blobs.get(BlobUri.parse(segment.painting.uri)), size_px=config.style_size_px, name="The painting"
    )
    guess = guess_for(family, config)
    assert guess is not None
    assert checkpoint.origin["predictor_sha256"] == guess.sha256
    for name, tensor in guess(painting).state_dict().items():
        torch.testing.assert_close(tensors[f"transformer.{name}"], tensor)
    mean = family.state_dict()["up2.norm.weight"][: family.config.paintings].mean(0)
    assert (tensors["transformer.up2.norm.weight"][0] - mean).abs().max() > 0.05
    later = checkpoint_of(blobs, bench.run(replace(segment, checkpoint=first.checkpoint, attempt=2), until=2))
    assert later.origin["predictor_sha256"] == guess.sha256


def test_a_run_starts_from_the_network_of_another_runs_checkpoint(bench: Bench, blobs: BlobStore) -> None:
    parent = bench.run(make_segment(blobs), until=5)
    slow = replace(TINY, learning_rate=1e-12)
    segment = make_segment(blobs, config=slow, initial=parent.checkpoint)
    first = bench.run(segment, until=1)
    before, after = checkpoint_of(blobs, parent), checkpoint_of(blobs, first)
    assert after.step == 1, "its own steps"
    for name, tensor in before.tensors.items():
        if name.startswith("transformer."):
            torch.testing.assert_close(after.tensors[name], tensor)
    later = bench.run(next_segment(segment, first), until=2)
    assert checkpoint_of(blobs, later).origin["initial_sha256"] == segment.initial.sha256  # type: ignore[union-attr]


def test_a_fork_holds_out_the_photos_that_its_parent_held_out(benches: MakeBench, blobs: BlobStore) -> None:
    segment = make_segment(blobs, held_out=2)
    parent = benches().run(segment, until=2)
    chosen = checkpoint_of(blobs, parent).origin[HELD_OUT]
    other_seed = replace(segment, config=segment.config | {"seed": 3}, place=segment.place + "fork/")
    assert checkpoint_of(blobs, benches().run(other_seed, until=1)).origin[HELD_OUT] != chosen
    fork = benches().run(replace(other_seed, initial=parent.checkpoint), until=1)
    assert checkpoint_of(blobs, fork).origin[HELD_OUT] == chosen


def test_the_error_names_a_painting_that_is_not_a_picture(bench: Bench, blobs: BlobStore) -> None:
    segment = make_segment(blobs)
    with pytest.raises(ImageDecodeError, match="The painting: "):
        bench.run(replace(segment, painting=put(blobs, f"{segment.run_id}/text", b"no picture")))


def test_a_checkpoint_of_another_painting_is_refused(benches: MakeBench, blobs: BlobStore) -> None:
    segment = make_segment(blobs)
    first = benches().run(segment, until=1)
    other = put(blobs, f"{segment.run_id}/other.png", soft_picture(7))
    with pytest.raises(WeightsError, match="another painting"):
        benches().run(next_segment(segment, first, painting=other))


def test_a_cpu_needs_a_cpp_compiler_and_a_gpu_a_c_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("CC", sys.executable)  # any program
    assert not has_compiler(cpu)
    assert has_compiler(gpu)
    monkeypatch.setenv("CXX", f"{sys.executable} -O2")
    monkeypatch.setenv("CC", "no-such-compiler")
    assert has_compiler(cpu)
    assert not has_compiler(gpu)
    monkeypatch.setenv("CC", "gcc 'open")
    assert not has_compiler(gpu)
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "/nowhere")
    assert not has_compiler(gpu)


def test_a_training_that_needs_too_much_memory_is_left_to_another_worker(bench: Bench, blobs: BlobStore) -> None:
    small = bench.settings.model_copy(update={"memory_bytes": 1})
    builder = TrainingBuilder(
        small, blobs=blobs, library=bench.library, compute=bench.compute, device=torch.device("cpu"), cache=bench.cache
    )
    segment = make_segment(blobs)
    wide = replace(segment, config=segment.config | {"size_px": 1024, "batch_size": 4})
    steering: Steering[TrainProgress] = Steering(going=lambda: True, wanted=lambda: True, on_progress=lambda _: None)
    with pytest.raises(EngineError, match="GB of memory") as caught:
        builder.build(wide, steering)
    assert caught.value.retryable


def test_a_painting_of_many_crops_neither_keeps_the_engine_nor_a_segment_that_is_to_stop(
    bench: Bench, blobs: BlobStore
) -> None:
    calls: list[int] = []

    def compute(call: Callable[[], _T], /) -> _T:
        calls.append(1)
        bench.going = len(calls) < 9
        return bench.compute(call)

    builder = TrainingBuilder(
        bench.settings,
        blobs=blobs,
        library=bench.library,
        compute=compute,
        device=torch.device("cpu"),
        cache=bench.cache,
    )
    segment = make_segment(blobs, config=replace(TINY, style_crops=500))
    with pytest.raises(InterruptedWorkError):
        builder.build(segment, bench.steering(lambda _: None))
    assert len(calls) == 9


def test_a_guess_for_a_large_painting_is_made_tile_by_tile(bench: Bench, blobs: BlobStore) -> None:
    data = families()["painters"].weights()
    network = load_transformer_bytes(data, style=None).config.newcomer
    config = replace(TINY, transformer=network, trained="norms", batch_size=1, steps=1, style_size_px=1600)
    calls: list[int] = []

    def compute(call: Callable[[], _T], /) -> _T:
        calls.append(1)
        return bench.compute(call)

    builder = TrainingBuilder(
        bench.settings,
        blobs=blobs,
        library=bench.library,
        compute=compute,
        device=torch.device("cpu"),
        cache=bench.cache,
    )
    segment = make_segment(blobs, config=config, initial=put(blobs, "initial/painters", data))
    builder.build(segment, bench.steering(lambda _: None)).close()
    # The guess looks at two tiles and so does the training; the network, the painting and the trainer are three more.
    assert len(calls) == 7
