"""Tests of worker.segments.stored."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nst_core.errors import (
    ConfigError,
    WeightsError,
)
from nst_core.storage.blobs import BlobStore, BlobUri
from tests.unit.worker.training_kit import (
    Bench,
    make_segment,
    next_segment,
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


def test_files_that_have_changed_are_refused(benches: MakeBench, blobs: BlobStore) -> None:
    segment = make_segment(blobs)
    first = benches().run(segment, until=1)
    assert first.checkpoint is not None
    later = next_segment(segment, first)
    with pytest.raises(ConfigError, match=r"painting\.png has changed"):
        benches().run(replace(later, painting=replace(segment.painting, sha256="0" * 64)))
    blobs.put(BlobUri.parse(first.checkpoint.uri), b"damaged")
    with pytest.raises(WeightsError, match=r"safetensors has changed"):
        benches().run(later)
