"""The room that photos take in a worker: how many are in flight, and which of them gets room first."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

import pytest

from nst_core.decoding import decoder
from nst_core.protocol.chunks import Region, StyleRef, StylizeOptions
from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from tests.unit.worker.kit import (
    WAIT_S,
    Calls,
    Gate,
    Invert,
    Pixels,
    make_chunk,
    photo,
    wait_until,
)
from tests.unit.worker.methods.stylize.test_pipeline import always, run
from worker.methods.stylize.pipeline import Pipeline, room_of
from worker.runtime.engine import Engine
from worker.settings import WorkerSettings


def test_the_number_of_images_in_flight_is_limited(settings: WorkerSettings, s3_server: StorageSettings) -> None:
    class Counting(BlobStore):
        read = 0
        lock = Lock()

        def get(self, uri: BlobUri, **limits: Any) -> bytes:
            with self.lock:
                self.read += 1
            return super().get(uri, **limits)

    blobs, engine, gate = Counting(s3_server), Engine(), Gate()
    pipeline = Pipeline(settings, blobs=blobs, engine=engine)
    chunk = make_chunk(blobs, [photo(seed) for seed in range(9)])
    with ThreadPoolExecutor(1) as thread:
        outcomes = thread.submit(run, pipeline, chunk, gate)
        wait_until(lambda: blobs.read == settings.lookahead)
        assert not Event().wait(0.2)
        assert blobs.read == settings.lookahead
        gate.opened.set()
        assert len(outcomes.result(WAIT_S)) == 9
    pipeline.close()
    engine.close()


def test_the_older_chunk_goes_first(settings: WorkerSettings, blobs: BlobStore) -> None:
    @dataclass
    class Named(Gate):
        name: str = ""
        order: list[str] = field(default_factory=list)

        def __call__(self, batch: Pixels) -> Pixels:
            self.order.append(self.name)
            return super().__call__(batch)

    engine = Engine()
    pipeline = Pipeline(settings, blobs=blobs, engine=engine)
    older = Named(name="older")
    newer = Named(name="newer", order=older.order, opened=older.opened)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(run, pipeline, make_chunk(blobs, [photo()] * 2), older)
        assert older.entered.wait(WAIT_S)
        second = threads.submit(run, pipeline, make_chunk(blobs, [photo()] * 3), newer)
        wait_until(lambda: engine.queued == 4)  # the older chunk's second image, and the newer chunk
        older.opened.set()
        outcomes = [*first.result(WAIT_S).values(), *second.result(WAIT_S).values()]
    assert all(outcome.succeeded for outcome in outcomes)
    assert older.order == ["older"] * 2 + ["newer"] * 3
    pipeline.close()
    engine.close()


def test_room_is_for_the_older_chunk_first(settings: WorkerSettings, blobs: BlobStore) -> None:
    """Otherwise the older chunk would wait behind all photos of the newer one, and look stuck."""
    painted = list[str]()

    def named(name: str) -> Calls:
        def paint(batch: Pixels) -> Pixels:
            painted.append(name)
            if len(painted) == 1:
                assert opened.wait(WAIT_S)
            time.sleep(0.05)
            return batch

        return Calls(paint)

    engine, opened = Engine(), Event()
    small = settings.model_copy(update={"pixels_ahead": 1, "lookahead": 8})
    pipeline = Pipeline(small, blobs=blobs, engine=engine)
    with ThreadPoolExecutor(2) as threads:
        # The last photo of the older chunk asks for room when the first one is done.
        first = threads.submit(run, pipeline, make_chunk(blobs, [photo()] * 9), named("older"))
        wait_until(lambda: len(painted) == 1)
        second = threads.submit(run, pipeline, make_chunk(blobs, [photo()] * 8), named("newer"))
        wait_until(lambda: len(pipeline._pixels._turns) == 7 + 8)
        opened.set()
        outcomes = [*first.result(WAIT_S).values(), *second.result(WAIT_S).values()]
    assert all(outcome.succeeded for outcome in outcomes)
    assert painted == ["older"] * 9 + ["newer"] * 8
    pipeline.close()
    engine.close()


def test_a_photo_whose_download_breaks_off_keeps_its_room(settings: WorkerSettings, s3_server: StorageSettings) -> None:
    """At the end of the queue for room it would wait again, until the storage breaks off its last try."""
    got_room = list[BlobUri]()

    class Breaking(BlobStore):
        def get(self, uri: BlobUri, **limits: Any) -> bytes:
            wait_for_room = limits.pop("on_size")

            def try_twice(size: int) -> None:
                for _ in range(2):
                    wait_for_room(size)
                    got_room.append(uri)
                    time.sleep(0.02)  # others begin to wait

            return super().get(uri, on_size=try_twice, **limits)

    engine, blobs = Engine(), Breaking(s3_server)
    pipeline = Pipeline(settings.model_copy(update={"lookahead_bytes": 1}), blobs=blobs, engine=engine)
    outcomes = run(pipeline, make_chunk(blobs, [photo()] * 6), Invert())
    assert all(outcome.succeeded for outcome in outcomes.values())
    assert got_room[::2] == got_room[1::2]
    assert len(set(got_room)) == 6
    pipeline.close()
    engine.close()


@pytest.mark.parametrize("gets_on", [True, False])
def test_a_chunk_that_waits_for_room_is_idle_only_if_those_that_have_it_are(
    settings: WorkerSettings, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, gets_on: bool
) -> None:
    monkeypatch.setattr("nst_core.system.budget._SIGN_S", 0.01)
    monkeypatch.setattr("worker.runtime.engine._SIGN_S", 0.01 if gets_on else WAIT_S)
    engine, gate, touched = Engine(), Gate(), list[None]()
    pipeline = Pipeline(settings.model_copy(update={"pixels_ahead": 1}), blobs=blobs, engine=engine)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(run, pipeline, make_chunk(blobs, [photo()]), gate)
        assert gate.entered.wait(WAIT_S)
        chunk = make_chunk(blobs, [photo()])
        second = threads.submit(
            lambda: list(pipeline.run(chunk, Invert(), going=always, touch=lambda: touched.append(None)))
        )
        wait_until(lambda: len(pipeline._pixels._turns) == 1)
        before = len(touched)
        if gets_on:
            wait_until(lambda: len(touched) > before + 3)
        else:
            assert not Event().wait(0.3)
            assert len(touched) == before
        gate.opened.set()
        assert first.result(WAIT_S)[0].succeeded
        assert second.result(WAIT_S)[0].succeeded
    pipeline.close()
    engine.close()


def test_the_bytes_of_files_read_ahead_are_limited(settings: WorkerSettings, s3_server: StorageSettings) -> None:
    class Counting(BlobStore):
        held = 0
        most = 0
        lock = Lock()

        def get(self, uri: BlobUri, **limits: Any) -> bytes:
            data = super().get(uri, **limits)
            with self.lock:
                self.held += len(data)
                self.most = max(self.most, self.held)
            return data

    blobs, engine, gate = Counting(s3_server), Engine(), Gate()
    files = [photo(seed) for seed in range(6)]
    room = 2 * max(map(len, files))
    small = settings.model_copy(update={"lookahead_bytes": room, "lookahead": 6, "pixels_ahead": 48 * 32})
    pipeline = Pipeline(small, blobs=blobs, engine=engine)
    with ThreadPoolExecutor(1) as threads:
        chunk = make_chunk(blobs, files)
        done = threads.submit(run, pipeline, chunk, gate)
        assert gate.entered.wait(WAIT_S)
        # The image in the network is already decoded. Two files wait, and no third is read.
        wait_until(lambda: blobs.held >= 3 * min(map(len, files)))
        assert blobs.held <= max(map(len, files)) + room
        gate.opened.set()
        assert all(outcome.succeeded for outcome in done.result(WAIT_S).values())
    pipeline.close()
    engine.close()


@pytest.mark.parametrize(("pixels_ahead", "in_memory"), [(3 * 48 * 32, 3), (2 * 48 * 32 + 1, 2), (1, 1)])
def test_the_pixels_in_memory_are_limited_for_all_chunks_together(
    settings: WorkerSettings, blobs: BlobStore, pixels_ahead: int, in_memory: int
) -> None:
    engine, gate = Engine(), Gate()
    small = settings.model_copy(update={"pixels_ahead": pixels_ahead, "lookahead": 4})
    pipeline = Pipeline(small, blobs=blobs, engine=engine)
    chunks = [make_chunk(blobs, [photo(seed) for seed in range(4)]) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        done = [threads.submit(run, pipeline, chunk, gate) for chunk in chunks]
        assert gate.entered.wait(WAIT_S)
        wait_until(lambda: engine.queued == in_memory - 1)  # the others are decoded and wait for the network
        assert not Event().wait(0.2)
        assert engine.queued == in_memory - 1
        # Photos without room keep no decoder.
        assert decoder.decode(photo()).rgb.shape == (32, 48, 3)
        gate.opened.set()
        assert all(outcome.succeeded for each in done for outcome in each.result(WAIT_S).values())
    pipeline.close()
    engine.close()


@pytest.mark.parametrize(
    ("options", "pictures"),
    [
        ({}, 2),
        ({"forms": "planes"}, 3),
        ({"stroke": "varied", "forms": "none"}, 3),
        ({"stroke": "varied"}, 3),
        ({"stroke": "varied", "forms": "planes"}, 4),
        ({"faces": "protect"}, 2),
        ({"faces": "fine"}, 3),
        ({"stroke": "varied", "faces": "fine"}, 3),
        ({"stroke": 2.0, "faces": "fine", "forms": "planes"}, 4),
        ({"stroke": 1.0}, 2),
        ({"stroke": 2.0}, 2.5),
        ({"stroke": 2.0, "forms": "planes"}, 3.75),
        ({"stroke": 0.5}, 10),
        ({"stroke": 0.5, "forms": "planes"}, 15),
        ({"regions": (Region(style=StyleRef(name="udnie", version="ab")),), "forms": "planes"}, 4),
        ({"upscale": 2, "forms": "planes"}, 6),
        ({"upscale": 2, "stroke": 0.5}, 10),
        ({"upscale": 4, "stroke": 0.5, "forms": "planes"}, 18),
    ],
)
def test_a_photo_takes_the_room_of_all_pictures_of_it(options: dict[str, Any], pictures: float) -> None:
    assert room_of(StylizeOptions(**options), 1000) == 1000 * pictures // 2


def test_a_photo_larger_than_the_room_for_pixels_passes_alone(settings: WorkerSettings, blobs: BlobStore) -> None:
    def note(batch: Pixels, **_: object) -> Pixels:
        seen.append(batch.shape[2])
        others.append(engine.queued)
        return batch

    seen: list[int] = []
    others: list[int] = []
    engine = Engine()
    pipeline = Pipeline(settings.model_copy(update={"pixels_ahead": 5 * 48 * 32}), blobs=blobs, engine=engine)
    files = [photo(seed, width=96 if seed == 2 else 48, height=160 if seed == 2 else 32) for seed in range(12)]
    outcomes = run(pipeline, make_chunk(blobs, files), Calls(note))
    assert all(outcome.succeeded for outcome in outcomes.values())
    assert others[seen.index(96)] == 0
    pipeline.close()
    engine.close()


def test_photos_that_wait_for_room_are_given_back_when_the_worker_ends(
    settings: WorkerSettings, blobs: BlobStore
) -> None:
    engine, gate, stopped = Engine(), Gate(), Event()
    pipeline = Pipeline(settings.model_copy(update={"pixels_ahead": 1}), blobs=blobs, engine=engine)
    chunk = make_chunk(blobs, [photo(seed) for seed in range(3)])
    with ThreadPoolExecutor(1) as threads:
        outcomes = threads.submit(lambda: list(pipeline.run(chunk, gate, going=lambda: not stopped.is_set())))
        assert gate.entered.wait(WAIT_S)
        stopped.set()
        gate.opened.set()
        assert len(outcomes.result(WAIT_S)) == 1  # the one in the network
    pipeline.close()
    engine.close()


def test_a_file_larger_than_the_read_ahead_limit_passes_alone(settings: WorkerSettings, blobs: BlobStore) -> None:
    engine = Engine()
    pipeline = Pipeline(settings.model_copy(update={"lookahead_bytes": 1}), blobs=blobs, engine=engine)
    outcomes = run(pipeline, make_chunk(blobs, [photo(seed) for seed in range(4)]), Invert())
    assert all(outcome.succeeded for outcome in outcomes.values())
    pipeline.close()
    engine.close()
