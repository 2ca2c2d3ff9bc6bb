"""One CUDA device: the streams on which photos overlap, and CUDA graphs for sizes that come again."""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from nst_core.inference.stylizer import Pixels

_log = logging.getLogger(__name__)

#: From a uint8 H x W x 3 photo on the device to uint8 values of any number, on the device too.
Call = Callable[[Tensor], Tensor]

#: The most photos that are computed at the same time.
MAX_LANES = 8
#: Pixels of photos that keep one multiprocessor busy: in the network's largest part, at a quarter of the resolution,
#: they are two blocks of 128 positions.
_PIXELS_PER_PROCESSOR = 2 * 128 * 16
#: Graphs are for photos of at most this many times the pixels that fill the card. The computation of a larger photo
#: takes longer than the launch of its kernels, which a graph saves.
_GRAPH_FILLINGS = 2
#: How many sizes are remembered as seen.
_SIZES_SEEN = 256
#: The share of the card's memory for graphs, and for freed memory that torch keeps.
_GRAPHS_SHARE, _KEPT_SHARE = 1 / 8, 1 / 4


class Runner(Protocol):
    """Runs a call on photos, one result for each, in order."""

    #: Held by whoever runs something.
    lock: Lock
    #: The most photos at the same time. A caller who ran out of memory may lower it.
    most_lanes: int

    def lanes(self, pixels: int) -> int:
        """Return how many photos of so many pixels are computed at the same time."""
        ...

    def run(self, call: Call, photos: Iterable[Pixels], *, key: Hashable, lanes: int) -> Iterator[Pixels]:
        """Yield the values of `call` for each photo; they are valid until the next one.

        Calls of equal keys must do the same. Whatever the key holds stays in memory as long as a graph does.
        """
        ...

    def trim(self) -> None:
        """Free memory if much is only kept to be faster."""
        ...

    def release(self) -> None:
        """Free all memory that is only kept to be faster."""
        ...


class Host:
    """A `Runner` for the processor, which one photo keeps busy."""

    most_lanes = 1

    def __init__(self) -> None:
        self.lock = Lock()

    def lanes(self, pixels: int) -> int:
        """Return 1."""
        return 1

    def run(self, call: Call, photos: Iterable[Pixels], *, key: Hashable, lanes: int) -> Iterator[Pixels]:
        """Yield the values of `call` for each photo."""
        for photo in photos:
            yield call(torch.from_numpy(np.array(photo, order="C"))).numpy()

    def trim(self) -> None:
        """Do nothing."""

    def release(self) -> None:
        """Do nothing."""


class Card:
    """A `Runner` for a CUDA device.

    Each photo is a tensor of its own, so that its result does not depend on the others. Small photos are computed on
    several streams ("lanes") at the same time, large ones on one stream one after the other. Two more streams copy the
    next photo to the card, and the last result from it, meanwhile. That is within one call of `run`: it returns when
    the last result is there.
    """

    def __init__(self, device: torch.device) -> None:
        properties = torch.cuda.get_device_properties(device)
        self.lock = Lock()
        self.most_lanes = MAX_LANES
        #: So many pixels, of one photo or of several, keep the card busy.
        self.filling_pixels = properties.multi_processor_count * _PIXELS_PER_PROCESSOR
        self.graphs = Graphs(int(_GRAPHS_SHARE * properties.total_memory))
        self._device = device
        self._kept_bytes = int(_KEPT_SHARE * properties.total_memory)
        streams = [torch.cuda.Stream(device) for _ in range(MAX_LANES + 2)]  # type: ignore[no-untyped-call]
        self._up, self._down, *self._lanes = streams

    def lanes(self, pixels: int) -> int:
        """Return as many as fill the card, at most `most_lanes` and at least one."""
        return max(1, min(self.most_lanes, self.filling_pixels // pixels))

    def run(self, call: Call, photos: Iterable[Pixels], *, key: Hashable, lanes: int) -> Iterator[Pixels]:
        """Yield the values of `call` for each photo; see `Runner.run`."""
        in_flight: deque[_Flight] = deque()
        recorded = True
        try:
            for number, photo in enumerate(photos):
                in_flight.append(self._begin(call, photo, key=key, lane=number % lanes))
                recorded &= in_flight[-1].recorded
                if len(in_flight) > lanes:
                    yield in_flight.popleft().result()
            while in_flight:
                yield in_flight.popleft().result()
        finally:
            # After an error the card still uses tensors that are freed now.
            torch.cuda.synchronize(self._device)
        if not recorded:
            self.trim()

    def trim(self) -> None:
        """Free what torch keeps if it is much: photos of many sizes leave blocks that fit no other size."""
        kept = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        if kept > self._kept_bytes:
            torch.cuda.empty_cache()

    def release(self) -> None:
        """Free all graphs, and the memory that torch keeps."""
        self.graphs.clear()
        torch.cuda.empty_cache()

    def _begin(self, call: Call, photo: Pixels, *, key: Hashable, lane: int) -> "_Flight":
        sent = _pinned(photo.shape)
        sent.numpy()[...] = photo
        stream = self._lanes[lane]
        self._up.wait_stream(torch.cuda.current_stream(self._device))  # which may still prepare the weights
        with torch.cuda.stream(self._up):
            pixels = sent.to(self._device, non_blocking=True)
        stream.wait_stream(self._up)
        with torch.cuda.stream(stream):
            graph = None
            if photo.shape[0] * photo.shape[1] <= _GRAPH_FILLINGS * self.filling_pixels:
                size = (key, photo.shape)
                graph = self.graphs.find(size, lane, lambda: Graph(call, pixels, stream))
            values = call(pixels) if graph is None else graph(pixels)
        self._down.wait_stream(stream)
        with torch.cuda.stream(self._down):
            received = _pinned(values.shape)
            received.copy_(values, non_blocking=True)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record()
        tensors = (sent, pixels, values)
        return _Flight(tensors=tensors, received=received, done=done, recorded=graph is not None)


@dataclass(frozen=True, kw_only=True)
class _Flight:
    """A photo on its way."""

    #: Kept until the card has used them, because several streams do.
    tensors: tuple[Tensor, ...]
    received: Tensor
    done: torch.cuda.Event
    #: Whether it is the work of a graph.
    recorded: bool

    def result(self) -> Pixels:
        """Wait for the values and return them."""
        self.done.synchronize()
        values: Pixels = self.received.numpy()
        return values


class Graph:
    """A recorded call, whose kernels are launched together. Use it on the stream on which it was recorded."""

    def __init__(self, call: Call, photo: Tensor, stream: torch.cuda.Stream) -> None:
        """Record `call` for photos of the shape of this one, on a stream that is the current one."""
        call(photo)  # what libraries prepare at the first call of a thread cannot be recorded
        torch.cuda.empty_cache()  # as the recording does, so that the difference is what it takes
        before = torch.cuda.memory_reserved(photo.device)
        self._photo = torch.empty_like(photo)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may use the card meanwhile.
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            self._values = call(self._photo)
        self.nbytes = max(0, torch.cuda.memory_reserved(photo.device) - before)

    def __call__(self, photo: Tensor) -> Tensor:
        """Return the values for a photo, on the current stream."""
        self._photo.copy_(photo)
        self._graph.replay()
        return self._values.clone()


class Graphs:
    """The graphs that were used last, up to a number of bytes."""

    def __init__(self, capacity_bytes: int) -> None:
        #: Whether this device can record.
        self.enabled = True
        self._capacity_bytes = capacity_bytes
        self._graphs: OrderedDict[Hashable, Graph] = OrderedDict()
        self._seen: OrderedDict[Hashable, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._graphs)

    def find(self, size: Hashable, lane: int, record: Callable[[], Graph]) -> Graph | None:
        """Return the graph of a size and a lane, or None if the size is new: most sizes come only once.

        A graph that is missing is recorded. If that is impossible, no graph is recorded any more; if memory is short,
        not this time.
        """
        place = (size, lane)
        if place in self._graphs:
            self._graphs.move_to_end(place)
            return self._graphs[place]
        graph = self._record(size, record) if self._has_seen(size) and self.enabled else None
        if graph is not None:
            self._graphs[place] = graph
            self._evict()
        return graph

    def clear(self) -> None:
        """Forget all graphs and sizes."""
        self._graphs.clear()
        self._seen.clear()

    def _has_seen(self, size: Hashable) -> bool:
        """Return whether the size came before, and remember it."""
        seen = size in self._seen
        self._seen[size] = None
        self._seen.move_to_end(size)
        if len(self._seen) > _SIZES_SEEN:
            self._seen.popitem(last=False)
        return seen

    def _evict(self) -> None:
        # The newest stays even if it alone is too large: it is needed now.
        while len(self._graphs) > 1 and sum(each.nbytes for each in self._graphs.values()) > self._capacity_bytes:
            self._graphs.popitem(last=False)

    def _record(self, size: Hashable, record: Callable[[], Graph]) -> Graph | None:
        try:
            return record()
        except torch.OutOfMemoryError:
            del self._seen[size]
        except RuntimeError as error:  # torch's errors of a recording are of several classes
            _log.warning("CUDA graphs are off, and small photos slower: %s", str(error).partition("\n")[0][:300])
            self.enabled = False
        return None


def runner_of(device: torch.device) -> Runner:
    """Return the runner of a device, the same for all styles."""
    if device.type != "cuda":
        return Host()
    return _card(torch.cuda.current_device() if device.index is None else device.index)


@cache
def _card(index: int) -> Card:
    return Card(torch.device("cuda", index))


def _pinned(shape: tuple[int, ...]) -> Tensor:
    """Return memory of the host that a card reads and writes by itself. Torch keeps what was freed for the next."""
    return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
