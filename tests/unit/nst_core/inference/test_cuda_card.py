"""Tests of nst_core.inference.cuda_card: which graphs are kept, and the order of work on a stand-in for a GPU.

The stand-in computes on the CPU and notes what it is asked for; `tests.gpu` runs the same code on a real GPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nst_core.inference import cuda_card
from nst_core.inference.cuda_card import Card, Graphs, Host, runner_of
from nst_core.inference.stylizer import Pixels

CPU = torch.device("cpu")
PROCESSORS = 4
#: Pixels of photos that fill the stand-in.
FILLING = 4 * 2 * 128 * 16


class Recording:
    """What the stand-in recorded: it repeats the last call."""

    def __init__(self, gpu: "Gpu") -> None:
        self.gpu = gpu
        self.made: tuple[Tensor, Tensor] | None = None

    def replay(self) -> None:
        assert self.made is not None
        photo, values = self.made
        values.copy_(self.gpu.call(photo))
        self.gpu.log.append(f"replay on {self.gpu.current}")


class Gpu:
    """Takes the place of `torch.cuda` in the module."""

    OutOfMemoryError = torch.OutOfMemoryError

    def __init__(self) -> None:
        self.log: list[str] = []
        self.current = "default"
        self.made: tuple[Tensor, Tensor] | None = None
        self.reserved = 0
        #: What the next recording raises.
        self.fault: Exception | None = None

    def call(self, photo: Tensor) -> Tensor:
        """Return the photo's values upside down: what the tests let the stand-in compute."""
        values = photo.flatten().flip(0)
        self.made = (photo, values)
        self.log.append(f"call on {self.current}")
        return values

    def get_device_properties(self, device: torch.device) -> SimpleNamespace:
        return SimpleNamespace(multi_processor_count=PROCESSORS, total_memory=8000)

    def Stream(self, device: torch.device) -> SimpleNamespace:
        names = ["up", "down", "0", "1", "2", "3", "4", "5", "6", "7"]
        self.streams = getattr(self, "streams", 0)
        stream = SimpleNamespace(name=names[self.streams])
        self.streams += 1
        stream.wait_stream = lambda other: self.log.append(f"{stream.name} waits for {other.name}")
        return stream

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        before, self.current = self.current, stream.name
        try:
            yield
        finally:
            self.current = before

    def current_stream(self, device: torch.device) -> SimpleNamespace:
        return SimpleNamespace(name=self.current)

    def CUDAGraph(self) -> Recording:
        return Recording(self)

    @contextmanager
    def graph(self, graph: Recording, *, stream: Any, capture_error_mode: str) -> Iterator[None]:
        assert (stream.name, capture_error_mode) == (self.current, "thread_local")
        self.log.append(f"record on {self.current}")
        if self.fault is not None:
            raise self.fault
        yield
        graph.made = self.made
        self.reserved += 400

    def Event(self) -> SimpleNamespace:
        return SimpleNamespace(record=lambda: None, synchronize=lambda: self.log.append("result"))

    def synchronize(self, device: torch.device) -> None:
        self.log.append("synchronize")

    def memory_reserved(self, device: torch.device) -> int:
        return self.reserved

    def memory_allocated(self, device: torch.device) -> int:
        return 0

    def empty_cache(self) -> None:
        self.log.append("empty cache")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu = Gpu()
    fake_torch = SimpleNamespace(
        cuda=gpu, OutOfMemoryError=torch.OutOfMemoryError, empty_like=torch.empty_like, Tensor=torch.Tensor
    )
    monkeypatch.setattr(cuda_card, "torch", fake_torch)
    monkeypatch.setattr(cuda_card, "_pinned", lambda shape: torch.empty(shape, dtype=torch.uint8))
    return gpu


def photos(count: int, height: int = 16, width: int = 16) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def check(card: Card, gpu: Gpu, batch: Pixels, *, lanes: int = 1, key: str = "style") -> list[str]:
    """Run a batch, check its results, and return what the stand-in noted."""
    gpu.log.clear()
    results = [values.copy() for values in card.run(gpu.call, batch, key=key, lanes=lanes)]
    assert len(results) == len(batch)
    for photo, values in zip(batch, results, strict=True):
        np.testing.assert_array_equal(values, photo.ravel()[::-1])
    return gpu.log


def test_the_next_photo_is_copied_before_the_last_result_is_awaited(gpu: Gpu) -> None:
    log = check(Card(CPU), gpu, photos(3, 400, 400))
    one = ["up waits for default", "0 waits for up", "call on 0", "down waits for 0"]
    assert log == [*one, *one, "result", *one, "result", "result", "synchronize"]


def test_small_photos_are_computed_on_several_streams(gpu: Gpu) -> None:
    card = Card(CPU)
    log = check(card, gpu, photos(4, 400, 400), lanes=2)
    assert [line for line in log if line.startswith("call") or line == "result"] == [
        *("call on 0", "call on 1", "call on 0", "result", "call on 1", "result", "result", "result")
    ]


@pytest.mark.parametrize(
    ("pixels", "lanes"), [(1, 8), (FILLING // 8, 8), (FILLING // 3, 3), (FILLING, 1), (100 * FILLING, 1)]
)
def test_the_smaller_the_photos_the_more_at_the_same_time(gpu: Gpu, pixels: int, lanes: int) -> None:
    card = Card(CPU)
    assert card.lanes(pixels) == lanes
    card.most_lanes = 2
    assert card.lanes(pixels) == min(lanes, 2)


def test_a_size_that_comes_again_is_recorded_once_for_each_lane(gpu: Gpu) -> None:
    card = Card(CPU)
    assert check(card, gpu, photos(1)).count("call on 0") == 1
    # The call that prepares the libraries, the recorded one, and what the stand-in computes for the replay.
    assert check(card, gpu, photos(1)) == [
        *("up waits for default", "0 waits for up"),
        *("call on 0", "empty cache", "record on 0", "call on 0", "call on 0", "replay on 0"),
        *("down waits for 0", "result", "synchronize"),
    ]
    log = check(card, gpu, photos(4), lanes=2)
    assert [line for line in log if line.startswith("re")] == [
        *("replay on 0", "record on 1", "replay on 1", "replay on 0", "result", "replay on 1"),
        *("result", "result", "result"),
    ]
    assert not any(line.startswith("re") for line in check(card, gpu, photos(1, 16, 17)) if line != "result")


def test_a_large_photo_is_never_recorded(gpu: Gpu) -> None:
    card, most = Card(CPU), photos(1, 2 * FILLING // 64, 64)
    for batch, recorded in ((most, True), (photos(1, 2 * FILLING // 64 + 1, 64), False)):
        check(card, gpu, batch)
        assert ("record on 0" in check(card, gpu, batch)) == recorded


def test_graphs_of_other_keys_are_not_used(gpu: Gpu) -> None:
    card = Card(CPU)
    for _ in range(2):
        check(card, gpu, photos(1), key="one style")
    assert "replay on 0" not in check(card, gpu, photos(1), key="another style")


def test_released_graphs_are_recorded_again(gpu: Gpu) -> None:
    card = Card(CPU)
    for _ in range(2):
        check(card, gpu, photos(1))
    card.release()
    assert gpu.log[-1] == "empty cache"
    assert "record on 0" not in check(card, gpu, photos(1))
    assert "record on 0" in check(card, gpu, photos(1))


def test_a_recording_without_memory_is_tried_again_later(gpu: Gpu) -> None:
    card = Card(CPU)
    check(card, gpu, photos(1))
    gpu.fault = torch.OutOfMemoryError("CUDA out of memory.")
    assert "record on 0" in check(card, gpu, photos(1))
    gpu.fault = None
    assert "record on 0" not in check(card, gpu, photos(1))
    assert "replay on 0" in check(card, gpu, photos(1))


def test_after_a_recording_that_is_impossible_there_are_no_others(gpu: Gpu, caplog: pytest.LogCaptureFixture) -> None:
    card = Card(CPU)
    check(card, gpu, photos(1))
    gpu.fault = RuntimeError("operation not permitted when stream is capturing\nand more")
    check(card, gpu, photos(1))
    assert "CUDA graphs are off, and small photos slower: operation not permitted when stream is" in caplog.text
    gpu.fault = None
    for size in (16, 17):
        for _ in range(3):
            assert "record on 0" not in check(card, gpu, photos(1, size, size))


def test_the_card_is_awaited_before_tensors_of_a_failed_call_are_freed(gpu: Gpu) -> None:
    def fail(photo: Tensor) -> Tensor:
        if photo[0, 0, 0] == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return gpu.call(photo)

    batch = photos(2)
    batch[:, 0, 0, 0] = (0, 1)
    with pytest.raises(torch.OutOfMemoryError):
        list(Card(CPU).run(fail, batch, key="style", lanes=2))
    assert gpu.log[-1] == "synchronize"


def test_much_freed_memory_is_given_back(gpu: Gpu) -> None:
    card = Card(CPU)
    gpu.reserved = 2000
    assert "empty cache" not in check(card, gpu, photos(1, 400, 400))
    gpu.reserved = 2001
    assert check(card, gpu, photos(1, 400, 400))[-1] == "empty cache"


def graph(nbytes: int) -> Any:
    return SimpleNamespace(nbytes=nbytes)


def test_the_graphs_used_last_are_kept_up_to_a_number_of_bytes() -> None:
    graphs = Graphs(100)
    for size in ("a", "b", "c"):
        assert graphs.find(size, 0, lambda: graph(1)) is None
    a, b, c = graph(50), graph(50), graph(50)
    assert graphs.find("a", 0, lambda: a) is a
    assert graphs.find("b", 0, lambda: b) is b
    assert graphs.find("a", 0, lambda: graph(1)) is a
    assert graphs.find("c", 0, lambda: c) is c
    assert graphs.find("a", 0, lambda: graph(1)) is a
    again = graph(50)
    assert graphs.find("b", 0, lambda: again) is again


def test_the_newest_graph_is_kept_even_if_it_is_too_large() -> None:
    graphs, large = Graphs(100), graph(1000)
    assert graphs.find("a", 0, lambda: large) is None
    assert graphs.find("a", 0, lambda: large) is large
    assert graphs.find("a", 0, lambda: graph(1)) is large


def test_sizes_that_came_long_ago_count_as_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_card, "_SIZES_SEEN", 2)
    graphs = Graphs(100)
    for size in ("a", "b", "c", "a"):
        assert graphs.find(size, 0, lambda: graph(1)) is None
    assert graphs.find("c", 0, lambda: graph(1)) is not None


def test_the_processor_takes_one_photo_after_the_other() -> None:
    host, batch = runner_of(CPU), photos(2)
    assert isinstance(host, Host)
    assert host.lanes(1) == host.most_lanes == 1
    batch.flags.writeable = False
    results = list(host.run(lambda photo: photo.flatten().flip(0), batch, key="style", lanes=1))
    for photo, values in zip(batch, results, strict=True):
        np.testing.assert_array_equal(values, photo.ravel()[::-1])
    host.release()
