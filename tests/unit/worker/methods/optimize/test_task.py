"""Tests of worker.methods.optimize.task."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from nst_core.protocol.chunks import dump_chunk, item_checkpoint_uri
from nst_core.protocol.events import ChunkFinished, ChunkProgress, ChunkStarted
from nst_core.storage.blobs import BlobUri
from tests.unit.worker.conftest import Worker
from tests.unit.worker.kit import (
    TINY,
    WAIT_S,
    events,
    make_optimize_chunk,
    outputs,
    photo,
    wait_until,
)
from worker.methods.optimize.course import Optimization
from worker.methods.optimize.task import OptimizeTask
from worker.runtime.engine import Engine


def finished(worker: Worker) -> ChunkFinished:
    """Return the last event, which must be the end of a chunk."""
    event = events(worker.broker)[-1]
    assert isinstance(event, ChunkFinished)
    return event


def optimize_task(worker: Worker, engine: Engine) -> OptimizeTask:
    """Return the task of the optimize method."""
    optimization = Optimization(worker.settings, blobs=worker.blobs, engine=engine, device=torch.device("cpu"))
    return OptimizeTask(worker.parts, optimization=optimization)


def test_an_optimisation_is_reported_from_start_to_end(worker: Worker, engine: Engine) -> None:
    chunk = make_optimize_chunk(worker.blobs, [photo(1)], painting=photo(2))
    optimize_task(worker, engine)(dump_chunk(chunk))
    first, *between, last = events(worker.broker)
    assert first == ChunkStarted(chunk_id=1, attempt=1, worker="w@test")
    assert isinstance(last, ChunkFinished)
    assert last.outcomes[0].succeeded
    assert last.outcomes[0].engine is None
    told = [
        progress.iteration
        for event in [*between, last]
        if isinstance(event, ChunkProgress | ChunkFinished)
        for progress in event.progress
    ]
    assert told == sorted(set(told))
    assert told[-1] == TINY.iterations


@pytest.mark.parametrize("why", ["cancel", "newer attempt", "stop"])
def test_a_stopped_optimisation_ends_without_an_outcome(worker: Worker, engine: Engine, why: str) -> None:
    endless = replace(TINY, iterations=1_000_000)
    chunk = make_optimize_chunk(worker.blobs, [photo(1)], painting=photo(2), config=endless)
    worker.broker.send_chunk(chunk)
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(optimize_task(worker, engine), dump_chunk(chunk))
        wait_until(lambda: any(isinstance(e, ChunkProgress) and e.progress for e in events(worker.broker)))
        if why == "cancel":
            worker.broker.cancel_job(chunk.job_id)
        elif why == "newer attempt":
            worker.broker.send_chunk(replace(chunk, attempt=2))
        else:
            worker.stop.set()
        done.result(WAIT_S)
    assert finished(worker).outcomes == ()
    assert outputs(worker.blobs, chunk) == {}
    # Only an interrupted state is saved, not one that a newer attempt replaces or that nobody needs.
    assert worker.blobs.exists(BlobUri.parse(item_checkpoint_uri(chunk.scratch, 0))) == (why == "stop")
