"""Tests of worker.segments.photo_notes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nst_core.storage.blobs import BlobStore
from tests.unit.worker.training_kit import (
    Bench,
    make_segment,
    next_segment,
    soft_pictures,
)
from worker.runtime.engine import Engine
from worker.settings import WorkerSettings

MakeBench = Callable[..., Bench]


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


def test_unusable_photos_are_skipped_and_remembered(benches: MakeBench, blobs: BlobStore) -> None:
    segment = make_segment(blobs, photos={**soft_pictures(), "bad.png": b"no picture"})
    first = benches().run(segment, until=6)
    assert first.photos is not None
    assert (first.photos.count, first.photos.skipped) == (7, 1)
    assert "not an image" in first.photos.reasons["bad.png"]
    later = benches().run(next_segment(segment, first), until=7)
    assert later.photos is not None
    assert later.photos.reasons.keys() == {"bad.png"}, "another worker, which has not met it"
