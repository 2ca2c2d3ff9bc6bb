"""Results of outdated attempts never replace those of newer attempts."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Event

import pytest
import torch

from nst_core.errors import BlobUnavailableError, BrokerUnavailableError
from nst_core.protocol.chunks import ChunkMessage, StylizeChunk, dump_chunk
from nst_core.protocol.events import ChunkFinished, ItemProgress
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.storage.conditional import ConditionalWrites
from tests.brokers import Broker
from tests.playing_s3 import Call, PlayingServer, Quirks, playing, uri
from tests.unit.worker.conftest import Worker
from tests.unit.worker.kit import (
    WAIT_S,
    Gate,
    Invert,
    Pixels,
    Style,
    events,
    make_chunk,
    make_optimize_chunk,
    outputs,
    photo,
)
from worker.methods.optimize.course import Optimization
from worker.methods.results import Results
from worker.methods.stylize.pipeline import Pipeline
from worker.runtime.engine import Engine
from worker.runtime.outcomes import InterruptedWorkError
from worker.runtime.steering import Steering
from worker.settings import WorkerSettings

TYPE = "image/png"


@pytest.fixture(scope="module")
def one_server() -> Iterator[PlayingServer]:
    with playing() as server:
        yield server


@pytest.fixture
def server(one_server: PlayingServer) -> PlayingServer:
    one_server.reset()
    return one_server


class Brighten(Invert):
    """The network of another worker, whose results have different bytes."""

    def __call__(self, batch: Pixels) -> Pixels:
        return batch // 2 + 100


@dataclass
class Attempts:
    """The attempts of a chunk in Redis, and how often they were asked for."""

    newest: int = 1
    asked: int = 0
    away: bool = False

    def outdated(self, attempt: int) -> Callable[[], bool]:
        def ask() -> bool:
            self.asked += 1
            if self.away:
                raise BrokerUnavailableError("Redis does not answer.")
            return self.newest > attempt

        return ask


@dataclass
class Hold:
    """Delays the PUT of one content, as a slow network or a frozen process does."""

    data: bytes
    entered: Event = field(default_factory=Event)
    opened: Event = field(default_factory=Event)

    def __call__(self, call: Call) -> None:
        if call.headers.get("content-length") == str(len(self.data)) and not self.entered.is_set():
            self.entered.set()
            assert self.opened.wait(WAIT_S)


def put(results: Results, data: bytes, outdated: Callable[[], bool], *, key: str = "out.png") -> None:
    results.put(uri(key), data, content_type=TYPE, outdated=outdated)


def test_support_for_conditional_writes_is_detected(server: PlayingServer) -> None:
    assert ConditionalWrites(server.store()).heeded
    assert server.objects == {}, "the probe is removed"
    server.quirks = Quirks(conditional=False)
    assert not ConditionalWrites(server.store()).heeded


@pytest.mark.parametrize("refusal", [(501, "NotImplemented"), (403, "AccessDenied"), (400, "InvalidArgument")])
def test_a_server_that_refuses_the_probe_has_no_conditional_writes(
    server: PlayingServer, refusal: tuple[int, str]
) -> None:
    server.quirks.refuse = lambda call: refusal if call.method == "PUT" else None
    assert not ConditionalWrites(server.store(patient=False)).heeded


def test_the_bundled_server_has_no_conditional_writes(blobs: BlobStore) -> None:
    assert not ConditionalWrites(blobs).heeded


def test_a_storage_that_does_not_answer_is_probed_again(server: PlayingServer) -> None:
    conditional = ConditionalWrites(server.store(patient=False))
    server.quirks = Quirks(refuse=lambda call: (503, "SlowDown"))
    with pytest.raises(BlobUnavailableError):
        assert conditional.heeded
    server.reset()
    assert conditional.heeded


@pytest.mark.parametrize("conditional", [True, False])
def test_a_result_costs_one_check_and_one_write(server: PlayingServer, conditional: bool) -> None:
    server.quirks = Quirks(conditional=conditional)
    results, attempts = Results(server.store()), Attempts()
    put(results, b"first", attempts.outdated(1), key="0.png")
    probes = len(server.calls) - 1
    for number in range(1, 6):
        put(results, b"more", attempts.outdated(1), key=f"{number}.png")
    assert (attempts.asked, len(server.calls) - probes) == (6, 6)


@pytest.mark.parametrize("conditional", [True, False])
def test_a_newer_attempt_replaces_the_result_of_an_older_one(server: PlayingServer, conditional: bool) -> None:
    server.quirks = Quirks(conditional=conditional)
    attempts = Attempts()
    put(Results(server.store()), b"of one", attempts.outdated(1))
    attempts.newest = 2
    put(Results(server.store()), b"of two", attempts.outdated(2))
    with pytest.raises(InterruptedWorkError):
        put(Results(server.store()), b"late", attempts.outdated(1))
    assert server.objects["nst", "out.png"] == b"of two"


@pytest.mark.parametrize("before", [None, b"of another job"])
def test_a_write_delayed_past_the_commit_of_a_newer_attempt_has_no_effect(
    server: PlayingServer, before: bytes | None
) -> None:
    if before is not None:
        server.put("out.png", data=before)
    attempts, late = Attempts(), b"late, and of another processor"
    results = Results(server.store())
    put(results, b"x", attempts.outdated(1), key="other.png")  # the probe is over
    hold = server.quirks.before_put = Hold(late)
    with ThreadPoolExecutor() as thread:
        first = thread.submit(put, results, late, attempts.outdated(1))
        assert hold.entered.wait(WAIT_S)
        attempts.newest = 2
        put(Results(server.store()), b"of two", attempts.outdated(2))
        hold.opened.set()
        with pytest.raises(InterruptedWorkError):
            first.result(WAIT_S)
    assert server.objects["nst", "out.png"] == b"of two"


def test_a_result_that_would_replace_another_one_waits_for_redis(server: PlayingServer) -> None:
    server.put("out.png", data=b"of two")
    attempts = Attempts(away=True)
    results = Results(server.store())
    put(results, b"new", attempts.outdated(1), key="new.png")
    with pytest.raises(InterruptedWorkError):
        put(results, b"late", attempts.outdated(1))
    assert server.objects["nst", "out.png"] == b"of two"
    assert server.objects["nst", "new.png"] == b"new"


def test_pictures_do_not_fail_because_redis_is_away(settings: WorkerSettings, server: PlayingServer) -> None:
    blobs = server.store()
    chunk = make_chunk(blobs, [photo(seed) for seed in range(2)])
    server.put(BlobUri.parse(chunk.items[0].output).key, data=b"of an earlier attempt")
    with new_pipeline(settings, blobs) as pipeline:
        outcomes = list(
            pipeline.run(chunk, Invert(), going=lambda: True, outdated=Attempts(away=True).outdated(chunk.attempt))
        )
    assert [(outcome.index, outcome.succeeded) for outcome in outcomes] == [(1, True)]


def test_a_result_that_others_keep_writing_is_given_up_for_now(server: PlayingServer) -> None:
    results, attempts = Results(server.store()), Attempts()
    put(results, b"x", attempts.outdated(1), key="other.png")
    numbers = iter(range(100))

    def disturb(call: Call) -> None:
        server.put("out.png", data=str(next(numbers)).encode())

    server.quirks.before_put = disturb
    with pytest.raises(BlobUnavailableError, match="keep writing"):
        put(results, b"mine", attempts.outdated(1))


@contextmanager
def new_pipeline(settings: WorkerSettings, blobs: BlobStore) -> Iterator[Pipeline]:
    engine = Engine()
    pipeline = Pipeline(settings, blobs=blobs, engine=engine)
    yield pipeline
    pipeline.close()
    engine.close()


def work(pipeline: Pipeline, broker: Broker, chunk: StylizeChunk, stylize: Invert) -> dict[int, str | None]:
    """Run a chunk through a pipeline as its task does, and return the SHA-256 of its results by item."""
    outcomes = pipeline.run(
        chunk, stylize, going=lambda: True, outdated=lambda: broker.is_outdated(chunk.chunk_id, chunk.attempt)
    )
    return {outcome.index: outcome.sha256 for outcome in outcomes}


def digests(blobs: BlobStore, chunk: ChunkMessage) -> dict[int, str | None]:
    return {index: hashlib.sha256(data).hexdigest() for index, data in outputs(blobs, chunk).items()}


def test_an_attempt_that_returns_late_does_not_replace_committed_results(
    settings: WorkerSettings, blobs: BlobStore, broker: Broker
) -> None:
    chunk = make_chunk(blobs, [photo(seed) for seed in range(3)])
    broker.send_chunk(chunk)
    gate = Gate()
    with (
        new_pipeline(settings, blobs) as frozen,
        new_pipeline(settings, blobs) as other,
        ThreadPoolExecutor() as thread,
    ):
        late = thread.submit(work, frozen, broker, chunk, gate)
        assert gate.entered.wait(WAIT_S)
        newer = replace(chunk, attempt=2)
        broker.send_chunk(newer)
        committed = work(other, broker, newer, Brighten())
        gate.opened.set()
        assert late.result(WAIT_S) == {}
    assert len(committed) == 3
    assert digests(blobs, chunk) == committed


def test_a_task_asks_for_its_own_attempt(worker: Worker, style: Style, broker: Broker) -> None:
    chunk = make_chunk(worker.blobs, [photo()], style=style)
    broker.send_chunk(replace(chunk, attempt=2))
    worker.task()(dump_chunk(replace(chunk, attempt=2)))
    [end] = [event for event in events(broker) if isinstance(event, ChunkFinished)]
    assert {outcome.index: outcome.sha256 for outcome in end.outcomes} == digests(worker.blobs, chunk) != {}


def test_an_optimisation_that_returns_late_does_not_replace_committed_results(
    settings: WorkerSettings, blobs: BlobStore, engine: Engine
) -> None:
    chunk = make_optimize_chunk(blobs, [photo()], painting=photo(1))
    committed = BlobUri.parse(chunk.items[0].output)
    late = list[bool]()

    def overtake(progress: ItemProgress) -> None:
        blobs.put(committed, b"of the newer attempt")
        late.append(True)

    steering = Steering[ItemProgress](
        going=lambda: True, wanted=lambda: True, on_progress=overtake, outdated=lambda: bool(late)
    )
    optimization = Optimization(settings, blobs=blobs, engine=engine, device=torch.device("cpu"))
    assert list(optimization.run(chunk, steering)) == []
    assert blobs.get(committed) == b"of the newer attempt"
