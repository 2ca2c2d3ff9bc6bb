"""Training in `python -m worker` on real servers. The test plays the scheduler."""

import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest

from nst_core.protocol.events import ChunkFinished, SegmentFinished, SegmentProgress, SegmentStarted
from nst_core.protocol.segments import TRAIN_TASK, Phase, TrainSegment
from nst_core.queue.connection import KEY_PREFIX, make_redis
from nst_core.settings import BrokerSettings, StorageSettings
from nst_core.storage.blobs import BlobStore
from tests.brokers import Broker
from tests.integration.test_worker import START_S, running
from tests.unit.worker.kit import events, make_chunk, outputs, photo, store_style, wait_until
from tests.unit.worker.training_kit import TINY, checkpoint_of, make_segment, next_segment

_Event = TypeVar("_Event", SegmentStarted, SegmentProgress, SegmentFinished)
ENDLESS = replace(TINY, steps=1_000_000)
ONE_THREAD = {"NST_THREADS": "1"}


@pytest.fixture
def cache(tmp_path: Path) -> dict[str, str]:
    """Where the workers of a test keep photos."""
    return {"NST_CACHE_DIR": str(tmp_path / "cache"), "NST_TRAIN_PROGRESS_S": "0.1"}


@dataclass
class Player:
    """Plays the scheduler of one run: sends one attempt at a time, and keeps the last good checkpoint."""

    broker: Broker
    segment: TrainSegment

    def send(self) -> None:
        """Send a new attempt."""
        self.segment = replace(self.segment, attempt=self.segment.attempt + 1)
        self.broker.send_segment(self.segment)

    def end(self) -> SegmentFinished | None:
        """The first end event of the live attempt."""
        return next(iter(self._told(SegmentFinished)), None)

    @property
    def begun(self) -> bool:
        """Whether a worker has started the live attempt."""
        return bool(self._told(SegmentStarted))

    @property
    def step(self) -> int:
        """The last step of the live attempt."""
        return max((event.progress.step for event in self._told(SegmentProgress) if event.progress), default=0)

    def accept(self) -> SegmentFinished:
        """Wait for the end of the live attempt, and continue from its checkpoint."""
        wait_until(lambda: self.end() is not None, seconds=START_S)
        end = self.end()
        assert end is not None
        self.segment = replace(next_segment(self.segment, end), attempt=self.segment.attempt)
        return end

    def _told(self, kind: type[_Event]) -> list[_Event]:
        run_id, attempt = self.segment.run_id, self.segment.attempt
        told = [event for event in events(self.broker) if isinstance(event, kind)]
        return [event for event in told if (event.run_id, event.attempt) == (run_id, attempt)]


@pytest.fixture
def player(broker: Broker, blobs: BlobStore) -> Player:
    """A run of many short segments."""
    return Player(broker, make_segment(blobs, config=replace(TINY, steps=40), held_out=1, segment_s=0.2, attempt=0))


def undisturbed(player: Player, blobs: BlobStore) -> tuple[str, str]:
    """Return the SHA-256 of the last checkpoint and of the style, from an undisturbed run."""
    while True:
        player.send()
        end = player.accept()
        if end.step == player.segment.config["steps"]:
            break
    assert end.checkpoint is not None
    player.segment = replace(player.segment, phase=Phase.EVALUATE)
    player.send()
    result = player.accept().result
    assert result is not None
    return end.checkpoint.sha256, result.weights.sha256


def test_a_run_of_many_segments_survives_its_workers(
    redis_server: BrokerSettings,
    s3_server: StorageSettings,
    broker: Broker,
    blobs: BlobStore,
    player: Player,
    cache: dict[str, str],
) -> None:
    first = player.segment
    with running(redis_server, s3_server, **ONE_THREAD, **cache) as process:
        expected = undisturbed(player, blobs)
        assert player.segment.attempt > 3, "several segments"
        # Once more: a worker is killed in the middle of a segment, and Redis loses everything.
        player.segment = replace(first, run_id=first.run_id + "x", place=first.place + "x/", segment_s=600.0)
        player.send()
        wait_until(lambda: 0 < player.step < 35, seconds=START_S)
        process.kill()
        process.wait(20)
    client = make_redis(redis_server)
    client.flushall()
    client.close()
    player.segment = replace(player.segment, segment_s=0.2)
    with running(redis_server, s3_server, **ONE_THREAD, **cache):
        assert undisturbed(player, blobs) == expected


def test_photos_are_stylized_during_a_run(
    redis_server: BrokerSettings,
    s3_server: StorageSettings,
    broker: Broker,
    blobs: BlobStore,
    player: Player,
    cache: dict[str, str],
    tmp_path: Path,
) -> None:
    player.segment = replace(player.segment, config=ENDLESS.to_dict(), segment_s=600.0)
    chunk = make_chunk(blobs, [photo(seed) for seed in range(10)], style=store_style(blobs, tmp_path))
    with running(redis_server, s3_server, **ONE_THREAD, **cache) as process:
        player.send()
        wait_until(lambda: player.step > 0, seconds=START_S)
        broker.send_chunk(chunk)
        wait_until(lambda: any(isinstance(event, ChunkFinished) for event in events(broker)), seconds=START_S)
        assert len(outputs(blobs, chunk)) == 10
        assert player.end() is None
        reached = player.step
        wait_until(lambda: player.step > reached, seconds=START_S)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    end = player.end()
    assert end is not None
    assert (end.failure, checkpoint_of(blobs, end).step) == (None, end.step)
    assert end.step >= reached
    client = make_redis(redis_server)
    assert client.hlen(f"{KEY_PREFIX}unacked") == broker.queued(TRAIN_TASK) == 0
    client.close()


def test_a_worker_takes_one_segment_at_a_time_while_others_wait(
    redis_server: BrokerSettings,
    s3_server: StorageSettings,
    broker: Broker,
    blobs: BlobStore,
    player: Player,
    cache: dict[str, str],
) -> None:
    player.segment = replace(player.segment, config=ENDLESS.to_dict(), segment_s=600.0)
    other = Player(broker, make_segment(blobs, attempt=0))
    with running(redis_server, s3_server, **ONE_THREAD, **cache):
        player.send()
        wait_until(lambda: player.step > 0, seconds=START_S)
        other.send()
        reached = player.step
        wait_until(lambda: player.step > reached, seconds=START_S)
        assert not other.begun
        broker.stop_segment(player.segment.run_id, player.segment.attempt)
        assert player.accept().checkpoint is not None
        assert other.accept().step == 12
